-- What a report shows, from the columns of its record files: arms, groups, Pareto fronts, and what the
-- figures of an arm say about its time.

local text = require "report_text"

local data = {}

-- Columns that an arm carries as fields of the same name.
local fields = {
  "run_id", "trial_id", "arm_id", "time_utc", "experiment", "status", "error", "model", "dataset", "pipeline", "seed",
  "n_samples", "split", "top1", "top1_ci_lo", "top1_ci_hi", "top1_simulated", "top1_baseline", "diverging_layer",
  "flips_lost", "flips_won", "mcnemar_p", "train_epochs", "sparsity", "macs_dense", "macs_effective", "bytes_file",
  "bytes_fp32", "compression_ratio", "layers_json", "layer_times_json", "weight_bits", "backend", "isa", "kernels",
  "execution", "fallback_ops", "threads", "batch", "scenario", "median_ns", "median_ci_lo_ns", "median_ci_hi_ns",
  "ratio", "ratio_ci_lo", "ratio_ci_hi", "ratio_arm_id", "aa_ratio", "aa_ratio_ci_lo", "aa_ratio_ci_hi", "stop_rule",
  "cache_state", "fraction_of_peak", "profile", "counters_status", "instructions", "ipc", "l1d_mpki", "l2_mpki",
  "llc_mpki", "branch_mpki", "macs_executed", "bytes_per_mac", "gmacs", "page_faults", "context_switches", "energy_uj",
  "host", "disturbed",
}

-- Figures outside these bounds are none, and count as not measured.
local share, positive, count = { 0, 1 }, { 1e-100, 1e100 }, { 0, 1e100 }
local bounds = {
  n_samples = { 1, 1e15 }, top1 = share, top1_ci_lo = share, top1_ci_hi = share, top1_simulated = share,
  top1_baseline = share, sparsity = share, macs_dense = positive, macs_effective = count, bytes_file = positive,
  compression_ratio = positive, median_ns = positive, median_ci_lo_ns = positive, median_ci_hi_ns = positive,
  ratio = positive, ratio_ci_lo = positive, ratio_ci_hi = positive, aa_ratio = positive, aa_ratio_ci_lo = positive,
  aa_ratio_ci_hi = positive, macs_executed = count, instructions = count,
}

-- "ptq(bits=8) + magnitude(..)" -> "ptq + magnitude": what colours and shapes tell apart.
local function family_of(pipeline)
  local names = pipeline:gsub("%b()", "")
  return names == "" and "?" or names
end

