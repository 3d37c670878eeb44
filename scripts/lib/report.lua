-- Reports on record files: `pare report RUN.csv.. -o report.html`.
--
-- This file and the report_*.lua beside it make all of the report; copy them, change them, and run
-- `pare report --script mine.lua`: modules are looked for beside the script first. A report script returns
-- a table of functions `html`, `md` and `figures`. Each gets
--
--   input.n        number of rows, of all files
--   input.columns  { [column name] = list with n places; nil where the cell is empty; numbers are numbers }
--   input.infos    { { name, group, type, unit, doc }, .. }, all columns in order
--   input.files    { { path, first, last }, .. }: which rows came from which file
--   input.title, input.version
--
-- and returns a list of pages, { { name = "report.html", text = ".." }, .. }: one page for html and md, any
-- number for figures. Scripts run in pare's sandbox: no files, no network, limits on memory and time.
-- pare.json(text) reads JSON; it gives nil for what is none.

local data = require "report_data"
local figures = require "report_figures"
local markdown = require "report_markdown"
local page = require "report_page"
local svg = require "report_svg"

local report = {}

-- What all forms of the report show.
local function prepare(input, alone, link)
  local arms = data.arms(input)
  local names, number = svg.families(arms)
  local many_hosts = #data.values(input.columns.host, input.n) > 1
  local means = data.means(arms)
  local list = figures.make(means, { number = number, alone = alone, link = link, many_hosts = many_hosts })
  return {
    input = input, arms = arms, index = data.index(arms), families = names, number = number, figures = list,
    means = means, groups = data.group(arms, figures.subject), many_hosts = many_hosts,
  }
end

function report.html(input)
  return { { name = "report.html", text = page.make(prepare(input, false, true)) } }
end

function report.md(input)
  return { { name = "report.md", text = markdown.make(prepare(input, true, false)) } }
end

function report.figures(input)
  local pages = {}
  for k, figure in ipairs(prepare(input, true, false).figures) do
    pages[k] = { name = figure.name .. ".svg", text = figure.svg }
  end
  return pages
end

return report
