-- Figures as SVG. A figure is a string that stands alone (its styles are in it) or in a page (they are
-- the page's). Shapes as well as colours tell families apart; the colours are Okabe and Ito's.

local data = require "report_data"
local text = require "report_text"

local svg = {}

local WIDTH, HEIGHT = 480, 340
local LEFT, RIGHT, TOP, BOTTOM = 72, 14, 14, 46
local MAX_POINTS = 600

-- name = { light, dark }
svg.colours = {
  ink = { "#1b1f24", "#e6e8eb" }, soft = { "#57606a", "#9aa4af" }, line = { "#d0d7de", "#3a424c" },
  paper = { "#ffffff", "#14181d" }, c1 = { "#57606a", "#c3cad2" }, c2 = { "#0072b2", "#56b4e9" },
  c3 = { "#d55e00", "#ff8a3d" }, c4 = { "#009e73", "#33c69b" }, c5 = { "#b0528a", "#e19cc4" },
  c6 = { "#b07800", "#f0b429" }, c7 = { "#3f6fd8", "#8fb1ff" }, c8 = { "#7a5195", "#c39bd3" },
}

-- Styles of figures; `colour` turns a name into what stands for it.
function svg.style(colour)
  local rules = {
    ".fig{font:12px system-ui,'DejaVu Sans',sans-serif}",
    ".fig text{fill:" .. colour "ink" .. "}.fig .soft{fill:" .. colour "soft" .. "}",
    ".fig .grid{stroke:" .. colour "line" .. ";fill:none}.fig .axis{stroke:" .. colour "soft" .. ";fill:none}",
    ".fig .front{stroke:" .. colour "ink" .. ";stroke-width:1.6;stroke-dasharray:5 3;fill:none}",
    ".fig .name{font-size:11px;stroke:" .. colour "paper" .. ";stroke-width:3;paint-order:stroke}",
    ".fig .halo{stroke:" .. colour "paper" .. ";stroke-width:3;paint-order:stroke;font-weight:600}",
    ".fig .theory{stroke:" .. colour "ink" .. ";stroke-width:2}",
  }
  for k = 1, 8 do
    rules[#rules + 1] = string.format(".fig .c%d{fill:%s;stroke:%s}", k, colour("c" .. k), colour("c" .. k))
  end
  rules[#rules + 1] = ".fig .ci{fill:none;opacity:.65;stroke-width:1.4}"
  return table.concat(rules, "\n")
end

-- ---- parts ----

local function element(out, format, ...)
  out[#out + 1] = string.format(format, ...)
end

local function label(out, x, y, anchor, class, s)
  element(out, '<text x="%.1f" y="%.1f" text-anchor="%s" class="%s">%s</text>', x, y, anchor, class, text.escape(s))
end

local shapes = {
  function(x, y, r) return string.format("M%.1f %.1fa%g %g 0 1 0 %g 0a%g %g 0 1 0 %g 0z", x - r, y, r, r, 2 * r, r, r,
    -2 * r) end,
  function(x, y, r) return string.format("M%.1f %.1fh%gv%gh%gz", x - r, y - r, 2 * r, 2 * r, -2 * r) end,
  function(x, y, r) return string.format("M%.1f %.1fl%g %gh%gz", x, y - 1.2 * r, 1.2 * r, 2.1 * r, -2.4 * r) end,
  function(x, y, r) return string.format("M%.1f %.1fl%g %gl%g %gl%g %gz", x, y - 1.4 * r, 1.4 * r, 1.4 * r, -1.4 * r,
    1.4 * r, -1.4 * r, -1.4 * r) end,
  function(x, y, r) return string.format("M%.1f %.1fl%g %gh%gz", x, y + 1.2 * r, 1.2 * r, -2.1 * r, -2.4 * r) end,
  function(x, y, r)
    local s = 2 * r / 3
    return string.format("M%.1f %.1fh%gv%gh%gv%gh%gv%gh%gv%gh%gv%gh%gz", x - s / 2, y - r, s, s, s, s, -s, s, -s, -s,
      -s, -s, s)
  end,
  function(x, y, r) return string.format("M%.1f %.1fl%g %gl%g %gl%g %gl%g %gz", x, y - 1.2 * r, 1.2 * r, 0.9 * r,
    -0.45 * r, 1.4 * r, -1.5 * r, 0, -0.45 * r, -1.4 * r) end,
  function(x, y, r) return string.format("M%.1f %.1fh%gv%gh%gz", x - 1.3 * r, y - 0.6 * r, 2.6 * r, 1.2 * r,
    -2.6 * r) end,
}

-- Number k of the families: its class and its shape.
local function mark(k)
  return "c" .. (k - 1) % 8 + 1, shapes[(k - 1) % 8 + 1]
end

-- Families in order, the untouched network first: name -> number.
function svg.families(arms)
  local names, seen = {}, {}
  for _, arm in ipairs(arms) do
    if not seen[arm.family] then
      seen[arm.family] = true
      names[#names + 1] = arm.family
    end
  end
  table.sort(names, function(a, b)
    if (a == "fp32") ~= (b == "fp32") then
      return a == "fp32"
    end
    return a < b
  end)
  local number = {}
  for k, name in ipairs(names) do
    number[name] = k
  end
  return names, number
end

function svg.legend_mark(k)
  local class, shape = mark(k)
  return string.format('<svg class="fig key" width="16" height="16" viewBox="0 0 16 16" aria-hidden="true">'
    .. '<path class="%s" d="%s"/></svg>', class, shape(8, 8, 4.5))
end

-- ---- axes ----

local function nice_step(span, n)
  local raw = span / n
  local power = 10 ^ math.floor(math.log(raw, 10))
  for _, m in ipairs { 1, 2, 5, 10 } do
    if m * power >= raw then
      return m * power
    end
  end
  return 10 * power
end

local function linear_axis(lo, hi, from, to, n, low_end)
  local pad = hi - lo > 1e-9 * math.abs(hi) and 0.06 * (hi - lo) or math.max(math.abs(hi), 1e-3) * 0.05
  lo, hi = math.max(lo - pad, low_end or -math.huge), hi + pad
  local axis = { ticks = {} }
  function axis.at(v)
    return from + (v - lo) / (hi - lo) * (to - from)
  end
  local step = nice_step(hi - lo, n)
  for k = math.ceil(lo / step), math.floor(hi / step) do
    axis.ticks[#axis.ticks + 1] = k * step
  end
  axis.step = step
  return axis
end

local function log_axis(lo, hi, from, to)
  local a, b = math.log(lo), math.log(hi)
  local pad = 0.06 * math.max(b - a, 0.2)
  a, b = a - pad, b + pad
  local axis = { ticks = {} }
  function axis.at(v)
    return from + (math.log(v) - a) / (b - a) * (to - from)
  end
  local decades = (b - a) / math.log(10)
  local steps = decades < 1.6 and { 1, 1.5, 2, 3, 5, 7 } or decades < 3 and { 1, 2, 5 } or { 1 }
  for power = math.floor(a / math.log(10)), math.ceil(b / math.log(10)) do
    for _, m in ipairs(steps) do
      local v = m * 10.0 ^ power
      if math.log(v) >= a and math.log(v) <= b then
        axis.ticks[#axis.ticks + 1] = v
      end
    end
  end
  return axis
end

local function cost_axis(lo, hi, from, to)
  if hi > 3 * lo then
    return log_axis(lo, hi, from, to)
  end
  return linear_axis(lo, hi, from, to, 5, 0)
end

-- Accuracy: the axis is logarithmic in the error where errors differ much, so that the difference of
-- 99.0 and 99.5 % shows beside one of 30 %.
local accuracies = { 0, .2, .4, .6, .7, .8, .85, .9, .92, .94, .96, .98, .99, .995, .998, .999, .9995, .9998, .9999 }

local function accuracy_axis(lo, hi, least_error, from, to)
  if (1 - lo) < 4 * math.max(1 - hi, least_error) then
    local axis = linear_axis(lo, hi, from, to, 5)
    local decimals = axis.step < 0.001 and 2 or axis.step < 0.01 and 1 or 0
    local kept = {}
    for _, v in ipairs(axis.ticks) do
      if v <= 1.0000001 then
        kept[#kept + 1] = v
      end
    end
    axis.ticks = kept
    function axis.format(v)
      return text.percent(v, decimals)
    end
    return axis
  end
  local function height(v)
    return -math.log(math.max(1 - v, least_error), 10)
  end
  local a, b = height(lo), height(hi)
  local pad = 0.07 * (b - a)
  a, b = math.max(a - pad, 0), b + pad
  local axis = { ticks = {}, is_log = true }
  function axis.at(v)
    return from + (height(v) - a) / (b - a) * (to - from)
  end
  local last
  for _, v in ipairs(accuracies) do
    local y = axis.at(v)
    if height(v) >= a and height(v) <= b and (not last or math.abs(y - last) >= 22) then
      axis.ticks[#axis.ticks + 1] = v
      last = y
    end
  end
  function axis.format(v)
    return (text.percent(v, v > 0.9985 and 2 or v > 0.985 and 1 or 0))
  end
  return axis
end

local function range(arms, ...)
  local lo, hi
  for _, arm in ipairs(arms) do
    for _, name in ipairs { ... } do
      local v = arm[name]
      if v then
        lo, hi = math.min(lo or v, v), math.max(hi or v, v)
      end
    end
  end
  return lo, hi
end

local function frame(out, x, y, x_title, y_title, format_x)
  local bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
  for _, v in ipairs(y.ticks) do
    element(out, '<path class="grid" d="M%g %.1fH%g"/>', LEFT, y.at(v), right)
    label(out, LEFT - 6, y.at(v) + 4, "end", "soft", y.format(v))
  end
  local last = -math.huge
  for _, v in ipairs(x.ticks) do
    local at = x.at(v)
    element(out, '<path class="grid" d="M%.1f %gV%g"/>', at, TOP, bottom)
    if at - last > 56 and at < right - 10 then
      label(out, at, bottom + 17, "middle", "soft", format_x(v))
      last = at
    end
  end
  element(out, '<path class="axis" d="M%g %gV%gH%g"/>', LEFT, TOP, bottom, right)
  label(out, (LEFT + right) / 2, HEIGHT - 8, "middle", "", x_title)
  element(out, '<text transform="translate(13 %g) rotate(-90)" text-anchor="middle">%s</text>', (TOP + bottom) / 2,
    text.escape(y_title))
end

-- Every k-th arm, so that at most `most` are left; `always` (row -> true) stay.
local function thin(arms, most, always)
  if #arms <= most then
    return arms
  end
  local kept, step = {}, math.ceil(#arms / most)
  for k, arm in ipairs(arms) do
    if k % step == 1 or always[arm.row] then
      kept[#kept + 1] = arm
    end
  end
  return kept
end

-- A point that can be reached with the keyboard and leads to its row.
local function point(out, class, shape, x, y, r, arm, description, link)
  local escaped = text.escape(description)
  if link then
    element(out, '<a href="#r%d" class="pt" aria-label="%s"><title>%s</title><path class="%s" d="%s"/></a>', arm.row,
      escaped, escaped, class, shape(x, y, r))
  else
    element(out, '<g><title>%s</title><path class="%s" d="%s"/></g>', escaped, class, shape(x, y, r))
  end
end

local function finish(out, options, width, height, title)
  local head = string.format('<svg xmlns="http://www.w3.org/2000/svg" class="fig" viewBox="0 0 %g %g" role="%s" '
    .. 'aria-label="%s"', width, height, options.alone and "img" or "group", text.escape(title))
  if not options.alone then
    return head .. ">" .. table.concat(out, "\n") .. "</svg>"
  end
  return string.format('%s width="%g" height="%g">\n<title>%s</title>\n<style>%s</style>\n'
    .. '<rect width="%g" height="%g" fill="%s"/>\n%s\n</svg>\n', head, width, height, text.escape(title),
    svg.style(function(name) return svg.colours[name][1] end), width, height, svg.colours.paper[1],
    table.concat(out, "\n"))
end

-- ---- accuracy against a cost ----

local function describe(arm)
  local lines = { data.name(arm) .. (arm.seed and string.format(" (seed %.14g)", arm.seed) or "") }
  if arm.run ~= "" then
    lines[#lines + 1] = arm.run
  end
  lines[#lines + 1] = "top-1 " .. text.interval(arm.top1, arm.top1_ci_lo, arm.top1_ci_hi, text.percent)
  if arm.bytes_file then
    lines[#lines + 1] = text.bytes(arm.bytes_file)
  end
  if arm.median_ns then
    lines[#lines + 1] = text.interval(arm.median_ns, arm.median_ci_lo_ns, arm.median_ci_hi_ns, text.ns)
  end
  return table.concat(lines, "; ")
end

local function interval_marks(out, class, arm, x, y, cost_lo, cost_hi)
  local px, py = x.at(arm[x.name]), y.at(arm.top1)
  if arm.top1_ci_lo and arm.top1_ci_hi then
    element(out, '<path class="%s ci" d="M%.1f %.1fV%.1f"/>', class, px, y.at(arm.top1_ci_lo), y.at(arm.top1_ci_hi))
  end
  if cost_lo and arm[cost_lo] and arm[cost_hi] then
    element(out, '<path class="%s ci" d="M%.1f %.1fH%.1f"/>', class, x.at(arm[cost_lo]), py, x.at(arm[cost_hi]))
  end
end

local function front_line(out, front, x, y)
  if #front < 2 then
    return
  end
  local path = {}
  for k, arm in ipairs(front) do
    path[#path + 1] = k == 1 and string.format("M%.1f %.1f", x.at(arm[x.name]), y.at(arm.top1))
      or string.format("H%.1fV%.1f", x.at(arm[x.name]), y.at(arm.top1))
  end
  element(out, '<path class="front" d="%s"/>', table.concat(path))
end

-- The numbers of the front, where they do not cover each other.
local function front_numbers(out, front, x, y)
  local last_x, last_y
  for k, arm in ipairs(front) do
    local px, py = x.at(arm[x.name]), y.at(arm.top1)
    if not last_x or math.abs(px - last_x) > 13 or math.abs(py - last_y) > 14 then
      label(out, px - 8, py - 8, "middle", "halo", tostring(k))
      last_x, last_y = px, py
    end
  end
end

-- arms: with top1 and `cost`; front: those on the Pareto front, by cost.
-- options: title, cost, cost_title, format, cost_lo, cost_hi (columns of its interval), number (of the
-- families), alone, link. Returns nil where there is nothing to show.
function svg.scatter(arms, front, options)
  local lo, hi = range(arms, options.cost, options.cost_lo, options.cost_hi)
  local least, most = range(arms, "top1", "top1_ci_lo", "top1_ci_hi")
  if not lo or lo <= 0 or not least then
    return nil
  end
  local out, on_front = {}, {}
  local n_samples = arms[1].n_samples or 10000
  local x = cost_axis(lo, hi, LEFT, WIDTH - RIGHT)
  local y = accuracy_axis(least, most, 0.5 / n_samples, HEIGHT - BOTTOM, TOP)
  x.name = options.cost
  frame(out, x, y, options.cost_title, "top-1 accuracy", options.format)
  for _, arm in ipairs(front) do
    on_front[arm.row] = true
  end
  local shown = thin(arms, MAX_POINTS, on_front)
  for _, arm in ipairs(shown) do
    interval_marks(out, (mark(options.number[arm.family])), arm, x, y, options.cost_lo, options.cost_hi)
  end
  front_line(out, front, x, y)
  for _, arm in ipairs(shown) do
    local class, shape = mark(options.number[arm.family])
    point(out, class, shape, x.at(arm[options.cost]), y.at(arm.top1), on_front[arm.row] and 5 or 4, arm, describe(arm),
      options.link)
  end
  front_numbers(out, front, x, y)
  return finish(out, options, WIDTH, HEIGHT, options.title), #shown, y.is_log
end

-- ---- deployed against simulated ----

function svg.simulated(arms, options)
  local least, most = range(arms, "top1", "top1_simulated")
  if not least then
    return nil
  end
  local out = {}
  local least_error = 0.5 / (arms[1].n_samples or 10000)
  local x = accuracy_axis(least, most, least_error, LEFT, WIDTH - RIGHT)
  local y = accuracy_axis(least, most, least_error, HEIGHT - BOTTOM, TOP)
  frame(out, x, y, "top-1, simulated in float", "top-1, deployed in integers", x.format)
  element(out, '<path class="front" d="M%.1f %.1fL%.1f %.1f"/>', x.at(least), y.at(least), x.at(most), y.at(most))
  local shown = thin(arms, MAX_POINTS, {})
  for _, arm in ipairs(shown) do
    local class, shape = mark(options.number[arm.family])
    point(out, class, shape, x.at(arm.top1_simulated), y.at(arm.top1), 4.5, arm, string.format(
      "%s; simulated %s, deployed %s", arm.pipeline, text.percent(arm.top1_simulated), text.percent(arm.top1)),
      options.link)
  end
  return finish(out, options, WIDTH, HEIGHT, options.title), #shown
end

-- ---- time against the baseline ----

local ROW = 34

-- What the multiplications that are left of an arm would give, or nil.
local function theory(arm)
  if arm.macs_effective and arm.macs_dense and arm.macs_effective > 0 and arm.macs_effective < arm.macs_dense then
    return arm.macs_effective / arm.macs_dense
  end
end

local function ratio_frame(out, x, left, right, bottom)
  local last = -math.huge
  for _, v in ipairs(x.ticks) do
    if x.at(v) - last > 40 then
      last = x.at(v)
      element(out, '<path class="grid" d="M%.1f 4V%g"/>', last, bottom)
      label(out, last, bottom + 16, "middle", "soft", string.format("%g×", v))
    end
  end
  element(out, '<path class="axis" d="M%.1f 4V%g"/>', x.at(1), bottom)
  label(out, (left + right) / 2, bottom + 34, "middle", "", "time against the baseline (left is faster)")
end

-- One line per arm: the ratio with its interval, and what the multiplications that are left would give.
function svg.ratios(arms, options)
  local left, right = 14, WIDTH - 64
  local lo, hi = range(arms, "ratio", "ratio_ci_lo", "ratio_ci_hi")
  if not lo or lo <= 0 then
    return nil
  end
  for _, arm in ipairs(arms) do
    lo = math.min(lo, theory(arm) or lo)
  end
  local bottom, out = ROW * #arms + 6, {}
  local x = log_axis(math.min(lo, 0.9), math.max(hi, 1.1), left, right)
  ratio_frame(out, x, left, right, bottom)
  for k, arm in ipairs(arms) do
    local y = ROW * k - 8
    local class, shape = mark(options.number[arm.family])
    label(out, left, y - 10, "start", "name", text.short(arm.label, 68))
    if theory(arm) then
      element(out, '<path class="theory" d="M%.1f %.1fV%.1f"/>', x.at(theory(arm)), y - 7, y + 7)
    end
    if arm.ratio_ci_lo and arm.ratio_ci_hi then
      element(out, '<path class="%s ci" d="M%.1f %.1fH%.1f"/>', class, x.at(arm.ratio_ci_lo), y, x.at(arm.ratio_ci_hi))
    end
    point(out, class, shape, x.at(arm.ratio), y, 4.5, arm, string.format("%s; %s; %s of the baseline's time",
      data.name(arm), arm.run, text.interval(arm.ratio, arm.ratio_ci_lo, arm.ratio_ci_hi, text.factor)), options.link)
    label(out, WIDTH - 8, y + 4, "end", "soft", text.factor(arm.ratio))
  end
  return finish(out, options, WIDTH, bottom + 44, options.title)
end

-- ---- layers ----

local function bar(out, class, x, y, width, description)
  element(out, '<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="13" stroke="none"><title>%s</title></rect>',
    class, x, y, math.max(width, 0), text.escape(description))
end

-- A panel of bars: where it begins, how wide it is, what it shows of a layer.
local function panels_of(layers, has_times)
  local most_macs, most_ns = 1, 1
  for _, layer in ipairs(layers) do
    most_macs, most_ns = math.max(most_macs, layer.macs or 0), math.max(most_ns, layer.ns or 0)
  end
  local panels = {
    { title = "bits per weight", draw = function(layer, add)
      if layer.bits then
        add("c2", layer.bits / 32, string.format("%g bits", layer.bits))
        return string.format("%g", layer.bits)
      end
    end },
    { title = "pruned", draw = function(layer, add)
      if layer.weights then
        add("c3", 1 - layer.kept,
          string.format("%.1f %% of %.0f weights pruned", 100 * (1 - layer.kept), layer.weights))
        return text.percent(1 - layer.kept, 1)
      end
    end },
    { title = "MACs", draw = function(layer, add)
      if layer.macs then
        add("c1", layer.macs / most_macs, string.format("%.0f MACs dense", layer.macs))
        add("c4", layer.macs * layer.kept / most_macs,
          string.format("%.0f MACs of weights that are not zero", layer.macs * layer.kept))
        return text.count(layer.macs)
      end
    end },
  }
  if has_times then
    panels[4] = { title = "time", draw = function(layer, add)
      if layer.ns then
        add("c6", layer.ns / most_ns, text.ns(layer.ns) .. (layer.said or ""))
        return text.ns(layer.ns)
      end
    end }
  end
  return panels
end

-- Layers side by side: bits, sparsity, multiplications, and time where it was measured. What is nil is not drawn.
function svg.layers(layers, options)
  local left, row, has_times = 88, 20, false
  for _, layer in ipairs(layers) do
    has_times = has_times or layer.ns ~= nil
    layer.kept = layer.weights and layer.weights > 0 and layer.nonzero / layer.weights or 1
  end
  local panels = panels_of(layers, has_times)
  local after = 54 -- what stands behind a bar
  local panel = (WIDTH - left) / #panels - after
  local height, out = 34 + row * #layers, {}
  for p, what in ipairs(panels) do
    label(out, left + (p - 1) * (panel + after), 18, "start", "", what.title)
  end
  for k, layer in ipairs(layers) do
    local y = 26 + row * (k - 1)
    label(out, left - 6, y + 11, "end", "", text.short(layer.name, 13))
    for p, what in ipairs(panels) do
      local x, bars = left + (p - 1) * (panel + after), {}
      local said = what.draw(layer, function(class, share, description)
        bar(bars, class, x, y, panel * math.min(share, 1), layer.name .. ": " .. description)
      end)
      if said then
        bar(out, "grid", x, y, panel, layer.name)
        table.move(bars, 1, #bars, #out + 1, out)
        label(out, x + panel + 4, y + 11, "start", "soft", said)
      end
    end
  end
  return finish(out, options, WIDTH, height, options.title)
end

return svg
