#!/bin/sh
# SPDX-License-Identifier: MIT
# The pruning experiments of scripts/seeds in their quick form: every trial succeeds and is as sparse as was asked
# for (biases, which stay, count too: hence 1 %), and a run that is resumed has nothing left to do.
set -eu
"$PARE" data list --format csv | grep '^mnist,' | grep -q '/mnist' || {
    echo "SKIPPED: MNIST is not in PARE_DATASETS"
    exit 77
}
for name in mnist_agp_90 all_pruners structured half_channels global_l1_then_int8 lenet5_smallest sparse_file; do
    "$PARE" run "$PARE_HOME/scripts/seeds/$name.lua" --profile quick --out "$name.csv" >"$name.log" 2>&1 || {
        cat "$name.log"
        exit 1
    }
    /usr/bin/python3 - "$name.csv" <<'PYTHON'
import csv, sys
rows = list(csv.DictReader(open(sys.argv[1])))
print(f"{sys.argv[1]}: {len(rows)} rows")
for row in rows:
    wanted = row["sparsity_requested"]
    ok = row["status"] == "ok" and (not wanted or abs(float(row["sparsity"]) - float(wanted)) < 0.01)
    macs = row["sparsity_macs_requested"]
    ok = ok and (not macs or 0 <= float(row["sparsity_macs"]) - float(macs) < 0.05)
    if not ok:
        sys.exit(f"{row['pipeline']}: status {row['status']} {row['error']}, sparsity {row['sparsity']}, wanted {wanted}; of MACs {row['sparsity_macs']}, wanted {macs}")
PYTHON
done
"$PARE" run "$PARE_HOME/scripts/seeds/mnist_agp_90.lua" --profile quick --out mnist_agp_90.csv --resume --dry-run \
    >resumed.log 2>&1
grep -q '3 of them in mnist_agp_90.csv already' resumed.log || {
    cat resumed.log
    exit 1
}
