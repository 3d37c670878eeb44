#!/bin/sh
# SPDX-License-Identifier: MIT
# The quantization experiments of scripts/seeds in their quick form, on glyphs: every trial succeeds, has the columns
# that the experiment is for, and a run that is resumed has nothing left to do.
set -eu

for name in ptq_resnet20 static_ptq all_methods sensitivity; do
    "$PARE" run "$PARE_HOME/scripts/seeds/$name.lua" --profile quick --out "$name.csv" >"$name.log" 2>&1 || {
        cat "$name.log"
        exit 1
    }
done

/usr/bin/python3 - <<'PYTHON'
import csv, json, sys

def rows(name):
    found = list(csv.DictReader(open(name + ".csv")))
    for row in found:
        if row["status"] != "ok":
            sys.exit(f"{name}: {row['pipeline']}: {row['error']}")
    return found

def want(ok, name, row, what):
    if not ok:
        sys.exit(f"{name}: {row['pipeline']}: {what}")

metrics = [f"{m}_{k}" for m in ("precision", "recall", "f1") for k in ("macro", "micro", "weighted")]
found = rows("ptq_resnet20")
for row in found:
    for m in metrics:
        want(row[m] != "", "ptq_resnet20", row, f"{m} is empty")
    for m in ("precision_micro", "recall_micro", "f1_micro", "recall_weighted"):
        want(abs(float(row[m]) - float(row["top1"])) < 1e-9, "ptq_resnet20", row, f"{m} is {row[m]}, top1 {row['top1']}")
    steps = json.loads(row["params_json"])
    trains = bool(steps) and steps[0]["method"] in ("lsq", "binary")
    want((float(row["train_epochs"]) > 0) == trains, "ptq_resnet20", row, f"train_epochs is {row['train_epochs']}")
sizes = [int(r["bytes_file"]) for r in found if r["pipeline"] in ["fp32"] + [f"ptq(bits={b})" for b in (16, 8, 4, 2)]]
want(len(sizes) == 5 and sizes == sorted(sizes, reverse=True), "ptq_resnet20", found[0], f"sizes {sizes} do not fall")

original, quantized = rows("static_ptq")
want(float(quantized["compression_ratio"]) > 3.5, "static_ptq", quantized, "is not 3.5 times smaller")
want(float(quantized["top1"]) > float(original["top1"]) - 0.01, "static_ptq", quantized, "loses a point")
want(quantized["median_ci_lo_ns"] != "", "static_ptq", quantized, "the median has no interval")

found = rows("sensitivity")
layers = [layer["name"] for layer in json.loads(found[0]["layers_json"])]
tried = [step["params"]["include"][0] for row in found[1:] for step in json.loads(row["params_json"])]
if tried != layers:
    sys.exit(f"sensitivity: tried {tried}, the layers are {layers}")
for row in found[1:]:
    bits = [layer["bits"] for layer in json.loads(row["layers_json"])]
    want(sorted(bits) == [2, 32, 32, 32], "sensitivity", row, f"widths are {bits}")

methods = {json.loads(r["params_json"])[0]["method"] for r in rows("all_methods") if r["pipeline"] != "fp32"}
wanted = {"ptq", "obc", "adaround", "mixed_bits", "qat", "lsq", "dorefa", "pact", "apot", "ternary", "binary"}
if not wanted <= methods:
    sys.exit(f"all_methods: lacks {sorted(wanted - methods)}")
PYTHON

"$PARE" run "$PARE_HOME/scripts/seeds/static_ptq.lua" --profile quick --out static_ptq.csv --resume --dry-run >resumed.log 2>&1
grep -q '2 of them in static_ptq.csv already' resumed.log || {
    cat resumed.log
    exit 1
}

# Data that is not there is skipped, or refused where it was asked for, and either is said.
missing() {
    PARE_DATASETS=$PWD/nothing PARE_CACHE=$PWD/nothing "$PARE" run "$PARE_HOME/scripts/seeds/ptq_resnet20.lua" --dry-run \
        "$@" >missing.log 2>&1 && { cat missing.log; exit 1; }
    true
}
missing
grep -q 'SKIPPED: ResNet20 on cifar10-jpeg is not measured, but on mnist: the dataset cifar10-jpeg' missing.log
missing --set data=cifar10-jpeg
grep -q 'the dataset cifar10-jpeg is not here' missing.log
missing --set data=cifar
grep -q 'data=cifar: wanted mnist or cifar10-jpeg' missing.log
