-- Every quantizer side by side, from one checkpoint and with one budget: LeNet-5 on MNIST at 8, 4 and 2 bits,
-- ternary and binary, and ResNet20 at 4 and 2 bits; three seeds.
--
--   pare run scripts/seeds/all_methods.lua --set model=lenet5 --out results/baselines/all_methods.csv
--   pare run scripts/seeds/all_methods.lua --set model=resnet20 --out results/baselines/all_methods.csv
--
-- What trains gets 1 epoch (LeNet-5) or 0.5 (ResNet20) from the fp32 checkpoint. By the time of an epoch (15 and 30 s)
-- that should be about 20 minutes each on two quiet cores; --set epochs=N for more or less. It resumes where it was
-- stopped (--resume). With --profile quick, LeNet-5 on glyphs, one seed, hardly trained: about a minute.
--
-- No parameter was tuned: methods have their defaults (first and last layer at 8 bits where a method trains), and
-- one learning rate and a clipped gradient. So this says who gets far with little, not who is best in the end.

local pare = require "pare"

local quick = pare.profile == "quick"
local network = pare.set.model or "lenet5"
local data = quick and "glyphs" or "mnist"
local is_small = network == "lenet5"
local budget = is_small and 1 or 0.5
local epochs = quick and 0.1 or pare.set.epochs or budget

local pipelines = { {} }

-- A pipeline of one method.
local function add(method, parameters, is_trained)
  local step = { method }
  for key, value in pairs(parameters) do
    step[key] = value
  end
  if is_trained then
    step.epochs, step.lr, step.clip_norm = epochs, 0.02, 1
  end
  pipelines[#pipelines + 1] = { step }
end

for _, bits in ipairs(is_small and { 8, 4, 2 } or { 4, 2 }) do
  local both = { weight_bits = bits, activation_bits = bits }
  add("ptq", { bits = bits })
  add("ptq", { bits = bits, observer = "mse", weight_observer = "mse", bias_correction = true })
  add("obc", { bits = bits })
  add("adaround", { bits = bits, iterations = quick and 20 or 500, lr = 0.02 })
  if bits < 8 then
    add("mixed_bits", { bits = bits, mean_bits = bits })
  end
  add("qat", both, true)
  add("lsq", both, true)
  add("lsq", { weight_bits = bits, activation_bits = bits, offset = true }, true)
  -- Their weights of 8 bits would have codes of 9 bits and more (see their READMEs).
  local most = { dorefa = 7, pact = 7, apot = 5 }
  for _, method in ipairs { "dorefa", "pact", "apot" } do
    if bits <= most[method] then
      add(method, both, true)
    end
  end
end
add("ternary", { activation_bits = 2 }, true)
add("ternary", { activation_bits = 8 }, true)
add("ternary", { activation_bits = 8, magnitudes = "learned" }, true)
for _, estimator in ipairs { "xnor", "irnet", "recu" } do
  add("binary", { estimator = estimator, activation_bits = 8 }, true)
end
add("binary", { estimator = "recu", activation_bits = 1 }, true)

return pare.experiment {
  name = "all_methods",
  dataset = quick and pare.dataset("glyphs", { train = 4000, val = 200, test = 1000 }) or pare.dataset(data),
  model = pare.model(network):load(network .. "-" .. data),
  seeds = quick and { 1 } or { 1, 2, 3 },
  pipelines = pipelines,
}