local function run_of(arm)
  if not arm.backend then
    return ""
  end
  local parts = { arm.backend }
  if arm.threads then
    parts[#parts + 1] = string.format("%.14g thread%s", arm.threads, arm.threads == 1 and "" or "s")
  end
  if arm.batch then
    parts[#parts + 1] = string.format("batch %.14g", arm.batch)
  end
  parts[#parts + 1] = arm.scenario
  return table.concat(parts, ", ")
end

-- Sets run_short: of backend, threads, batch and scenario those that differ among the arms.
local function shorten_runs(arms)
  local names, first, differs = { "backend", "threads", "batch", "scenario" }, {}, {}
  for _, arm in ipairs(arms) do
    for _, name in ipairs(names) do
      if arm[name] ~= nil then
        first[name] = first[name] or arm[name]
        differs[name] = differs[name] or arm[name] ~= first[name]
      end
    end
  end
  for _, arm in ipairs(arms) do
    local all = arm.run
    for k, part in ipairs { arm.backend or "", "%d+ threads?", "batch %d+", arm.scenario or "" } do
      if not differs[names[k]] and part ~= "" then
        all = k == 1 and all:sub(#part + 1) or k == 4 and all:sub(1, -#part - 1) or all:gsub(part, "", 1)
      end
    end
    arm.run_short = all:gsub(",[, ]*", ", "):gsub("^, ", ""):gsub(", $", "")
  end
end

-- The rows as arms, in their order.
function data.arms(input)
  local arms = {}
  for row = 1, input.n do
    arms[row] = { row = row }
  end
  for _, name in ipairs(fields) do
    local column = input.columns[name]
    local lo, hi = table.unpack(bounds[name] or {})
    for row = 1, column and input.n or 0 do
      local value = column[row]
      if not lo or value and value >= lo and value <= hi then
        arms[row][name] = value
      end
    end
  end
  for _, arm in ipairs(arms) do
    arm.pipeline = arm.pipeline or ""
    arm.family = family_of(arm.pipeline)
    arm.run = run_of(arm)
    arm.is_ok = arm.status == "ok"
  end
  shorten_runs(arms)
  return arms
end

-- One mean of the arms that differ in nothing but the seed: the copy of the first, with the mean of each
-- figure and, in place of its interval, its range over the seeds; of top-1 the standard deviation, too.
local averaged = {
  { "top1", "top1_ci_lo", "top1_ci_hi" }, { "median_ns", "median_ci_lo_ns", "median_ci_hi_ns" },
  { "ratio", "ratio_ci_lo", "ratio_ci_hi" }, { "top1_simulated" }, { "bytes_file" }, { "compression_ratio" },
  { "macs_effective" }, { "sparsity" },
}

-- The sample's standard deviation of a figure that all arms have.
local function deviation(arms, name, mean)
  local sum = 0
  for _, arm in ipairs(arms) do
    sum = sum + (arm[name] - mean) ^ 2
  end
  return math.sqrt(sum / (#arms - 1))
end

local function mean_of(arms)
  local mean = {}
  for name, value in pairs(arms[1]) do
    mean[name] = value
  end
  for _, names in ipairs(averaged) do
    local sum, n, lo, hi = 0, 0, math.huge, -math.huge
    for _, arm in ipairs(arms) do
      local value = arm[names[1]]
      if value then
        sum, n, lo, hi = sum + value, n + 1, math.min(lo, value), math.max(hi, value)
      end
    end
    mean[names[1]] = n == #arms and sum / n or nil
    if names[2] then
      mean[names[2]], mean[names[3]] = n == #arms and lo or nil, n == #arms and hi or nil
    end
  end
  mean.n_seeds, mean.seed = #arms, nil
  mean.top1_sd = mean.top1 and deviation(arms, "top1", mean.top1)
  return mean
end

-- The good arms, those of several seeds as one: one seed alone is an anecdote, and the best of several
-- would be a choice made by the test split.
function data.means(arms)
  local means = {}
  for _, group in ipairs(data.group(arms, function(arm)
    return table.concat({ arm.model or "", arm.dataset or "", arm.split or "", arm.pipeline, arm.run, arm.host or "" },
      "\0")
  end)) do
    local one_each, seen = {}, {}
    for _, arm in ipairs(group.arms) do
      if arm.is_ok and arm.seed and not seen[arm.seed] then
        seen[arm.seed] = true
        one_each[#one_each + 1] = arm
      end
    end
    if #one_each > 1 then
      means[#means + 1] = mean_of(one_each)
    else
      for _, arm in ipairs(group.arms) do
        means[#means + 1] = arm.is_ok and arm or nil
      end
    end
  end
  return means
end

-- "ptq(bits=8) (mean of 3 seeds)"
function data.name(arm)
  return arm.pipeline .. (arm.n_seeds and string.format(" (mean of %d seeds)", arm.n_seeds) or "")
end

-- Arms by the value of `key` (a function), in order of first appearance: a list of { name =, arms = }.
function data.group(arms, key)
  local groups, at = {}, {}
  for _, arm in ipairs(arms) do
    local name = key(arm)
    if not at[name] then
      at[name] = { name = name, arms = {} }
      groups[#groups + 1] = at[name]
    end
    local list = at[name].arms
    list[#list + 1] = arm
  end
  return groups
end

-- One arm of each trial that has what `wanted` names.
function data.trials(arms, ...)
  local seen, trials = {}, {}
  for _, arm in ipairs(arms) do
    local id = arm.trial_id or arm.row
    local has_all = arm.is_ok and not seen[id]
    for _, name in ipairs { ... } do
      has_all = has_all and arm[name]
    end
    if has_all then
      seen[id] = true
      trials[#trials + 1] = arm
    end
  end
  return trials
end

-- Those that no other beats in both: less of `cost`, more of top1. Sorted by cost.
function data.front(arms, cost)
  local sorted = {}
  for _, arm in ipairs(arms) do
    if arm[cost] and arm.top1 then
      sorted[#sorted + 1] = arm
    end
  end
  table.sort(sorted, function(a, b)
    if a[cost] ~= b[cost] then
      return a[cost] < b[cost]
    end
    if a.top1 ~= b.top1 then
      return a.top1 > b.top1
    end
    return a.row < b.row
  end)
  local front, best = {}, -1
  for _, arm in ipairs(sorted) do
    if arm.top1 > best then
      front[#front + 1] = arm
      best = arm.top1
    end
  end
  return front
end

-- Different values of a column, those of most rows first: a list of { value =, n = }.
function data.values(column, n)
  local counts, list = {}, {}
  for row = 1, n do
    local value = column and column[row]
    if value ~= nil then
      if not counts[value] then
        counts[value] = { value = value, n = 0, first = row }
        list[#list + 1] = counts[value]
      end
      counts[value].n = counts[value].n + 1
    end
  end
  table.sort(list, function(a, b)
    return a.n ~= b.n and a.n > b.n or a.n == b.n and a.first < b.first
  end)
  return list
end

-- "magnitude(lr=0.02, sparsity=0.9) + ptq(bits=8)" -> { { name =, settings = { { key, value }, .. } }, .. };
-- nil if it does not look like that.
local function steps_of(pipeline)
  local steps, at = {}, 1
  while at <= #pipeline do
    local name, rest = pipeline:match("^([%w_]+)()", at)
    if not name then
      return nil
    end
    local inner, after = pipeline:match("^(%b())()", rest)
    local step = { name = name, settings = {} }
    for key, value in (inner and inner:sub(2, -2) or ""):gmatch "([%w_]+)=([^,]*)" do
      step.settings[#step.settings + 1] = { key, value }
    end
    steps[#steps + 1] = step
    at = pipeline:match("^ %+ ()", after or rest) or #pipeline + 1
  end
  return steps
end

-- Sets `label` of each arm: its pipeline without what is the same in all of them, with the seed and the run
-- where those differ.
function data.label(arms)
  local seen, seeds, runs, models, uses, many = {}, {}, {}, {}, {}, {}
  local function note(set, value)
    set.n = (set.n or 0) + (set[value] and 0 or 1)
    set[value] = true
  end
  for _, arm in ipairs(arms) do
    note(seeds, arm.seed or "")
    note(many, arm.n_seeds or 1)
    note(runs, arm.run_short)
    note(models, arm.model or "")
    arm.steps = steps_of(arm.pipeline)
    for _, step in ipairs(arm.steps or {}) do
      uses[step.name] = (uses[step.name] or 0) + 1
      for _, setting in ipairs(step.settings) do
        local key = step.name .. "." .. setting[1]
        seen[key] = seen[key] or { uses = 0, values = {} }
        seen[key].uses = seen[key].uses + 1
        note(seen[key].values, setting[2])
      end
    end
  end
  for _, arm in ipairs(arms) do
    local parts = {}
    for k, step in ipairs(arm.steps or {}) do
      local settings = {}
      for _, setting in ipairs(step.settings) do
        local of_key = seen[step.name .. "." .. setting[1]]
        if of_key.values.n > 1 or of_key.uses < uses[step.name] then
          settings[#settings + 1] = setting[1] .. "=" .. setting[2]
        end
      end
      parts[k] = step.name .. (#settings > 0 and "(" .. table.concat(settings, ", ") .. ")" or "")
    end
    arm.label = arm.steps and table.concat(parts, " + ") or arm.pipeline
    if models.n > 1 and arm.model then
      arm.label = arm.model .. ": " .. arm.label
    end
    if seeds.n > 1 and arm.seed then
      arm.label = arm.label .. string.format(", seed %.14g", arm.seed)
    end
    if arm.n_seeds and many.n > 1 then
      arm.label = arm.label .. string.format(", %d seeds", arm.n_seeds)
    end
    if runs.n > 1 and arm.run_short ~= "" then
      arm.label = arm.label .. ", " .. arm.run_short
    end
  end
end

-- Arms by arm_id and host: where a ratio's baseline is found.
function data.index(arms)
  local index = {}
  for _, arm in ipairs(arms) do
    if arm.arm_id and arm.is_ok then
      index[arm.arm_id .. "\0" .. (arm.host or "")] = arm
    end
  end
  return index
end

local function compare(notes, arm, base, name, what, factor)
  local a, b = arm[name], base[name]
  if a and b and b > 0 and (a / b > factor or a / b < 1 / factor) then
    notes[#notes + 1] = string.format("%s %s the baseline's", what, text.factor(a / b))
  end
end

-- What the record says about an arm's time, as a list of sentences. `index` as data.index makes it.
function data.explain(arm, index)
  local notes = {}
  local base = arm.ratio_arm_id and index[arm.ratio_arm_id .. "\0" .. (arm.host or "")]
  local slower = arm.ratio_ci_lo and arm.ratio_ci_lo > 1
  if arm.ratio_ci_lo and arm.ratio_ci_hi and arm.ratio_ci_lo <= 1 and arm.ratio_ci_hi >= 1 then
    notes[#notes + 1] = "not told apart from the baseline"
  elseif slower then
    notes[#notes + 1] = "slower than the baseline"
  end
  if arm.macs_executed and arm.macs_effective and arm.macs_dense and arm.macs_effective < 0.9 * arm.macs_dense
    and arm.macs_executed > 1.05 * arm.macs_effective then
    notes[#notes + 1] = string.format("multiplies %s of the zeros too (%s MACs run, %s not zero)",
      arm.macs_executed >= 0.99 * arm.macs_dense and "all" or "some", text.count(arm.macs_executed),
      text.count(arm.macs_effective))
  end
  if (arm.fallback_ops or 0) > 0 then
    notes[#notes + 1] = string.format("%.14g operators ran on a slow general path", arm.fallback_ops)
  end
  if base and base ~= arm then
    compare(notes, arm, base, "instructions", "instructions", 1.1)
    compare(notes, arm, base, "ipc", "instructions per cycle", 1.1)
    compare(notes, arm, base, "l1d_mpki", "L1 misses per 1000 instructions", 1.5)
    compare(notes, arm, base, "llc_mpki", "last-level misses per 1000 instructions", 1.5)
    compare(notes, arm, base, "branch_mpki", "branch misses per 1000 instructions", 1.5)
  end
  return notes
end

-- What speaks against an arm's figures.
function data.doubts(arm)
  local doubts = {}
  -- As `pare compare` sees it by default: by more than half of the 2 % that count.
  if arm.aa_ratio and arm.aa_ratio_ci_lo and arm.aa_ratio_ci_hi and math.abs(arm.aa_ratio - 1) > 0.01
    and (arm.aa_ratio_ci_lo > 1 or arm.aa_ratio_ci_hi < 1) then
    doubts[#doubts + 1] = string.format("null control differs (%s against itself)", text.factor(arm.aa_ratio))
  end
  if arm.stop_rule == "max_duration" or arm.stop_rule == "max_queries" then
    doubts[#doubts + 1] = "timing ran into its limit"
  end
  if arm.disturbed then
    doubts[#doubts + 1] = "disturbed: " .. arm.disturbed
  end
  return doubts
end

return data
