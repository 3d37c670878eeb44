-- The figures of a report: what is drawn of which arms, and what is said below it.

local data = require "report_data"
local svg = require "report_svg"
local text = require "report_text"

local figures = {}

local MAX_RUNS = 6    -- figures of accuracy against latency: one per backend, threads, batch, scenario
local MAX_RATIOS = 40 -- lines of the figure of times
local MAX_LAYERS = 4  -- networks shown layer by layer

local function add(list, figure)
  if figure.svg then
    figure.name = string.format("%s-%d", figure.kind, #list + 1)
    list[#list + 1] = figure
  end
end

local function count(n, what)
  return string.format("%d %s%s", n, what, n == 1 and "" or "s")
end

local function axis_note(is_log)
  return is_log and " The accuracy axis is logarithmic in the error." or ""
end

-- "32 of 700 points shown; "
local function left_out(n_shown, n, what)
  return n_shown < n and string.format("%d of %d %ss shown. ", n_shown, n, what) or count(n, what) .. ". "
end

-- What the bars of a group's marks are.
local function bars(arms, what)
  for _, arm in ipairs(arms) do
    if arm.n_seeds then
      return "Marks are means over seeds where there are several; bars are then their range, else 95 % intervals of "
        .. what .. ". "
    end
  end
  return "Bars: 95 % interval of " .. what .. ". "
end

local front_note = "Dashed: the Pareto front, networks that no other beats in both; numbers as in the table below."

local function accuracy_bytes(list, group, options)
  local trials = data.trials(group.arms, "top1", "bytes_file")
  if #trials == 0 then
    return
  end
  local front = data.front(trials, "bytes_file")
  local title = "Accuracy against file size: " .. group.name
  local drawing, n_shown, is_log = svg.scatter(trials, front, {
    title = title, cost = "bytes_file", cost_title = "bytes of the file as stored", format = text.bytes,
    number = options.number, alone = options.alone, link = options.link,
  })
  add(list, { kind = "accuracy-bytes", group = group.name, title = title, short = "Against file size", svg = drawing,
    front = front,
    caption = left_out(n_shown or 0, #trials, "network") .. bars(trials, "top-1") .. front_note
      .. axis_note(is_log) })
end

-- What times can be compared within.
local function run_name(options)
  return function(arm)
    return arm.run .. (options.many_hosts and arm.host and " on " .. arm.host or "")
  end
end

local function accuracy_latency(list, group, options)
  local timed = {}
  for _, arm in ipairs(group.arms) do
    if arm.is_ok and arm.top1 and arm.median_ns then
      timed[#timed + 1] = arm
    end
  end
  local runs = data.group(timed, run_name(options))
  for k = 1, math.min(#runs, MAX_RUNS) do
    local run = runs[k]
    local front = data.front(run.arms, "median_ns")
    local title = "Accuracy against latency: " .. group.name .. ", " .. run.name
    local drawing, n_shown, is_log = svg.scatter(run.arms, front, {
      title = title, cost = "median_ns", cost_lo = "median_ci_lo_ns", cost_hi = "median_ci_hi_ns",
      cost_title = "median time of a query", format = text.ns, number = options.number, alone = options.alone,
      link = options.link,
    })
    add(list, { kind = "accuracy-latency", group = group.name, title = title, svg = drawing, front = front,
      short = "Against latency: " .. run.name,
      caption = left_out(n_shown or 0, #run.arms, "arm") .. bars(run.arms, "top-1 and of the median")
        .. front_note .. axis_note(is_log)
        .. (k == MAX_RUNS and #runs > MAX_RUNS
          and string.format(" %d further combinations of backend, threads, batch and scenario are only in the table of "
            .. "all rows.", #runs - MAX_RUNS) or "") })
  end
end

local function simulated(list, group, options)
  local trials = data.trials(group.arms, "top1", "top1_simulated")
  if #trials == 0 then
    return
  end
  local n_same, worst = 0, nil
  for _, arm in ipairs(trials) do
    local difference = math.abs(arm.top1 - arm.top1_simulated)
    n_same = n_same + (difference == 0 and 1 or 0)
    if difference > 0 and (not worst or difference > math.abs(worst.top1 - worst.top1_simulated)) then
      worst = arm
    end
  end
  local title = "Deployed against simulated accuracy: " .. group.name
  local drawing, n_shown = svg.simulated(trials, { title = title, number = options.number, alone = options.alone,
    link = options.link })
  local caption = left_out(n_shown or 0, #trials, "quantized network")
    .. string.format("%d of them have the same top-1 deployed and simulated. ", n_same)
  if worst then
    caption = caption .. string.format("Furthest apart: %s, simulated %s, deployed %s%s. ", worst.pipeline,
      text.percent(worst.top1_simulated), text.percent(worst.top1),
      worst.diverging_layer and ", from layer " .. worst.diverging_layer .. " on" or "")
  end
  add(list, { kind = "simulated", group = group.name, title = title, short = "", svg = drawing,
    caption = caption .. "On the dashed line both agree." })
end

local function ratios_of_run(list, group, run, options)
  local arms = run.arms
  table.sort(arms, function(a, b)
    return a.ratio ~= b.ratio and a.ratio < b.ratio or a.ratio == b.ratio and a.row < b.row
  end)
  local shown, step = {}, math.max(1, math.ceil(#arms / MAX_RATIOS))
  for k = 1, #arms, step do
    shown[#shown + 1] = arms[k]
  end
  data.label(shown)
  local title = "Time against the baseline: " .. group.name .. ", " .. run.name
  add(list, { kind = "time", group = group.name, title = title, short = run.name,
    svg = svg.ratios(shown, { title = title, number = options.number, alone = options.alone, link = options.link }),
    caption = left_out(#shown, #arms, "arm") .. bars(shown, "the ratio")
      .. "The ratio was measured in the same rounds as the baseline; a bar that holds 1 is not resolved. Upright "
      .. "strokes: the share of multiplications that is left, what a kernel that skips all zeros could reach." })
end

local function ratios(list, group, options)
  local timed = {}
  for _, arm in ipairs(group.arms) do
    timed[#timed + 1] = arm.is_ok and arm.ratio and arm or nil
  end
  local runs = data.group(timed, run_name(options))
  for k = 1, math.min(#runs, MAX_RUNS) do
    ratios_of_run(list, group, runs[k], options)
  end
end

-- layers_json as a checked list, or nil.
local function layers_of(arm)
  local layers = arm.layers_json and require("pare").json(arm.layers_json)
  if type(layers) ~= "table" or #layers == 0 or #layers > 500 then
    return nil
  end
  for _, layer in ipairs(layers) do
    if type(layer) ~= "table" or type(layer.name) ~= "string" then
      return nil
    end
    for _, name in ipairs { "bits", "weights", "nonzero", "macs" } do
      if type(layer[name]) ~= "number" or layer[name] < 0 or layer[name] > 1e15 then
        return nil
      end
    end
  end
  return layers
end

-- layer_times_json as a checked list, or nil.
local function times_of(arm)
  local times = arm.layer_times_json and require("pare").json(arm.layer_times_json)
  if type(times) ~= "table" or #times == 0 or #times > 2000 then
    return nil
  end
  for _, time in ipairs(times) do
    if type(time) ~= "table" or type(time.name) ~= "string" or type(time.ns) ~= "number" or time.ns < 0
      or time.ns > 1e15 or type(time.fused or {}) ~= "table" then
      return nil
    end
    for _, name in ipairs(time.fused or {}) do
      if type(name) ~= "string" then
        return nil
      end
    end
  end
  return times
end

-- Gives each layer the time of the kernels that compute it, and adds what is no layer's as a last one.
local function add_times(layers, times)
  local by_name, rest, sum = {}, 0, 0
  for _, layer in ipairs(layers) do
    by_name[layer.name] = layer
  end
  for _, time in ipairs(times) do
    local layer = by_name[time.name]
    sum = sum + time.ns
    if layer then
      layer.ns = (layer.ns or 0) + time.ns
      for _, name in ipairs(time.fused or {}) do
        layer.fused = (layer.fused and layer.fused .. ", " or "") .. name
      end
    else
      rest = rest + time.ns
    end
  end
  for _, layer in ipairs(layers) do
    layer.share = layer.ns and sum > 0 and layer.ns / sum or nil
    layer.said = layer.fused and " with " .. layer.fused or ""
  end
  layers[#layers + 1] = { name = "all else", ns = rest, share = sum > 0 and rest / sum or nil,
    said = ": pooling, additions, conversions and what is no kernel's" }
end

-- Of the arms of a trial, the fastest whose layers were timed.
local function timed_arm(arms, trial)
  local best
  for _, arm in ipairs(arms) do
    if arm.trial_id == trial.trial_id and arm.trial_id and arm.is_ok and arm.layer_times_json and arm.median_ns
      and (not best or arm.median_ns < best.median_ns) then
      best = arm
    end
  end
  return best
end

-- The baseline, and the front from the most accurate network on.
local function shown_by_layer(arms)
  local trials = data.trials(arms, "top1", "bytes_file", "layers_json")
  local front, shown = data.front(trials, "bytes_file"), {}
  for _, arm in ipairs(trials) do
    shown[1] = shown[1] or arm.family == "fp32" and arm or nil
  end
  for k = #front, 1, -1 do
    shown[#shown + 1] = front[k] ~= shown[1] and front[k] or nil
  end
  return shown
end

local function layers(list, group, options)
  local seen, n = {}, 0
  for _, arm in ipairs(shown_by_layer(group.arms)) do
    local found = n < MAX_LAYERS and not seen[arm.layers_json] and layers_of(arm)
    seen[arm.layers_json] = true
    if found then
      n = n + 1
      local timed = timed_arm(group.arms, arm)
      local times = timed and times_of(timed)
      if times then
        add_times(found, times)
      end
      local title = string.format("Layers of %s (%s)", arm.pipeline, group.name)
      add(list, { kind = "layers", group = group.name, title = title, short = arm.pipeline,
        layers = found, has_times = times ~= nil,
        svg = svg.layers(found, { title = title, alone = options.alone }),
        caption = string.format("Top-1 %s, %s. MACs of one inference: green those of weights that are not zero, "
          .. "grey the others. %s", text.percent(arm.top1), text.bytes(arm.bytes_file),
          times and string.format("Time of one query on %s, in runs of their own; a layer's includes what its kernel "
            .. "computes with it.", timed.run)
            or "Time of layers: not in the records, or the backend does not tell it.") })
    end
  end
end

-- All figures of the arms. options: number (svg.families), alone (styles in each), link (to rows), many_hosts.
function figures.make(arms, options)
  local list = {}
  local groups = data.group(arms, figures.subject)
  for _, group in ipairs(groups) do
    for _, draw in ipairs { accuracy_bytes, accuracy_latency, simulated, ratios, layers } do
      draw(list, group, options)
    end
  end
  return list
end

-- What accuracies can be compared within: a network on a dataset.
function figures.subject(arm)
  return (arm.model or "a model") .. (arm.dataset and " on " .. arm.dataset or "")
    .. (arm.split and arm.split ~= "test" and " (" .. arm.split .. ")" or "")
end

return figures
