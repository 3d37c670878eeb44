# SPDX-License-Identifier: MIT
"""The examples of the script reference run as they stand, and write the rows they promise."""
import csv
import os
import re
import tempfile

from pare_process import SOURCE, Failures, pare


def examples(path):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    return [block for block in re.findall(r"```lua\n(.*?)```", text, re.S) if "pare.experiment" in block]


def main():
    failures = Failures()
    blocks = examples(os.path.join(SOURCE, "harness/src/script/README.md"))
    failures.check(len(blocks) == 3, f"{len(blocks)} examples in the README, wanted 3")
    for k, block in enumerate(blocks, 1):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "example.lua"), "w", encoding="utf-8") as file:
                file.write(block)
            status, out, err = pare("run", "example.lua", "--profile", "quick", "--quiet", cwd=folder)
            failures.check(status == 0, f"example {k}: exit status {status}: {err}{out}")
            name = re.search(r'name = "([^"]+)",\n  dataset', block).group(1)
            with open(os.path.join(folder, "results/runs", name + ".csv"), encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            failures.check([row["status"] for row in rows] == ["ok"] * len(rows) and len(rows) >= 2,
                           f"example {k}: rows {[(row['pipeline'], row['status']) for row in rows]}")
            failures.check(all(float(row["top1"]) > 0.15 for row in rows if "bits=4" not in row["pipeline"]),
                           f"example {k}: top1 {[row['top1'] for row in rows]}")
            if name == "fewest-bits":
                failures.check(len(rows) > 2, "the hook proposed nothing")
    failures.end()


main()
