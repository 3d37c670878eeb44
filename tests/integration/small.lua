-- A small experiment for tests: 3 pipelines x 2 seeds x 2 arms on a few glyphs, some seconds in all; with
-- --set seeds=1 half of that.
local pare = require "pare"

return pare.experiment {
  name = "small",
  dataset = pare.dataset("glyphs", { train = 600, val = 100, test = 200 }),
  model = pare.model("lenet300"):train { epochs = 1 },
  seeds = pare.set.seeds == 1 and { 1 } or { 1, 2 },
  pipelines = {
    {},
    { { "ptq", bits = 8, calibration_samples = 64 } },
    { { "magnitude", sparsity = 0.8 }, { "ptq", bits = 4, calibration_samples = 64 } },
  },
  arms = { backend = "ref", threads = { 1, 2 } },
}
