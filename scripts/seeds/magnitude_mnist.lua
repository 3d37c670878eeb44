-- Magnitude pruning of LeNet-5 on MNIST: at once and by AGP, three seeds; the figures of
-- plugins/methods/magnitude/README.md.
--
--   pare run scripts/seeds/magnitude_mnist.lua --out results/baselines/magnitude_mnist.csv
--
-- Every row has the same fine-tuning, two epochs. Takes about 10 minutes on two cores, and resumes where it
-- was stopped (--resume).

local pare = require "pare"

return pare.experiment {
  name = "magnitude_mnist",
  dataset = pare.dataset "mnist",
  model = pare.model "lenet5":load "lenet5-mnist",
  seeds = { 1, 2, 3 },
  pipelines = {
    {},
    { { "magnitude", sparsity = pare.grid { 0.5, 0.8, 0.9, 0.95 }, scope = "global",
        schedule = pare.grid { "once", "agp" }, epochs = 2, lr = 0.02 } },
    { { "magnitude", sparsity = 0.9, scope = "local", schedule = "agp", epochs = 2, lr = 0.02 } },
  },
}
