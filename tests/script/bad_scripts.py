# SPDX-License-Identifier: MIT
"""Every script that cannot work ends `pare run` with status 2 and one line on stderr that begins with
the script's file and line, and leaves no CSV behind."""
import os
import tempfile

from pare_process import Failures, pare

HEAD = """local pare = require "pare"
local lenet = pare.model "lenet300":init()
"""
EXPERIMENT = HEAD + 'return pare.experiment {{ name = "x", dataset = "glyphs", model = lenet, {} }}\n'

# name: (script, line, words that the message must have)
BAD = {
    "syntax error": ("local x = = 1\n", 1, ["unexpected symbol"]),
    "unfinished": ("local t = {\n  1\nlocal y\n", 3, ["'}' expected"]),
    "wrong type": (EXPERIMENT.format("pipelines = 5"), 3, ["pipelines is a number", "wanted"]),
    "unknown key": (EXPERIMENT.format("pipelins = {}"), 3, ["'pipelins'", "did you mean 'pipelines'?"]),
    "unknown method": (EXPERIMENT.format('pipelines = { { { "ptk" } } }'), 3, ["ptk", "ptq"]),
    "unknown parameter": (EXPERIMENT.format('pipelines = { { { "ptq", bitts = 8 } } }'), 3,
                          ["bitts", '"bits"']),
    "out of range": (EXPERIMENT.format('pipelines = { { { "ptq", bits = 40 } } }'), 3, ["40", "2..16"]),
    "wrong order": (EXPERIMENT.format('pipelines = { { { "ptq" }, { "magnitude", sparsity = 0.5 } } }'), 3,
                    ["magnitude", "ptq"]),
    "unknown model": (HEAD + 'pare.model "lenet55"\n', 3, ["'lenet55'", "did you mean 'lenet5'?"]),
    "unknown checkpoint": (HEAD + 'pare.model "lenet5":load "nothing-here"\n', 3, ["'nothing-here'"]),
    "unknown dataset": (HEAD + 'pare.dataset "mnits"\n', 3, ["mnits", "mnist"]),
    "infinite loop": (HEAD + "while true do end\n", 3, ["ran 1000000000 instructions without finishing"]),
    "huge allocation": (HEAD + 'local s = string.rep("x", 1 << 40)\n', 3, ["out of memory", "256 MiB"]),
    "growing allocation": (HEAD + 'local s = "x"\nwhile true do s = s .. s end\n', 4,
                           ["out of memory", "256 MiB"]),
    "bytecode": ("\x1bLua\x54\x00\x19\x93", 1, ["binary chunk", "source text"]),
    "loaded bytecode": ('assert(load("\\27Lua"))\n', 1, ["binary chunk"]),
    "os.execute": ('os.execute("touch escaped")\n', 1, ["os is not available in scripts"]),
    "io.popen": ('\nio.popen("touch escaped")\n', 2, ["io is not available in scripts"]),
    "package.loadlib": ('package.loadlib("libc.so.6", "system")\n', 1, ["package is not available"]),
    "path escape": ('require "../../etc/passwd"\n', 1, ["is not a plain module name"]),
    "absolute path": ('require "/etc/passwd"\n', 1, ["is not a plain module name"]),
    "returns nothing": (HEAD, 2, ["returned nothing", "wanted `return pare.experiment"]),
    "raises a table": ("error({ code = 1 })\n", 1, ["error object is a table"]),
    "endless recursion": ("local function f(n)\n  return 1 + f(n)\nend\nf(1)\n", 2, ["stack overflow"]),
}


def main():
    failures = Failures()
    with tempfile.TemporaryDirectory() as folder:
        for name, (text, line, words) in BAD.items():
            path = os.path.join(folder, "bad.lua")
            with open(path, "w", encoding="latin-1") as file:
                file.write(text)
            status, out, err = pare("run", "bad.lua", "--out", "rows.csv", cwd=folder)
            failures.check(status == 2, f"{name}: exit status {status}, wanted 2: {err}")
            failures.check(err.startswith(f"pare run: bad.lua:{line}: ") and err.count("\n") == 1,
                           f"{name}: wanted one line from bad.lua:{line}:, got: {err}")
            for word in words:
                failures.check(word in err, f"{name}: '{word}' is not in: {err}")
            failures.check(out == "", f"{name}: something on stdout: {out}")
            failures.check(os.listdir(folder) == ["bad.lua"], f"{name}: left {os.listdir(folder)}")
    failures.end()


main()
