-- The tables of a report as data: headers and cells, written as HTML or Markdown by others. A cell is
-- { text, sort = number }; an empty text is "not measured".

local data = require "report_data"
local text = require "report_text"

local tables = {}

-- ---- networks on a front ----

-- "99.12 % [98.90, 99.31]"; of several seeds "99.12 % ± 0.08 [99.05, 99.21]".
local function top1_of(arm)
  local cell = text.interval(arm.top1, arm.top1_ci_lo, arm.top1_ci_hi, text.percent)
  local with = cell:gsub(" %[", string.format(" ± %.2f [", 100 * (arm.top1_sd or 0)), 1)
  return arm.top1_sd and with or cell
end

function tables.front(front)
  local rows, top1 = {}, "top-1 [95 %]"
  for k, arm in ipairs(front) do
    top1 = arm.n_seeds and "top-1 ± deviation [range of seeds]" or top1
    rows[k] = {
      { tostring(k) }, { data.name(arm), row = arm.row },
      { top1_of(arm), sort = arm.top1 },
      { text.bytes(arm.bytes_file), sort = arm.bytes_file }, { text.factor(arm.compression_ratio) },
      { text.ns(arm.median_ns), sort = arm.median_ns },
      { text.interval(arm.ratio, arm.ratio_ci_lo, arm.ratio_ci_hi, text.factor), sort = arm.ratio },
    }
  end
  return { headers = { "#", "pipeline", top1, "file", "smaller", "median", "time / baseline" }, rows = rows }
end

-- ---- layers ----

-- Of a figure of kind "layers". Empty: there is none of it, or it was not measured.
function tables.layers(figure)
  local rows = {}
  for k, layer in ipairs(figure.layers) do
    rows[k] = {
      { layer.name .. (layer.fused and " + " .. layer.fused or "") },
      { layer.bits and string.format("%g", layer.bits) or "", sort = layer.bits },
      { layer.weights and text.count(layer.weights) or "", sort = layer.weights },
      { layer.weights and text.percent(1 - layer.kept, 1) or "", sort = layer.weights and 1 - layer.kept },
      { text.count(layer.macs), sort = layer.macs },
      { text.ns(layer.ns), sort = layer.ns },
      { text.percent(layer.share, 1), sort = layer.share },
    }
  end
  return { headers = { "layer", "bits", "weights", "pruned", "MACs", "time", "of the time" }, rows = rows }
end

-- ---- counters ----

local counters = {
  { "macs_executed", "MACs run", text.count }, { "instructions", "instructions", text.count },
  { "ipc", "IPC", text.count }, { "l1d_mpki", "L1 MPKI", text.count }, { "l2_mpki", "L2 MPKI", text.count },
  { "llc_mpki", "LLC MPKI", text.count }, { "branch_mpki", "branch MPKI", text.count },
  { "bytes_per_mac", "weight bytes / MAC", text.count }, { "gmacs", "GMAC/s", text.count },
  { "fraction_of_peak", "of peak", function(v) return v and text.percent(v, 1) or "" end },
  { "page_faults", "page faults", text.count }, { "context_switches", "switches", text.count },
  { "energy_uj", "energy µJ", text.count },
}

local MAX_COUNTER_ROWS = 60

