# SPDX-License-Identifier: MIT
"""Makes files of records: rows of all columns, with figures that belong together."""
import csv
import re

from pare_process import SOURCE


def columns():
    with open(f"{SOURCE}/harness/src/record/columns.inc", encoding="utf-8") as file:
        return re.findall(r"^COLUMN\((\w+),", file.read(), re.M)


def row(k, **cells):
    """Row number k of a sweep: trial k // 2 on two backends, the even ones on ref."""
    trial, backend = k // 2, ("ref", "x86")[k % 2]
    bits = (8, 6, 4, 3, 2)[trial % 5]
    made = {
        "schema_version": "1", "run_id": "run", "trial_id": f"{trial:016x}", "arm_id": f"{k:016x}",
        "time_utc": "2026-01-02T03:04:05Z", "experiment": "sweep", "status": "ok", "model": "lenet5-mnist",
        "dataset": "mnist", "pipeline": f"ptq(bits={bits})", "seed": str(trial // 5 + 1),
        "params_json": '[{"method":"ptq","bits":%d,"observer":"minmax","channels":"per-channel"}]' % bits,
        "base_sha256": "ab" * 32, "n_samples": "10000", "split": "test", "top1": str(0.9 + bits / 100),
        "top1_ci_lo": str(0.895 + bits / 100), "top1_ci_hi": str(min(0.905 + bits / 100, 1)),
        "top1_simulated": str(0.9 + bits / 100), "top1_baseline": "0.98", "flips_lost": "20", "flips_won": "10",
        "bytes_fp32": "1730000", "bytes_file": str(216250 * bits // 4), "compression_ratio": str(16 / bits),
        "bytes_activations": "40000", "weight_bits": str(bits), "sparsity": "0", "backend": backend,
        "kernels": "x86_conv2d_vnni x2; x86_linear_vnni x3", "execution": "integer", "threads": "1",
        "batch": "1", "scenario": "single", "latency_n": "1000", "min_ns": "10000", "median_ns": "11000",
        "median_ci_lo_ns": "10990", "median_ci_hi_ns": "11010", "ratio": "0.3", "ratio_ci_lo": "0.2999",
        "ratio_ci_hi": "0.3001", "ratio_arm_id": "0" * 15 + "f", "cache_state": "hot", "profile": "default",
        "samples_per_query": "1", "peak_gmacs": "100", "counters_status": "cycles: no PMU", "host": "board",
        "cpu": "A processor", "arch": "x86_64", "os": "Linux 6.1", "compiler": "GCC 12.2", "cores": "2",
        "git_commit": "0123456789abcdef", "pare_version": "0.1.0", "virtual": "none",
    }
    made.update(cells)
    return made


def full_row(k, **cells):
    """The same with something in every column, as long rows of real files have."""
    made = {name: "0.012345678901234567" for name in columns()}
    made.update({name: "" for name in columns() if name.startswith("aa_")})
    made.update(row(k, **cells))
    return made


def write(path, rows, names=None, **style):
    with open(path, "w", encoding="utf-8", newline="") as file:
        out = csv.DictWriter(file, names or columns(), restval="", extrasaction="ignore",
                             lineterminator="\n", **style)
        out.writeheader()
        out.writerows(rows)
