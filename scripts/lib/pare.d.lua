---@meta pare

-- Declarations for the Lua language server: completion and checks in editors. Never run.
-- The reference is harness/src/script/README.md.

---@class pare
---@field version string version of pare
---@field profile "quick"|"default"|"mlperf" the run's `--profile`
---@field set table<string, number|string|boolean|nil> what `--set NAME=VALUE` gave
local pare = {}

---@class pare.Dataset
---@field name string
---@field classes integer
---@field input integer[] height, width, channels
local Dataset = {}

---@class pare.DatasetOptions
---@field [1]? string the name, when all stands in one table
---@field train? integer only the first n images; 0: all
---@field val? integer
---@field test? integer

---A dataset by name.
---@param name string|pare.DatasetOptions
---@param options? pare.DatasetOptions
---@return pare.Dataset
function pare.dataset(name, options) end

---Can this dataset be read here?
---@param name string
---@return boolean
function pare.has_dataset(name) end

---@class pare.Node
---@field name string
---@field channels integer
---@field height integer
---@field width integer
---@field features integer height * width * channels
local Node = {}

---@alias pare.Pair integer|integer[] a number, or { height, width }

---@class pare.NodeOptions
---@field name? string

---@class pare.ConvOptions: pare.NodeOptions
---@field out integer
---@field kernel pare.Pair
---@field stride? pare.Pair default 1
---@field pad? pare.Pair default 0
---@field groups? integer default 1
---@field bias? boolean default true

---@class pare.LinearOptions: pare.NodeOptions
---@field out integer
---@field bias? boolean default true

---@class pare.BatchNormOptions: pare.NodeOptions
---@field eps? number default 1e-5

---@class pare.PoolOptions: pare.NodeOptions
---@field kernel pare.Pair
---@field stride? pare.Pair default: the kernel

---@class pare.MaxPoolOptions: pare.PoolOptions
---@field pad? pare.Pair default 0

---@class pare.ShortcutOptions: pare.NodeOptions
---@field out integer
---@field stride? pare.Pair default 1

---@class pare.Graph
local Graph = {}
---@return pare.Node
function Graph:input() end
---@param x pare.Node
---@param options pare.ConvOptions
---@return pare.Node
function Graph:conv2d(x, options) end
---@param x pare.Node
---@param options pare.LinearOptions
---@return pare.Node
function Graph:linear(x, options) end
---@param x pare.Node
---@param options? pare.BatchNormOptions
---@return pare.Node
function Graph:batch_norm(x, options) end
---@param x pare.Node
---@param options? pare.NodeOptions
---@return pare.Node
function Graph:relu(x, options) end
---@param x pare.Node
---@param y pare.Node
---@param options? pare.NodeOptions
---@return pare.Node
function Graph:add(x, y, options) end
---@param x pare.Node
---@param options pare.MaxPoolOptions
---@return pare.Node
function Graph:max_pool(x, options) end
---@param x pare.Node
---@param options pare.PoolOptions
---@return pare.Node
function Graph:avg_pool(x, options) end
---@param x pare.Node
---@param options? pare.NodeOptions
---@return pare.Node
function Graph:global_avg_pool(x, options) end
---@param x pare.Node
---@param options? pare.NodeOptions
---@return pare.Node
function Graph:flatten(x, options) end
---The same values with a quantization of their own.
---@param x pare.Node
---@param options? pare.NodeOptions
---@return pare.Node
function Graph:quantize(x, options) end
---@param x pare.Node
---@param options pare.ShortcutOptions
---@return pare.Node
function Graph:shortcut(x, options) end
---@param x pare.Node
---@param options? pare.NodeOptions
---@return pare.Node
function Graph:softmax(x, options) end

---@alias pare.Build fun(g: pare.Graph, x: pare.Node, classes: integer, options: table): pare.Node

---@class pare.ModelOptions
---@field [1]? string the name, when all stands in one table
---@field name? string
---@field build? pare.Build a network of the script's own
---@field options? table handed to build
---@field input? integer[] height, width, channels; default: the dataset's
---@field classes? integer default: the dataset's
---@field shortcut? "A"|"B" of the resnets
---@field skips? "single"|"double" of the resnets
---@field depth? integer of "resnet": 6n+2

---@class pare.TrainOptions
---@field epochs number
---@field lr? number peak learning rate
---@field batch? integer
---@field lr_schedule? "linear"|"cosine"|"constant"
---@field warmup? number fraction of all steps
---@field momentum? number
---@field weight_decay? number
---@field label_smoothing? number
---@field shift? integer pixels
---@field flip? integer
---@field clip_norm? number
---@field distill_weight? number
---@field distill_temperature? number

---@class pare.Model
local Model = {}
---Weights of a checkpoint, by name or file.
---@param checkpoint string
---@return pare.Model
function Model:load(checkpoint) end
---Trained on the experiment's dataset, once per seed.
---@param options pare.TrainOptions
---@return pare.Model
function Model:train(options) end
---Weights as initialised from each seed.
---@return pare.Model
function Model:init() end

---A network by name or of the script's own.
---@param name string|pare.ModelOptions
---@param options? pare.ModelOptions
---@return pare.Model
function pare.model(name, options) end

---@class pare.Grid
local Grid = {}

---Alternatives for a value of a step: one pipeline for each.
---@param alternatives any[]
---@return pare.Grid
function pare.grid(alternatives) end

---@class pare.Step one method with its parameters: { "ptq", bits = 8 }
---@field [1] string|pare.Grid the method
---@field [string] any

---@class pare.Arms
---@field backend? string|string[] default "auto"
---@field threads? integer|integer[] default 1
---@field batch? integer|integer[] default 1
---@field scenario? string|string[] "single" (default), "multi" or "offline" (default for batch > 1)
---@field cache? string|string[] "hot" (default), "cold-weights" or "cold-all"
---@field cores? string|string[] "any" (default), "big", "mid" or "LITTLE"

---@class pare.Trial
---@field pipeline string
---@field seed integer
---@field steps table[] { method = "ptq", bits = 8 }

---@class pare.ExperimentOptions
---@field name string
---@field dataset pare.Dataset|string
---@field model pare.Model
---@field pipelines pare.Step[][]
---@field seeds? integer|integer[]
---@field arms? pare.Arms|pare.Arms[]
---@field counters? string[] groups ("ipc", "cache", "branch", "tlb", "stall", "model", "kernel") or events
---@field checkpoint? string saves each trial's model under this name
---@field confusion? boolean records each arm's confusion matrix
---@field on_trial? fun(trial: pare.Trial): boolean?
---@field on_record? fun(record: table, propose: fun(pipeline: pare.Step[]): integer)

---@class pare.Experiment
local Experiment = {}

---Checks everything; the script returns what this gives.
---@param options pare.ExperimentOptions
---@return pare.Experiment
function pare.experiment(options) end

---Writes to stderr.
function pare.log(...) end

return pare
