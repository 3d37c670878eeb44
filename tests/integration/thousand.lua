-- A thousand trials, two arms each: 250 pipelines on four seeds. Only ever planned.
local pare = require "pare"

local sparsities = {}
for k = 1, 125 do
  sparsities[k] = k / 126
end

return pare.experiment {
  name = "thousand",
  dataset = pare.dataset("glyphs", { train = 600, val = 100, test = 100 }),
  model = pare.model("lenet300"):train { epochs = 1 },
  seeds = { 1, 2, 3, 4 },
  pipelines = {
    { { "magnitude", sparsity = pare.grid(sparsities) }, { "ptq", bits = pare.grid { 8, 4 } } },
  },
  arms = { backend = "ref", threads = { 1, 2 } },
}
