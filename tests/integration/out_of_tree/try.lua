-- The methods and the backends of this folder in one experiment.
local pare = require "pare"

return pare.experiment {
  name = "out-of-tree",
  dataset = pare.dataset("glyphs", { train = 2000, val = 100, test = 100 }),
  model = pare.model "lenet300":train { epochs = 6 },
  pipelines = { { { "oot_clip", sigmas = 3 }, { "oot_dice", sparsity = 0.25 } } },
  arms = { backend = { "ref", "oot_dense", "oot_plain" } },
}
