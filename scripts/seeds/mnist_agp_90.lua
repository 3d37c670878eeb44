-- "To prune, or not to prune" on MNIST: LeNet-5 with 90 % of its weights pruned gradually (AGP), which should
-- cost at most 0.1 points; and the curve from 50 to 99 %. The figures of plugins/methods/magnitude/README.md.
--
--   pare run scripts/seeds/mnist_agp_90.lua --out results/baselines/mnist_agp_90.csv
--   pare run scripts/seeds/mnist_agp_90.lua --profile quick
--
-- Fifteen trainings of four epochs: about 15 minutes on two quiet cores; it resumes where it was stopped (--resume).
-- With --profile quick, one seed, two sparsities and 4000 images: under a minute.
--
-- Epochs and learning rate were chosen on the validation split, at 90 % and seed 1: top-1 there was 99.48 % with
-- lr = 0.02, 99.42 % with 0.05, 99.46 % with 0.02 and distillation (weight 0.5), and 99.44 % dense:
--
--   pare model quantize lenet5-mnist --method magnitude --set sparsity=0.9 --set schedule=agp \
--     --set scope=global --set epochs=4 --set lr=0.02 --dataset mnist --out v.safetensors
--   pare model eval v.safetensors --dataset mnist --split val

local pare = require "pare"

local quick = pare.profile == "quick"
local sparsities = quick and { 0.9, 0.99 } or { 0.5, 0.8, 0.9, 0.95, 0.99 }

return pare.experiment {
  name = "mnist_agp_90",
  dataset = pare.dataset("mnist", quick and { train = 4000, test = 1000 } or {}),
  model = pare.model "lenet5":load "lenet5-mnist",
  seeds = quick and { 1 } or { 1, 2, 3 },
  pipelines = {
    {},
    { { "magnitude", sparsity = pare.grid(sparsities), scope = "global", schedule = "agp", epochs = 4, lr = 0.02 } },
  },
}
