# SPDX-License-Identifier: MIT
"""scripts/lib/pare.d.lua declares what the bindings have, and nothing else: functions, methods, fields, keys.

A script asks the bindings: it walks the module, and everywhere else uses a name that does not exist; the
message lists those that do."""
import os
import re
import tempfile

from pare_process import SOURCE, Failures, pare

PROBE = """
local pare = require "pare"
for name, value in pairs(pare) do pare.log("MODULE " .. name .. " " .. type(value)) end
local function mistake(what, f, ...)
  local ok, message = pcall(f, ...)
  pare.log("MISTAKE " .. what .. " | " .. (ok and "accepted" or message))
end
local data = pare.dataset "glyphs"
mistake("Dataset", function() return data.zzzz end)
mistake("DatasetOptions", pare.dataset, "glyphs", { zzzz = 1 })
local function build(g, x, classes)
  mistake("Graph", function() return g:zzzz() end)
  mistake("Node", function() return x.zzzz end)
  for _, op in ipairs { OPERATIONS } do
    mistake("Graph:" .. op, function()
      if op == "add" then return g:add(x, x, { zzzz = 1 }) end
      return g[op](g, x, { zzzz = 1 })
    end)
  end
  return g:linear(g:flatten(x), { out = classes })
end
mistake("ModelOptions", pare.model, { name = "mine", build = build, zzzz = 1 })
local model = pare.model { name = "mine", build = build, input = { 28, 28, 1 } }
mistake("Model", function() return model:zzzz() end)
mistake("TrainOptions", function() return model:train { epochs = 1, zzzz = 1 } end)
mistake("ExperimentOptions", pare.experiment, { zzzz = 1 })
local function experiment(arms)
  return pare.experiment { name = "probe", dataset = data, model = model:init(), pipelines = { {} }, arms = arms }
end
mistake("Arms", experiment, { zzzz = 1 })
return experiment { backend = "ref" }
"""

failures = Failures()
check = failures.check


def declarations():
    """(fields of each class with those it inherits, functions as {owner: names}, the options' class of methods)."""
    fields, parents, functions, options = {}, {}, {}, {}
    current = None
    for line in open(os.path.join(SOURCE, "scripts/lib/pare.d.lua"), encoding="utf-8"):
        if found := re.match(r"---@class (?:pare\.)?(\w+)(?:: pare\.(\w+))?", line):
            current, parent = found.groups()
            fields[current] = set(fields.get(parent, ()))
        elif found := re.match(r"---@field (\w+)\??", line):
            fields[current].add(found[1])
        elif found := re.match(r"---@param options\??[^\n]*pare\.(\w+)", line):
            parents["options"] = found[1]
        elif found := re.match(r"function (\w+)[.:](\w+)\(", line):
            functions.setdefault(found[1], set()).add(found[2])
            options[f"{found[1]}:{found[2]}"] = parents.pop("options", None)
    return fields, functions, options


def same(what, declared, bound):
    check(declared == bound, f"{what}: only in pare.d.lua: {sorted(declared - bound)}; "
          f"only in the bindings: {sorted(bound - declared)}")


def probe(operations):
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "probe.lua"), "w", encoding="utf-8") as file:
            file.write(PROBE.replace("OPERATIONS", ", ".join(f'"{name}"' for name in sorted(operations))))
        status, _, err = pare("run", "probe.lua", "--dry-run", cwd=folder)
    check(status == 0, f"the probe failed: {err}")
    module = dict(re.findall(r"^MODULE (\w+) (\w+)$", err, re.M))
    bound = {}
    for what, message in re.findall(r"^MISTAKE (\S+) \| (.*)$", err, re.M):
        found = re.search(r"'?zzzz'?.*?(?:wanted|only|known:) ([\w, ]+)", message)
        check(found is not None, f"{what}: the message names nothing: {message}")
        bound[what] = set(re.findall(r"\w+", re.sub(r" and ", ", ", found[1]))) if found else set()
    return module, bound


def main():
    fields, functions, options = declarations()
    operations = functions["Graph"] - {"input"}
    module, bound = probe(operations)
    same("functions of pare", functions["pare"], {name for name, kind in module.items() if kind == "function"})
    same("fields of pare", fields["pare"], {name for name, kind in module.items() if kind != "function"})
    for owner in ["Graph", "Model"]:
        same(f"methods of {owner}", functions[owner], bound[owner])
    for name in ["Dataset", "Node", "DatasetOptions", "TrainOptions", "ExperimentOptions", "Arms"]:
        same(name, fields[name], bound[name])
    # Networks by name take their own options as keys too.
    same("ModelOptions", fields["ModelOptions"] - {"shortcut", "skips", "depth"}, bound["ModelOptions"])
    for name in operations:
        same(f"options of Graph:{name}", fields[options[f"Graph:{name}"]], bound[f"Graph:{name}"])
    failures.end()


main()
