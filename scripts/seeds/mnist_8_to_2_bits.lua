-- LeNet-5 on MNIST from 8 bits to 1: after training (ptq), and trained at few bits (qat, lsq, binary); the
-- figures of plugins/methods/lsq/README.md.
--
--   pare run scripts/seeds/mnist_8_to_2_bits.lua --out results/baselines/mnist_8_to_2_bits.csv
--
-- Two seeds took 26 minutes on two cores that others used, too; it resumes where it was stopped (--resume). With
-- --profile quick it takes less than a minute, on glyphs and with hardly any training: that shows that it
-- runs, its figures mean nothing.
--
-- Learning rates and epochs were chosen on the validation split (pare model eval FILE --split val), seed 1.
-- First and last layer keep 8 bits except in ptq, which has one width for all.

local pare = require "pare"

local quick = pare.profile == "quick"
local name = quick and "glyphs" or "mnist"

local function epochs(n)
  return quick and n / 30 or n
end

return pare.experiment {
  name = "mnist_8_to_2_bits",
  dataset = quick and pare.dataset("glyphs", { train = 4000, val = 200, test = 1000 }) or pare.dataset "mnist",
  model = pare.model "lenet5":load("lenet5-" .. name),
  seeds = quick and { 1 } or { 1, 2, 3 },
  pipelines = {
    {},
    { { "ptq", bits = pare.grid { 8, 4, 2 } } },
    { { "qat", weight_bits = 4, activation_bits = 4, epochs = epochs(3), lr = 0.02 } },
    { { "lsq", weight_bits = 4, activation_bits = 4, epochs = epochs(3), lr = 0.03 } },
    { { "lsq", weight_bits = 2, activation_bits = 2, epochs = epochs(6), lr = 0.05 } },
    { { "binary", epochs = epochs(6), lr = 0.03 } },
  },
  arms = { backend = "auto" },
}
