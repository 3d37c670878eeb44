-- What a report says in words before it shows anything.

local data = require "report_data"
local figures = require "report_figures"
local text = require "report_text"

local summary = {}

-- { n =, n_ok =, n_failed =, n_trials =, failed = { arms } }
function summary.counts(arms)
  local counts = { n = #arms, n_ok = 0, failed = {}, n_trials = #data.group(arms, function(a)
    return a.trial_id or tostring(a.row)
  end) }
  for _, arm in ipairs(arms) do
    if arm.is_ok then
      counts.n_ok = counts.n_ok + 1
    else
      counts.failed[#counts.failed + 1] = arm
    end
  end
  return counts
end

-- The arm with the least `cost` among those at most 0.5 points below the baseline.
local function best(arms, cost)
  local found
  for _, arm in ipairs(arms) do
    if arm.is_ok and arm[cost] and arm.top1 and arm.top1_baseline and arm.top1 >= arm.top1_baseline - 0.005
      and (not found or arm[cost] < found[cost]) then
      found = arm
    end
  end
  return found
end

-- Sentences about one network on one dataset, as { text, row = number of the row }. Means over seeds, so
-- that no lucky seed is praised.
function summary.sentences(group)
  local list = {}
  group = { arms = data.means(group.arms) }
  local small, fast = best(group.arms, "bytes_file"), best(group.arms, "ratio")
  if small then
    list[#list + 1] = { string.format("Smallest file at most 0.5 points below the baseline's top-1 of %s: %s, %s (%s "
      .. "smaller), top-1 %s.", text.percent(small.top1_baseline), data.name(small), text.bytes(small.bytes_file),
      text.factor(small.compression_ratio),
      text.interval(small.top1, small.top1_ci_lo, small.top1_ci_hi, text.percent)), row = small.row }
  end
  if fast and fast.ratio_ci_hi and fast.ratio_ci_hi < 1 then
    list[#list + 1] = { string.format("Fastest of these: %s, %s of the baseline's time (%s).", data.name(fast),
      text.interval(fast.ratio, fast.ratio_ci_lo, fast.ratio_ci_hi, text.factor), fast.run), row = fast.row }
  elseif fast then
    list[#list + 1] = { "None of these is faster than the baseline beyond doubt.", row = fast.row }
  end
  return list
end

-- What a reader should know before believing any of it: sentences.
function summary.warnings(report)
  local list = {}
  local input, n = report.input, report.input.n
  if report.many_hosts then
    list[#list + 1] = "The rows come from several machines: compare their times only by ratio."
  end
  local n_doubtful, n_virtual = 0, 0
  for row, arm in ipairs(report.arms) do
    n_doubtful = n_doubtful + (#data.doubts(arm) > 0 and 1 or 0)
    local virtual = input.columns.virtual[row]
    n_virtual = n_virtual + (virtual and virtual ~= "none" and 1 or 0)
  end
  if n_virtual > 0 then
    list[#list + 1] = string.format("%d of %d rows were measured on a virtual machine or in a container: trust ratios "
      .. "more than times.", n_virtual, n)
  end
  if n_doubtful > 0 then
    list[#list + 1] = string.format("%d of %d rows have doubts about their times; the table of all rows names them.",
      n_doubtful, n)
  end
  local commits = data.values(input.columns.git_commit, n)
  if #commits > 1 then
    list[#list + 1] = string.format("The rows come from %d different commits of pare.", #commits)
  end
  for _, value in ipairs(data.values(input.columns.dataset, n)) do
    if value.value == "glyphs" then
      list[#list + 1] = "glyphs is drawn by a generator; its accuracies are not those of MNIST."
    end
  end
  return list
end

-- Reasons why counters are missing, each once.
function summary.missing_counters(input)
  local list = {}
  for _, value in ipairs(data.values(input.columns.counters_status, input.n)) do
    if value.value ~= "ok" and #list < 5 then
      list[#list + 1] = value.value
    end
  end
  return list
end

-- Is there a figure of that kind (with a field that holds)?
function summary.has(report, kind, field)
  for _, figure in ipairs(report.figures) do
    if figure.kind == kind and (not field or figure[field]) then
      return true
    end
  end
  return false
end

-- What is not shown, and why: sentences.
function summary.missing(report)
  local list = {}
  if not summary.has(report, "accuracy-bytes") and not summary.has(report, "accuracy-latency") then
    list[#list + 1] = "No row has an accuracy together with a size or a time, so there is nothing to draw them against."
  end
  if not summary.has(report, "simulated") then
    list[#list + 1] = "No row has a simulated accuracy (nothing was quantized)."
  end
  if not summary.has(report, "time") then
    list[#list + 1] = "No row was timed against a baseline."
  end
  if not summary.has(report, "layers") then
    list[#list + 1] = "The records do not describe single layers (layers_json is empty)."
  end
  if not summary.has(report, "layers", "has_times") then
    list[#list + 1] = "No network that is drawn layer by layer has times of layers (layer_times_json is empty)."
  end
  return list
end

summary.subject = figures.subject

return summary
