-- Channels removed by six criteria and by chance, at 30 and 50 % of the multiply-accumulates: ResNet20 on MNIST, with
-- a short fine-tuning; accuracy, multiply-accumulates, bytes and measured time. The table of
-- plugins/methods/filter/README.md.
--
--   pare run scripts/seeds/structured.lua --out results/baselines/structured.csv
--   pare run scripts/seeds/structured.lua --profile quick
--
-- 45 trials, each with one epoch over 10,000 training images: about 20 minutes on two quiet cores, as reckoned from
-- its first trials; with many programs at work it was stopped after an hour. It resumes there (--resume). With
-- --profile quick, one seed, 50 %, 2000 images: about a minute.
--
-- Only channels within blocks go ("inner"), the same share in each block, so that all criteria leave networks of one
-- shape, which differ in accuracy alone. No parameter was tuned: all have the defaults. half_channels.lua beside this
-- measures time alone, int8 as well.

local pare = require "pare"

local quick = pare.profile == "quick"
local criteria = { "random", "l1", "fpgm", "taylor", "apoz", "bn_gamma", "hrank" }

return pare.experiment {
  name = "structured",
  dataset = pare.dataset("mnist", quick and { train = 2000, test = 1000 } or { train = 10000 }),
  model = pare.model "resnet20":load "resnet20-mnist",
  seeds = quick and { 1 } or { 1, 2, 3 },
  pipelines = {
    {},
    { {
      "filter",
      criterion = pare.grid(criteria),
      macs = pare.grid(quick and { 0.5 } or { 0.3, 0.5 }),
      epochs = 1,
    } },
  },
  arms = { backend = "auto", threads = 1 },
}
