-- The original beside its 8-bit form: accuracy, milliseconds with their interval, bytes on the disk; the table of
-- results/README.md. Published for static quantization of 8 bits: 3.6 times faster and 4 times smaller.
--
--   pare run scripts/seeds/static_ptq.lua --set model=resnet20-mnist --out results/baselines/static_ptq.csv
--   pare run scripts/seeds/static_ptq.lua --set model=lenet5-mnist --out results/baselines/static_ptq.csv
--   pare run scripts/seeds/static_ptq.lua --set model=resnet20-cifar10jpeg --out results/baselines/static_ptq.csv
--
-- About half a minute each, one thread, on a machine that does nothing else: look at `load`, `disturbed` and the
-- null control aa_ratio before you believe a row. Resumes where it was stopped (--resume). The backend is the best
-- one of this machine, x86 or arm, unless --set backend=NAME says otherwise. With --profile quick a few seconds, on
-- glyphs with the checkpoint lenet5-glyphs, so that it needs no data.

local pare = require "pare"

local quick = pare.profile == "quick"
local name = pare.set.model or (quick and "lenet5-glyphs" or "resnet20-mnist")
local network, data = tostring(name):match "^(%w+)%-(%w+)$"
if not network then
  error(("--set model=%s: wanted a checkpoint of scripts/seeds/checkpoints.lua, such as lenet5-mnist"):format(name), 0)
end

return pare.experiment {
  name = "static_ptq",
  dataset = data == "cifar10jpeg" and "cifar10-jpeg" or data,
  model = pare.model(network):load(name),
  seeds = { 1 },
  pipelines = { {}, { { "ptq", bits = 8 } } },
  arms = { backend = pare.set.backend or "auto", threads = 1, scenario = "single" },
}
