-- Ways in which a plugin can go wrong, a trial each. --set part=deaths|hangs|backends|cheap
local pare = require "pare"

local ways = {
  deaths = {
    "none", "segfault", "abort", "exit_0", "exit_3", "memory", "host_memory", "heap", "double_free", "stack",
    "close", "write", "kill_group", "divide", "fork", "in_thread", "chdir",
    "kill_self", "exit_in_thread", "ignore_signals", "breed", "print", "map_memory", "round_up", "flush_to_zero",
    "locale",
  },
  hangs = { "loop", "stop", "end_thread", "deadlock", "ignore_and_loop", "handle_crash" },
}
local part = pare.set.part or "deaths"

local pipelines = {}
for _, way in ipairs(ways[part] or {}) do
  pipelines[#pipelines + 1] = { { "misbehave", way = way } }
end
if part == "deaths" then
  pipelines[#pipelines + 1] = { { "ptq", bits = 8, calibration_samples = 64 } }
elseif part == "backends" then
  pipelines[1] = {}
elseif part == "cheap" then
  for number = 1, 50 do
    pipelines[number] = { { "misbehave", way = "fail", number = number } }
  end
end

return pare.experiment {
  name = "misbehave-" .. part,
  dataset = pare.dataset("glyphs", { train = 600, val = 100, test = 100 }),
  model = pare.model("lenet300"):train { epochs = 1 },
  seeds = { 1 },
  pipelines = pipelines,
  arms = part == "backends"
    and { { backend = "ref" }, { backend = "misbehave_run" }, { backend = "ref", threads = 2 } }
    or { backend = "ref" },
}
