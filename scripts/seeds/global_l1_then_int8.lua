-- Pruning and quantization together on ResNet20: global L1 at 40 and 60 %, then 8 bits, with and without fine-tuning
-- between the two. The recipe of combining both as toolkits publish it: torch.nn.utils.prune.global_unstructured with
-- L1Unstructured, then post-training quantization.
--
--   pare run scripts/seeds/global_l1_then_int8.lua --out results/baselines/global_l1_then_int8.csv
--   pare run scripts/seeds/global_l1_then_int8.lua --profile quick
--
-- Fine-tuning is one epoch over 10000 images of MNIST: about 4 minutes in all on two quiet cores; it resumes where it
-- was stopped (--resume). With --profile quick, 2000 images: under two minutes. No choice is made from these rows: they
-- are on the test split, and nothing was tuned.

local pare = require "pare"

local quick = pare.profile == "quick"
local sparsities = pare.grid { 0.4, 0.6 }

local function prune(tuning)
  local step = { "magnitude", sparsity = sparsities, scope = "global", ties = "pytorch" }
  for key, value in pairs(tuning or {}) do
    step[key] = value
  end
  return step
end

local tuned = { epochs = 1, lr = 0.02 }

return pare.experiment {
  name = "global_l1_then_int8",
  dataset = pare.dataset("mnist", quick and { train = 2000, test = 1000 } or { train = 10000 }),
  model = pare.model "resnet20":load "resnet20-mnist",
  seeds = { 1 },
  pipelines = {
    {},
    { { "ptq", bits = 8 } },
    { prune() },
    { prune(), { "ptq", bits = 8 } },
    { prune(tuned) },
    { prune(tuned), { "ptq", bits = 8 } },
  },
}
