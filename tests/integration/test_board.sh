# A board that has checkpoints made elsewhere and of MNIST only the test split: what needs no more runs, and what needs
# training images says so. The images are noise in files of the right form.
set -eu
mkdir -p data/mnist
/usr/bin/python3 - <<'PY'
import random, struct
noise = random.Random(1)
with open("data/mnist/t10k-images-idx3-ubyte", "wb") as f:
    f.write(struct.pack(">iiii", 0x803, 10000, 28, 28) + noise.randbytes(10000 * 784))
with open("data/mnist/t10k-labels-idx1-ubyte", "wb") as f:
    f.write(struct.pack(">ii", 0x801, 10000) + bytes(i % 10 for i in range(10000)))
PY
export PARE_DATASETS=$PWD/data PARE_CACHE=$PWD/cache
[ ! -e "$PARE_HOME/datasets/mnist" ] || {
    echo "SKIPPED: $PARE_HOME/datasets/mnist is there, and would be found"
    exit 77
}
fail() {
    echo "FAILED: $*"
    exit 1
}

# Elsewhere: a checkpoint of 8 bits. Its scales come from other images, which does not matter here.
"$PARE" model quantize lenet300-mnist --dataset glyphs --set bits=8 --out small.safetensors
cat >board.lua <<'LUA'
local pare = require "pare"
return pare.experiment {
  name = "board",
  dataset = pare.dataset("mnist", { test = 500 }),
  model = pare.model "lenet300":load(pare.set.checkpoint),
  pipelines = pare.set.compress and { {}, { { "ptq", bits = 8 } }, { { "magnitude", sparsity = 0.5, epochs = 1 } } } or { {} },
  arms = { backend = "auto" },
}
LUA
for checkpoint in lenet300-mnist small.safetensors; do
    "$PARE" run board.lua --set checkpoint=$checkpoint --profile quick --quiet --out "$checkpoint.csv" >run.txt ||
        fail "$checkpoint: $(cat "$checkpoint.csv")"
    "$PARE" model eval $checkpoint --dataset mnist --samples 100 >/dev/null
done
status=0
"$PARE" run board.lua --set checkpoint=lenet300-mnist --set compress=true --profile quick --quiet --out some.csv \
    >run.txt 2>&1 || status=$?
[ $status -eq 1 ] || fail "exit status $status, wanted 1: $(cat run.txt)"
/usr/bin/python3 - <<'PY'
import csv
for name in ["lenet300-mnist.csv", "small.safetensors.csv"]:
    rows = list(csv.DictReader(open(name, encoding="utf-8")))
    assert [r["status"] for r in rows] == ["ok"], rows
rows = list(csv.DictReader(open("some.csv", encoding="utf-8")))
assert rows[0]["status"] == "ok" and len(rows) == 3, [(r["status"], r["error"]) for r in rows]
for row, what in zip(rows[1:], ["calibration", "training"]):
    assert row["status"] != "ok" and row["top1"] == "", row
    assert f"has only the test split, but {what} needs training images" in row["error"], row["error"]
PY

# refused WORD PARE-ARGUMENT...
refused() {
    word=$1
    shift
    if "$PARE" "$@" >out.txt 2>err.txt; then
        fail "$*: accepted"
    fi
    grep -q "$word" err.txt || fail "$*: $(cat err.txt)"
}
refused "only the test split" model eval lenet300-mnist --dataset mnist --split val
refused "only the test split" model quantize lenet300-mnist --dataset mnist --out no.safetensors
"$PARE" data list --format csv | grep -q "^mnist,.*$PWD/data/mnist.*only the test split" || fail "data list"
"$PARE" env --format csv | grep -q "mnist.*only the test split" || fail "env"
# Some of the training files: a torn copy, which is no test split.
touch data/mnist/train-labels-idx1-ubyte
refused "lacks train-images-idx3-ubyte" model eval lenet300-mnist --dataset mnist
rm data/mnist/train-labels-idx1-ubyte
# Without the labels there is nothing to measure with.
rm data/mnist/t10k-labels-idx1-ubyte
refused "not found in" model eval lenet300-mnist --dataset mnist
