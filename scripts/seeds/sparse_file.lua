-- The bytes that 90 % of zeros save in a file: ResNet20 on MNIST, pruned while it is fine-tuned, as fp32, then with
-- 4-bit weights, then with 4 bits throughout. Indices, code tables, scales and the header are counted (bytes_file).
--
--   pare run scripts/seeds/sparse_file.lua --out results/baselines/sparse_file.csv
--   pare run scripts/seeds/sparse_file.lua --profile quick
--
-- Three trainings of two epochs over 10000 images: about 4 minutes on two quiet cores; it resumes where it was stopped
-- (--resume). With --profile quick, one epoch over 2000 images: under two minutes. Nothing was tuned.

local pare = require "pare"

local quick = pare.profile == "quick"
local prune = { "magnitude", sparsity = 0.9, scope = "global", schedule = "agp", epochs = quick and 1 or 2, lr = 0.05 }

return pare.experiment {
  name = "sparse_file",
  dataset = pare.dataset("mnist", quick and { train = 2000, test = 1000 } or { train = 10000 }),
  model = pare.model "resnet20":load "resnet20-mnist",
  seeds = { 1 },
  pipelines = {
    {},
    { prune },
    { prune, { "ptq", weight_bits = 4, activation_bits = 8, observer = "mse", weight_observer = "mse" } },
    { prune, { "ptq", bits = 4, observer = "mse", weight_observer = "mse" } },
  },
}
