-- The report as Markdown. Figures are files of their own (--figures DIR) and not in it.

local summary = require "report_summary"
local tables = require "report_tables"
local text = require "report_text"

local markdown = {}

local MAX_ROWS = 500

local esc = text.escape_markdown

local function add(out, format, ...)
  out[#out + 1] = string.format(format, ...)
end

local function add_table(out, t)
  local cells = {}
  for k, header in ipairs(t.headers) do
    cells[k] = esc(header)
  end
  add(out, "| %s |\n|%s", table.concat(cells, " | "), string.rep("---|", #cells))
  for r = 1, math.min(#t.rows, MAX_ROWS) do
    for k, cell in ipairs(t.rows[r]) do
      cells[k] = esc(cell[1])
    end
    add(out, "| %s |", table.concat(cells, " | "))
  end
  if #t.rows > MAX_ROWS then
    add(out, "\n%d further rows are left out.", #t.rows - MAX_ROWS)
  end
  add(out, "")
end

local function add_group(out, report, group)
  add(out, "## %s\n", esc(group.name))
  for _, sentence in ipairs(summary.sentences(group)) do
    add(out, "- %s", esc(sentence[1]))
  end
  add(out, "")
  for _, figure in ipairs(report.figures) do
    if figure.group == group.name and figure.front then
      add(out, "### Pareto front: %s\n", esc(figure.title))
      add_table(out, tables.front(figure.front))
    elseif figure.group == group.name and figure.kind == "simulated" then
      add(out, "### %s\n\n%s\n", esc(figure.title), esc(figure.caption))
    elseif figure.group == group.name and figure.kind == "layers" then
      add(out, "### %s\n", esc(figure.title))
      add_table(out, tables.layers(figure))
      add(out, "%s\n", esc(figure.caption))
    end
  end
end

function markdown.make(report)
  local out, input = {}, report.input
  local counts = summary.counts(report.arms)
  add(out, "# %s\n", esc(input.title))
  add(out, "%d arms of %d trials: %d measured, %d failed or unsupported. Made by pare %s.\n", counts.n, counts.n_trials,
    counts.n_ok, #counts.failed, esc(input.version))
  for _, warning in ipairs(summary.warnings(report)) do
    add(out, "> %s\n", esc(warning))
  end
  for _, group in ipairs(report.groups) do
    add_group(out, report, group)
  end
  add(out, "## What explains the times\n")
  add_table(out, tables.counters(report.arms, report.index))
  for _, reason in ipairs(summary.missing_counters(input)) do
    add(out, "- Not counted: %s", esc(reason))
  end
  if #counts.failed > 0 then
    add(out, "\n## Not measured\n")
    local rows = {}
    for k, arm in ipairs(counts.failed) do
      rows[k] = { { arm.pipeline }, { arm.run }, { arm.status or "" }, { arm.error or "" } }
    end
    add_table(out, { headers = { "pipeline", "arm", "status", "why" }, rows = rows })
  end
  add(out, "\n## Not in this report\n")
  for _, sentence in ipairs(summary.missing(report)) do
    add(out, "- %s", esc(sentence))
  end
  add(out, "\n## All rows\n")
  add_table(out, tables.all(report.arms))
  add(out, "## Machine and provenance\n")
  add_table(out, tables.provenance(input))
  for _, file in ipairs(input.files) do
    add(out, "- %s: %d rows", esc(file.path), file.last - file.first + 1)
  end
  return table.concat(out, "\n") .. "\n"
end

return markdown
