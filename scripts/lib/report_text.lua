-- Text for reports: escaping, and figures with units. Every cell of a record that reaches a page goes
-- through one of the escaping functions, for whoever writes a pipeline's name may be nobody's friend.

local text = {}

-- Valid UTF-8 without control characters, whatever comes in.
local function clean(s)
  s = tostring(s)
  if not utf8.len(s) then
    s = s:gsub("[\x80-\xff]", "?")
  end
  return (s:gsub("%c", " "):gsub("\xef\xbf[\xbe\xbf]", "?"))
end

local entities = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }

-- For HTML and SVG, as text and in quoted attributes.
function text.escape(s)
  return (clean(s):gsub("[&<>\"']", entities))
end

-- For Markdown, also in tables; nothing in it becomes markup, a link or a mention.
function text.escape_markdown(s)
  return (clean(s):gsub("[\\`*_{}%[%]()#+!~]", "\\%0"):gsub("[&<>|@]", function(c)
    return "&#" .. c:byte() .. ";"
  end))
end

-- "12.3", with as many digits as the size of the figure deserves.
local function digits(value)
  local size = math.abs(value)
  return string.format(size >= 100 and "%.0f" or size >= 10 and "%.1f" or "%.2f", value)
end

local function scaled(value, units)
  local k = 1
  while k < #units and math.abs(value) >= 999.5 do
    value, k = value / 1000, k + 1
  end
  return digits(value) .. " " .. units[k]
end

function text.bytes(value)
  return value and (value < 1000 and string.format("%.0f B", value) or scaled(value, { "B", "kB", "MB", "GB" })) or ""
end

function text.ns(value)
  return value and scaled(value, { "ns", "µs", "ms", "s" }) or ""
end

function text.count(value)
  if not value then
    return ""
  end
  return math.abs(value) < 1000 and string.format("%.4g", value) or scaled(value, { "", "k", "M", "G", "T" })
end

-- A fraction as percent; near 100 % with enough digits to tell it from 100 %.
function text.percent(value, decimals)
  return value and string.format("%." .. (decimals or 2) .. "f %%", 100 * value) or ""
end

function text.factor(value)
  return value and string.format("%.2f×", value) or ""
end

-- "76.5 µs [76.1, 76.9]": the ends without the unit where it is the same.
function text.interval(value, lo, hi, format)
  if not value then
    return ""
  end
  local middle = format(value)
  if not lo or not hi then
    return middle
  end
  local unit = middle:match "[^%d.]*$"
  local function bare(v)
    local s = format(v)
    return unit ~= "" and s:sub(-#unit) == unit and s:sub(1, -#unit - 1) or s
  end
  return middle .. " [" .. bare(lo) .. ", " .. bare(hi) .. "]"
end

-- At most n characters, the rest as an ellipsis.
function text.short(s, n)
  s = clean(s)
  if utf8.len(s) <= n then
    return s
  end
  return s:sub(1, utf8.offset(s, n) - 1) .. "…"
end

return text
