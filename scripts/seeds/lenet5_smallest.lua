-- How few bytes LeNet-5 can have at 0.74 % and at 1.0 % error on MNIST, every byte of the file counted: header, graph,
-- indices, codebooks, code tables and biases. Published, of the weights: 39x at 0.74 % (Han et al. 2015, arXiv
-- 1510.00149, table 1) and 162x at 0.97 % (Ullrich et al. 2017, arXiv 1702.04008, table 1).
--
--   pare run scripts/seeds/lenet5_smallest.lua --out results/baselines/lenet5_smallest.csv
--   pare run scripts/seeds/lenet5_smallest.lua --profile quick
--
-- Four pipelines of five epochs: about 8 minutes on two quiet cores; it resumes where it was stopped (--resume). With
-- --profile quick, 2000 images: under two minutes.
--
-- Nothing was tuned on any split. The last pipeline keeps of each layer what dynamic network surgery kept of it (Guo
-- et al. 2016, arXiv 1608.04493), those before it 1.5, 2 and 4 times as much, about; convolutions share 32 values, the
-- rest 16. So the rows are a curve, of which no point was chosen.

local pare = require "pare"

local quick = pare.profile == "quick"

-- `amounts`: which part of each layer goes.
local function smallest(amounts)
  return {
    { "dns", amounts = amounts, epochs = 4, lr = 0.03 },
    { "deep_compression", bits = 4, layer_bits = { "conv*=5" }, bias_bits = 4, gradient = "mean", epochs = 1,
      lr = 0.01 },
  }
end

return pare.experiment {
  name = "lenet5_smallest",
  dataset = pare.dataset("mnist", quick and { train = 2000, test = 1000 } or {}),
  model = pare.model "lenet5":load "lenet5-mnist",
  seeds = { 1 },
  pipelines = {
    {},
    smallest { "conv1=0.432", "conv2=0.876", "fc1=0.972", "fc2=0.828" },
    smallest { "conv1=0.7", "conv2=0.93", "fc1=0.985", "fc2=0.9" },
    smallest { "conv1=0.787", "conv2=0.9535", "fc1=0.9895", "fc2=0.9355" },
    smallest { "conv1=0.858", "conv2=0.969", "fc1=0.993", "fc2=0.957" },
  },
}
