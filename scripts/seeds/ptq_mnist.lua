-- Post-training quantization on MNIST by width and observer; the figures of plugins/methods/ptq/README.md.
--
--   pare run scripts/seeds/ptq_mnist.lua --set model=lenet5 --out results/baselines/ptq_mnist.csv
--   pare run scripts/seeds/ptq_mnist.lua --set model=resnet20 --out results/baselines/ptq_mnist.csv
--
-- Takes about 2 and 4 minutes on two cores (with --profile quick: 1 and 2). No choice is made from these
-- rows: they are on the test split.

local pare = require "pare"

local name = pare.set.model or "lenet5"

return pare.experiment {
  name = "ptq_mnist",
  dataset = pare.dataset "mnist",
  model = pare.model(name):load(name .. "-mnist"),
  seeds = { 1 },
  pipelines = {
    {},
    { { "ptq", bits = pare.grid { 8, 6, 4, 3, 2 },
        observer = pare.grid { "minmax", "moving_average", "percentile", "mse" } } },
    { { "ptq", bits = pare.grid { 4, 3, 2 }, observer = "mse", weight_observer = "mse" } },
  },
}
