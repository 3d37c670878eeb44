-- Every pruner on LeNet-5, from the same initial weights and with the same training: 90 % of the weights pruned
-- (50 % by n:m and by output channels), three seeds; the table of plugins/methods/README.md.
--
--   pare run scripts/seeds/all_pruners.lua --out results/baselines/all_pruners.csv
--   pare run scripts/seeds/all_pruners.lua --profile quick
--
-- 5000 training images of MNIST and four epochs, so that it takes about 6 minutes on two quiet cores; it resumes
-- where it was stopped (--resume). With --profile quick, one seed, 2000 images and two epochs: under two minutes.
-- So these are networks at the beginning of their training, and the table says who learns fast under a mask.
--
-- No parameter was tuned: each method has its defaults, and all have one learning rate and a clipped gradient,
-- because grasp and movement keep what makes gradients large. lottery trains four times, which the others do not.
-- Magnitude is cut layer by layer: the last layer starts with small weights, of which a global cut leaves none.

local pare = require "pare"

local quick = pare.profile == "quick"
local epochs = quick and 2 or 4

-- One step of a pipeline: a method at 90 %, with the common training.
local function step(method, more)
  local s = { method, sparsity = 0.9, epochs = epochs, lr = 0.03, clip_norm = 1 }
  for key, value in pairs(more or {}) do
    s[key] = value
  end
  return { s }
end

return pare.experiment {
  name = "all_pruners",
  dataset = pare.dataset("mnist", quick and { train = 2000, test = 1000 } or { train = 5000 }),
  model = pare.model "lenet5":init(),
  seeds = quick and { 1 } or { 1, 2, 3 },
  pipelines = {
    step("magnitude", { sparsity = 0 }),                                     -- dense
    step "random",
    step "magnitude",                                                        -- of the initial weights
    step "snip",
    step "grasp",
    step "synflow",
    step "rigl",
    step("magnitude", { schedule = "agp" }),
    step("magnitude", { schedule = "iterative" }),
    step "movement",
    step "dns",
    step("lottery", { rounds = 3, scope = "local" }),
    { { "nm", epochs = epochs, lr = 0.03, clip_norm = 1 } },
    step("random", { sparsity = 0.5, structure = "output", exclude = { "fc2" } }),
    step("magnitude", { sparsity = 0.5, structure = "output", norm = "l2", schedule = "agp", exclude = { "fc2" } }),
  },
}
