-- Trains the checkpoints that lie in datasets/checkpoints/, one per run:
--
--   pare run scripts/seeds/checkpoints.lua --set name=lenet5-mnist --profile quick
--
-- The model goes to checkpoints/<name>.safetensors beside the CSV, its row into the CSV. To train all of
-- them and put them in their place: scripts/train_checkpoints.sh.
--
-- The recipes were chosen on the validation split (pare model eval FILE --split val); the model of the
-- last epoch is what is kept.

local pare = require "pare"

local recipes = {
  ["lenet300-mnist"] = {
    model = "lenet300", dataset = "mnist", seed = 1,
    train = { epochs = 20, lr = 0.05, weight_decay = 5e-4, shift = 1 },
  },
  ["lenet5-mnist"] = {
    model = "lenet5", dataset = "mnist", seed = 1,
    train = { epochs = 12, lr = 0.05, weight_decay = 5e-4, shift = 2 },
  },
  ["resnet20-mnist"] = {
    model = "resnet20", dataset = "mnist", seed = 1,
    train = { epochs = 12, lr = 0.1, weight_decay = 5e-4, shift = 2 },
  },
  ["resnet20-cifar10jpeg"] = {
    model = "resnet20", dataset = "cifar10-jpeg", seed = 1,
    train = { epochs = 80, lr = 0.2, weight_decay = 5e-4 },
  },
  ["lenet5-glyphs"] = {
    model = "lenet5", dataset = "glyphs", seed = 1,
    train = { epochs = 12, lr = 0.05, weight_decay = 5e-4, shift = 2 },
  },
}

local name = pare.set.name
local recipe = recipes[name]
if not recipe then
  local names = {}
  for known in pairs(recipes) do names[#names + 1] = known end
  table.sort(names)
  error("give --set name=NAME, one of: " .. table.concat(names, ", "))
end

return pare.experiment {
  name = "checkpoints",
  dataset = pare.dataset(recipe.dataset),
  model = pare.model(recipe.model):train(recipe.train),
  seeds = { recipe.seed },
  pipelines = { {} },
  arms = { backend = "ref" },
  checkpoint = name,
}
