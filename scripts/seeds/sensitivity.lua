-- Which layers do few bits hurt? Each layer by itself has its weights rounded, the rest of the network stays float:
-- what is lost against the first row is that layer's alone.
--
--   pare run scripts/seeds/sensitivity.lua --set model=resnet20-mnist --set bits=2 --out results/runs/sensitivity.csv
--
-- The layers come from the record of the fp32 network (column layers_json), so any checkpoint will do. A few seconds
-- per layer; resumes where it was stopped (--resume). --set observer=mse tries clips of the weights, --set values=8
-- rounds the value that the layer reads, too. With --profile quick, LeNet-5 on glyphs, under half a minute.
--
-- The rows are on the test split: they are there to be looked at. To choose widths by what they say would be to choose
-- on the test set; the method mixed_bits chooses on training images.

local pare = require "pare"

local quick = pare.profile == "quick"
local name = tostring(pare.set.model or (quick and "lenet5-glyphs" or "resnet20-mnist"))
local network, data = name:match "^(%w+)%-(%w+)$"
if not network then
  error(("--set model=%s: wanted a checkpoint named NETWORK-DATASET, such as lenet5-mnist"):format(name), 0)
end

local bits = pare.set.bits or 2
local observer = pare.set.observer or "minmax"
local values = pare.set.values or 32

return pare.experiment {
  name = "sensitivity",
  dataset = data == "cifar10jpeg" and "cifar10-jpeg" or data,
  model = pare.model(network):load(name),
  seeds = { 1 },
  pipelines = { {} },
  on_record = function(record, propose)
    if record.pipeline ~= "fp32" or record.status ~= "ok" then
      return
    end
    for layer in record.layers_json:gmatch '"name":%s*"([^"]+)"' do
      propose {
        { "ptq", include = { layer }, weight_bits = bits, activation_bits = values, weight_observer = observer },
      }
    end
  end,
}
