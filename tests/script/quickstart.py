# SPDX-License-Identifier: MIT
"""scripts/experiments/quickstart.lua on the embedded glyphs and, where it is found, on MNIST: it says
which, every row is measured, and on MNIST the compressed networks are as good as promised."""
import csv
import os
import sys
import tempfile

from pare_process import SOURCE, Failures, pare

SKIPPED = 77
SCRIPT = os.path.join(SOURCE, "scripts/experiments/quickstart.lua")


def run(failures, dataset, datasets):
    if not os.path.exists(os.path.join(SOURCE, f"datasets/checkpoints/lenet5-{dataset}.safetensors")):
        print(f"SKIPPED on {dataset}: no checkpoint lenet5-{dataset}")
        return False
    with tempfile.TemporaryDirectory() as folder:
        status, out, err = pare("run", SCRIPT, "--profile", "quick", cwd=folder, datasets=datasets)
        failures.check(status == 0, f"{dataset}: exit status {status}: {err}")
        failures.check(f"dataset {dataset}" in err and f"on dataset {dataset}" in out,
                       f"{dataset} is not named: {err}{out}")
        with open(os.path.join(folder, "results/runs/quickstart.csv"), encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    failures.check([row["status"] for row in rows] == ["ok"] * 6, f"{dataset}: {out}")
    failures.check({row["dataset"] for row in rows} == {dataset}, f"{dataset}: rows of another dataset")
    for row in rows:
        for column in ["top1", "bytes_file", "median_ns", "compression_ratio"]:
            failures.check(row[column] != "", f"{dataset}: {row['pipeline']}: {column} is empty")
    top1 = {row["pipeline"]: float(row["top1"]) for row in rows}
    sparse = [name for name in top1 if name.startswith("magnitude")]
    failures.check(len(sparse) == 2, f"{dataset}: {sorted(top1)}")
    if dataset == "mnist":
        failures.check(top1["ptq(bits=8)"] >= top1["fp32"] - 0.001, f"8 bits: {top1}")
        for name in sparse:
            failures.check(top1[name] >= top1["fp32"] - 0.003, f"90 % sparse: {top1}")
    return True


def main():
    failures = Failures()
    found = run(failures, "glyphs", None)
    folders = os.environ.get("PARE_DATASETS", "")
    if any(os.path.isdir(os.path.join(folder, "mnist")) for folder in folders.split(":") if folder):
        found |= run(failures, "mnist", folders)
    else:
        print("SKIPPED on mnist: not found in PARE_DATASETS")
    if not found:
        sys.exit(SKIPPED)
    failures.end()


main()
