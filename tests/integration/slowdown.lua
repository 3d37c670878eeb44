-- A network that takes next to no time, on a backend that is busy for longer where it is pruned.
local pare = require "pare"

local function build(g, x, classes)
  return g:linear(g:flatten(g:avg_pool(x, { kernel = 7 })), { name = "fc", out = classes })
end

local seeds = {}
for k = 1, pare.set.repeats or 3 do
  seeds[k] = k
end

return pare.experiment {
  name = "slowdown",
  dataset = pare.dataset("glyphs", { train = 100, val = 50, test = 50 }),
  model = pare.model { name = "small", build = build }:init(),
  seeds = seeds,
  pipelines = { {}, { { "magnitude", sparsity = 0.1 } } },
  arms = { backend = "busy" },
}