function tables.counters(arms, index)
  local shown, headers, rows, n = {}, { "arm", "time / baseline" }, {}, 0
  for _, counter in ipairs(counters) do
    for _, arm in ipairs(arms) do
      if arm[counter[1]] then
        shown[#shown + 1] = counter
        headers[#headers + 1] = counter[2]
        break
      end
    end
  end
  headers[#headers + 1] = "what that says"
  data.label(arms)
  for _, arm in ipairs(arms) do
    local notes = arm.is_ok and arm.median_ns and data.explain(arm, index)
    if notes then
      n = n + 1
    end
    if notes and n <= MAX_COUNTER_ROWS then
      local row = { { arm.label, row = arm.row },
        { text.interval(arm.ratio, arm.ratio_ci_lo, arm.ratio_ci_hi, text.factor), sort = arm.ratio } }
      for _, counter in ipairs(shown) do
        row[#row + 1] = { counter[3](arm[counter[1]]), sort = arm[counter[1]] }
      end
      row[#row + 1] = { table.concat(notes, "; ") }
      rows[#rows + 1] = row
    end
  end
  return { headers = headers, rows = rows, n_left_out = math.max(0, n - MAX_COUNTER_ROWS) }
end

-- ---- all rows ----

local function interval(arm, name, lo, hi, format)
  return { text.interval(arm[name], arm[lo], arm[hi], format), sort = arm[name] }
end

-- if_several: shown only where the arms differ in it.
local all = {
  { "pipeline", function(a) return { a.pipeline } end },
  { "seed", function(a) return { a.seed and string.format("%.14g", a.seed) or "", sort = a.seed } end,
    if_several = true },
  { "model", function(a) return { a.model or "" } end, if_several = true },
  { "dataset", function(a) return { a.dataset or "" } end, if_several = true },
  { "arm", function(a) return { a.run } end, if_several = true },
  { "host", function(a) return { a.host or "" } end, if_several = true },
  { "status", function(a) return { a.status or "" } end, if_several = true },
  { "top-1 [95 %]", function(a) return interval(a, "top1", "top1_ci_lo", "top1_ci_hi", text.percent) end },
  { "simulated", function(a) return { text.percent(a.top1_simulated), sort = a.top1_simulated } end },
  { "file", function(a) return { text.bytes(a.bytes_file), sort = a.bytes_file } end },
  { "smaller", function(a) return { text.factor(a.compression_ratio), sort = a.compression_ratio } end },
  { "pruned", function(a) return { text.percent(a.sparsity, 1), sort = a.sparsity } end },
  { "median [95 %]", function(a) return interval(a, "median_ns", "median_ci_lo_ns", "median_ci_hi_ns", text.ns) end },
  { "time / baseline", function(a) return interval(a, "ratio", "ratio_ci_lo", "ratio_ci_hi", text.factor) end },
  { "doubts", function(a) return { table.concat(data.doubts(a), "; ") } end },
}

-- All arms; columns that are empty in every row are left out.
function tables.all(arms)
  local result = { headers = {}, rows = {}, arms = arms }
  for k in ipairs(arms) do
    result.rows[k] = {}
  end
  for _, column in ipairs(all) do
    local cells, first, differs, filled = {}, nil, false, false
    for k, arm in ipairs(arms) do
      cells[k] = column[2](arm)
      local value = cells[k][1]
      first = first or value
      differs = differs or value ~= first
      filled = filled or value ~= ""
    end
    if filled and (differs or not column.if_several) then
      result.headers[#result.headers + 1] = column[1]
      for k, cell in ipairs(cells) do
        local row = result.rows[k]
        row[#row + 1] = cell
      end
    end
  end
  return result
end

-- ---- machine and provenance ----

local provenance = {
  { "host", "host" }, { "cpu", "processor" }, { "arch", "architecture" }, { "cores", "cores" },
  { "virtual", "virtual" }, { "governor", "governor" }, { "os", "system" }, { "features", "features" },
  { "compiler", "compiler" }, { "flags", "flags" }, { "git_commit", "commit" }, { "pare_version", "pare" },
  { "experiment", "experiment" }, { "script", "script" }, { "run_id", "run" }, { "profile", "profile" },
  { "cache_state", "caches" }, { "binding", "binding" }, { "methods", "methods" },
  { "backend_version", "backend versions" },
  { "base_sha256", "starting weights (SHA-256)" },
}

local MAX_VALUES = 8

function tables.provenance(input)
  local rows = {}
  for _, item in ipairs(provenance) do
    local values = data.values(input.columns[item[1]], input.n)
    local texts = {}
    for k, value in ipairs(values) do
      if k <= MAX_VALUES then
        local v = value.value
        v = math.type(v) == "float" and string.format("%g", v) or tostring(v)
        texts[k] = v .. (#values > 1 and string.format(" (%d row%s)", value.n, value.n == 1 and "" or "s") or "")
      end
    end
    if #values > MAX_VALUES then
      texts[#texts + 1] = string.format("and %d more", #values - MAX_VALUES)
    end
    if #values > 0 then
      rows[#rows + 1] = { { item[2] }, { table.concat(texts, "; ") } }
    end
  end
  return { headers = { "what", "value" }, rows = rows }
end

-- First and last of the times that look like times.
function tables.period(input)
  local first, last
  for row = 1, input.n do
    local time = input.columns.time_utc[row]
    if time and time:match "^%d%d%d%d%-%d%d%-%d%dT" then
      first = (not first or time < first) and time or first
      last = (not last or time > last) and time or last
    end
  end
  return first, last
end

return tables
