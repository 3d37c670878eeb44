-- Half of the inner channels of each residual block removed: how much faster is ResNet20 then? In fp32 and int8, one
-- thread, one image at a time. Nothing is trained, so this says nothing about accuracy (structured.lua does).
--
--   pare run scripts/seeds/half_channels.lua --out results/baselines/half_channels.csv
--   pare run scripts/seeds/half_channels.lua --profile quick
--
-- About a minute. `ratio` is the time against dense fp32, in rounds in which both take turns. int8 against int8 is the
-- ratio of the last row over that of the row before.

local pare = require "pare"

return pare.experiment {
  name = "half_channels",
  dataset = pare.dataset("mnist", { test = 1000 }),
  model = pare.model "resnet20":load "resnet20-mnist",
  pipelines = {
    {},
    { { "filter", fraction = 0.5 } },
    { { "ptq", bits = 8 } },
    { { "filter", fraction = 0.5 }, { "ptq", bits = 8 } },
  },
  arms = { backend = "auto", threads = 1 },
}
