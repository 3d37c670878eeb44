-- A first look at pare: one small network, compressed five ways, on MNIST where it is found and on the
-- embedded glyphs otherwise. Takes about a minute on two cores with --profile quick:
--
--   pare run scripts/experiments/quickstart.lua --profile quick
--
-- Every row says which dataset it was measured on; results on glyphs are not results on MNIST.

local pare = require "pare"

local name = pare.has_dataset "mnist" and "mnist" or "glyphs"
pare.log("quickstart uses the dataset " .. name)

-- AGP (Zhu & Gupta 2017): weights are removed step by step while the network is trained on. `global`
-- compares all weights with each other, so that the small first layer keeps most of its own.
local prune = {
  "magnitude", sparsity = 0.9, scope = "global", schedule = "agp", epochs = pare.set.epochs or 2, lr = 0.02,
}

return pare.experiment {
  name = "quickstart",
  dataset = pare.dataset(name),
  model = pare.model "lenet5":load("lenet5-" .. name),
  pipelines = {
    {},                                                -- the network as it is, in fp32
    { { "ptq", bits = pare.grid { 8, 4, 2 } } },       -- quantized after training
    { prune },                                         -- 90 % of the weights removed
    { prune, { "ptq", bits = 8 } },                    -- both
  },
  arms = { backend = "auto", threads = 1, batch = 1, scenario = "single" },
}
