#!/usr/bin/python3
"""columns.py COLUMNS.inc A.csv B.csv: do two files agree in every repeatable column, arm by arm?"""
import csv
import re
import sys

spec, a_path, b_path = sys.argv[1:]
csv.field_size_limit(1 << 30)
pattern = re.compile(r'^COLUMN\((\w+),\s*"\w+",\s*"\w+",\s*"[^"]*",\s*([01]),', re.M)
repeatable = [name for name, flag in pattern.findall(open(spec).read()) if flag == "1"]
assert "top1" in repeatable and "median_ns" not in repeatable, repeatable


def load(path):
    rows = {}
    for row in csv.DictReader(open(path, newline="")):
        if row["status"] == "ok":
            assert row["arm_id"] not in rows, f"{path}: arm {row['arm_id']} stands twice"
            rows[row["arm_id"]] = row
    return rows


a, b = load(a_path), load(b_path)
assert a.keys() == b.keys(), f"arms differ: {sorted(a.keys() ^ b.keys())}"
bad = [(arm, name, a[arm][name], b[arm][name])
       for arm in a for name in repeatable if a[arm][name] != b[arm][name]]
for arm, name, x, y in bad[:20]:
    print(f"arm {arm}: {name} is {x!r} and {y!r}")
print(f"{len(a)} arms, {len(repeatable)} repeatable columns, {len(bad)} cells differ")
sys.exit(1 if bad else 0)
