# The quickstart experiment without MNIST (glyphs), and with it where it is found. With MNIST: 8 bits
# within 0.1 points of fp32, 90 % sparse within 0.3.
set -eu
script=$PARE_HOME/scripts/experiments/quickstart.lua

mkdir none
start=$(date +%s)
env -u PARE_DATASETS PARE_CACHE="$PWD/none" "$PARE" run "$script" --profile quick --out glyphs.csv >table 2>log || {
    cat log
    exit 1
}
echo "glyphs: $(($(date +%s) - start)) s"
cat table
grep -q glyphs glyphs.csv

datasets=${PARE_DATASETS:-}
[ -n "$datasets" ] && [ -e "${datasets%%:*}/mnist" ] || {
    echo "SKIPPED: MNIST is not in PARE_DATASETS; only glyphs was tested"
    exit 77
}
start=$(date +%s)
"$PARE" run "$script" --profile quick --out mnist.csv >table
echo "mnist: $(($(date +%s) - start)) s"
cat table
/usr/bin/python3 - <<'PY'
import csv, sys
csv.field_size_limit(1 << 30)
rows = list(csv.DictReader(open("mnist.csv", newline="")))
assert all(r["status"] == "ok" for r in rows), [r["error"] for r in rows]
assert all(r["dataset"] == "mnist" and r["n_samples"] == "10000" for r in rows)
top1 = {r["pipeline"]: float(r["top1"]) for r in rows}
fp32 = top1["fp32"]
eight = next(v for k, v in top1.items() if k.startswith("ptq") and "bits=8" in k)
sparse = next(v for k, v in top1.items() if k.startswith("magnitude") and "ptq" not in k)
print(f"fp32 {fp32:.4f}, 8 bits {eight:.4f}, 90 % sparse {sparse:.4f}")
assert fp32 - eight <= 0.001, "8 bits lose more than 0.1 points"
assert fp32 - sparse <= 0.003, "90 % sparse loses more than 0.3 points"
PY
