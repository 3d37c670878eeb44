-- The report as one HTML file. It loads nothing: styles, figures and the little script are in it. Without
-- the script all is there but sorting, filtering and the larger tooltips.

local assets = require "report_assets"
local data = require "report_data"
local summary = require "report_summary"
local svg = require "report_svg"
local tables = require "report_tables"
local text = require "report_text"

local page = {}

local esc = text.escape

local function add(out, format, ...)
  out[#out + 1] = string.format(format, ...)
end

local function cell(c, header)
  local sort = c.sort and string.format(' data-v="%.17g"', c.sort) or ""
  local body = esc(c[1])
  if c.row then
    body = string.format('<a href="#r%d">%s</a>', c.row, body)
  end
  return string.format('<td%s%s%s>%s</td>', c.sort and ' class="n"' or "", sort,
    header and ' data-h="' .. header .. '"' or "", body)
end

-- options: id (of the rows: "r" and the arm's row), sortable, caption
local function add_table(out, t, options)
  options = options or {}
  add(out, '<div class="scroll" tabindex="0" role="region" aria-label="%s"><table%s><thead><tr>',
    esc(options.caption or "table"), options.sortable and ' class="sortable"' or "")
  for _, header in ipairs(t.headers) do
    add(out, '<th scope="col">%s</th>', esc(header))
  end
  add(out, "</tr></thead><tbody>")
  for r, row in ipairs(t.rows) do
    local cells = {}
    for k, c in ipairs(row) do
      cells[k] = cell(c)
    end
    local id = options.id and string.format(' id="r%d"', t.arms[r].row) or ""
    add(out, "<tr%s>%s</tr>", id, table.concat(cells))
  end
  add(out, "</tbody></table></div>")
end

-- ---- sections ----

local function add_head(out, report, counts)
  local input = report.input
  local first, last = tables.period(input)
  add(out, "<header><h1>%s</h1><p class=\"lead\">", esc(input.title))
  local names = {}
  for k, group in ipairs(report.groups) do
    if k <= 6 then
      names[#names + 1] = esc(group.name)
    end
  end
  if #report.groups > 6 then
    names[#names + 1] = string.format("%d more", #report.groups - 6)
  end
  add(out, "%s. %d arms of %d trials: %d measured%s.%s</p></header>", table.concat(names, "; "), counts.n,
    counts.n_trials, counts.n_ok, #counts.failed > 0
      and string.format(', <a href="#failed">%d failed or unsupported</a>', #counts.failed) or "",
    first and string.format(" %s to %s.", esc(first:sub(1, 16):gsub("T", " ")), esc(last:sub(1, 16):gsub("T", " ")))
      or "")
end

local function add_summary(out, report)
  add(out, '<section id="summary"><h2>In short</h2>')
  for k, group in ipairs(report.groups) do
    local sentences = summary.sentences(group)
    if #sentences > 0 and k <= 6 then
      add(out, "<h3>%s</h3><ul>", esc(group.name))
      for _, sentence in ipairs(sentences) do
        add(out, '<li>%s <a href="#r%d">row</a></li>', esc(sentence[1]), sentence.row)
      end
      add(out, "</ul>")
    end
  end
  local warnings = summary.warnings(report)
  if #warnings > 0 then
    add(out, '<ul class="warnings">')
    for _, warning in ipairs(warnings) do
      add(out, "<li>%s</li>", esc(warning))
    end
    add(out, "</ul>")
  end
  add(out, "%s</section>", assets.reading)
end

local function add_legend(out, report)
  add(out, '<ul class="legend" aria-label="Marks of the figures">')
  for k, name in ipairs(report.families) do
    add(out, "<li>%s %s</li>", svg.legend_mark(k), esc(name))
  end
  add(out, "</ul>")
end

local function add_figure(out, figure)
  add(out, '<figure class="%s" id="%s">%s<div class="plot">%s</div><figcaption>%s</figcaption></figure>',
    figure.kind, figure.name, figure.short ~= "" and "<h4>" .. esc(figure.short) .. "</h4>" or "", figure.svg,
    esc(figure.caption))
end

-- The figures of these kinds of one network on one dataset, then the tables of their fronts.
local function add_group(out, report, group, kinds)
  local found = {}
  for _, figure in ipairs(report.figures) do
    if kinds[figure.kind] and figure.group == group.name then
      found[#found + 1] = figure
    end
  end
  if #found == 0 then
    return false
  end
  add(out, '<h3>%s</h3><div class="figures">', esc(group.name))
  for _, figure in ipairs(found) do
    add_figure(out, figure)
  end
  add(out, "</div>")
  for _, figure in ipairs(found) do
    if figure.front then
      add(out, "<details open><summary>The front, %s</summary>", esc(figure.short:lower()))
      add_table(out, tables.front(figure.front), { caption = "Pareto front" })
      add(out, "</details>")
    elseif figure.layers then
      add(out, "<details><summary>In figures: layers of %s</summary>", esc(figure.short))
      add_table(out, tables.layers(figure), { caption = "Layers" })
      add(out, "</details>")
    end
  end
  return true
end

local function add_figures(out, report, title, id, kinds, note)
  add(out, '<section id="%s"><h2>%s</h2>', id, title)
  if note then
    add(out, "<p>%s</p>", esc(note))
  end
  local at = #out + 1
  out[at] = ""
  local any = false
  for _, group in ipairs(report.groups) do
    any = add_group(out, report, group, kinds) or any
  end
  if any and not kinds.layers then
    local legend = {}
    add_legend(legend, report)
    out[at] = table.concat(legend)
  end
  add(out, "</section>")
end

local function add_counters(out, report)
  add(out, '<section id="counters"><h2>What explains the times</h2>')
  local t = tables.counters(report.arms, report.index)
  if #t.rows > 0 then
    add_table(out, t, { sortable = true, caption = "Counters" })
  end
  if t.n_left_out > 0 then
    add(out, "<p>%d further arms are left out here.</p>", t.n_left_out)
  end
  local reasons = summary.missing_counters(report.input)
  if #reasons > 0 then
    add(out, "<p>Counters that are missing were not 0; they could not be read:</p><ul>")
    for _, reason in ipairs(reasons) do
      add(out, "<li>%s</li>", esc(reason))
    end
    add(out, "</ul>")
  end
  add(out, "</section>")
end

local function add_failed(out, counts)
  if #counts.failed == 0 then
    return
  end
  local rows = {}
  for k, arm in ipairs(counts.failed) do
    rows[k] = { { arm.pipeline, row = arm.row }, { arm.run }, { arm.status or "" }, { arm.error or "" } }
  end
  add(out, '<section id="failed"><h2>Not measured</h2>')
  add_table(out, { headers = { "pipeline", "arm", "status", "why" }, rows = rows }, { caption = "Not measured" })
  add(out, "</section>")
end

local function add_rows(out, report)
  local runs = data.group(report.arms, function(a)
    return a.run
  end)
  add(out, '<section id="rows"><h2>All rows</h2>')
  if #runs == 1 and runs[1].name ~= "" then
    add(out, "<p>All on %s.</p>", esc(runs[1].name))
  end
  add(out, '<p class="tools" hidden><label>Show rows with '
    .. '<input type="search" id="filter" size="24"></label> <span id="shown" role="status"></span></p>')
  add_table(out, tables.all(report.arms),
    { id = true, sortable = true, caption = "All rows" })
  add(out, "</section>")
end

local function add_provenance(out, report)
  add(out, '<section id="provenance"><h2>Machine and provenance</h2>')
  add_table(out, tables.provenance(report.input), { caption = "Machine and provenance" })
  local files = {}
  for k, file in ipairs(report.input.files) do
    files[k] = string.format("<code>%s</code> (%d rows)", esc(file.path), file.last - file.first + 1)
  end
  add(out, "<p>Files: %s. Every column is explained in <code>results/README.md</code> of pare.</p></section>",
    table.concat(files, ", "))
end

local function add_missing(out, report)
  add(out, '<section id="missing"><h2>Not in this report</h2><ul>')
  for _, sentence in ipairs(summary.missing(report)) do
    add(out, "<li>%s</li>", esc(sentence))
  end
  add(out, "</ul></section>")
end

function page.make(report)
  local out = {}
  local counts = summary.counts(report.arms)
  add(out, '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
    .. '<meta name="viewport" content="width=device-width, initial-scale=1">'
    .. '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; style-src \'unsafe-inline\'; '
    .. 'script-src \'unsafe-inline\'"><title>%s</title><style>%s</style></head><body>', esc(report.input.title),
    assets.style(svg))
  add(out, '<a class="skip" href="#rows">To the table of all rows</a>')
  add_head(out, report, counts)
  add(out, '<nav aria-label="Sections"><a href="#summary">In short</a><a href="#accuracy">Accuracy</a>'
    .. '<a href="#simulated">Simulated</a><a href="#time">Time</a><a href="#layers">Layers</a>'
    .. '<a href="#counters">Counters</a><a href="#rows">All rows</a><a href="#provenance">Machine</a></nav><main>')
  add_summary(out, report)
  add_figures(out, report, "Accuracy against size and time", "accuracy",
    { ["accuracy-bytes"] = true, ["accuracy-latency"] = true })
  add_figures(out, report, "Deployed and simulated accuracy", "simulated", { simulated = true },
    not summary.has(report, "simulated") and "No row has a simulated accuracy: nothing was quantized." or nil)
  add_figures(out, report, "Time against the baseline", "time", { time = true },
    not summary.has(report, "time") and "No row was timed against a baseline." or nil)
  add_figures(out, report, "Layer by layer", "layers", { layers = true }, (summary.has(report, "layers")
    and "The baseline, and networks on the front of accuracy and size, the most accurate first."
    or "The records do not describe single layers."))
  add_counters(out, report)
  add_failed(out, counts)
  add_rows(out, report)
  add_provenance(out, report)
  add_missing(out, report)
  add(out, '</main><footer>Made by <code>pare report</code>, version %s. This page loads nothing from a network.'
    .. '</footer><div id="tip" role="tooltip" hidden></div><script>%s</script></body></html>\n',
    esc(report.input.version), assets.script)
  return table.concat(out, "\n")
end

return page
