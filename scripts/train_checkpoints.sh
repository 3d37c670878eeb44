#!/bin/sh
# Trains the committed checkpoints anew and puts them into datasets/checkpoints/: all of them, or those
# named; resnet20-cifar10jpeg only by name. Needs a release build, and the data in $PARE_DATASETS or, MNIST,
# fetched (pare data fetch mnist).
# One seed gives the same files again on the same kind of CPU.
set -eu
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- lenet300-mnist lenet5-mnist resnet20-mnist lenet5-glyphs

mkdir -p datasets/checkpoints
for name in "$@"; do
    build/release/pare run scripts/seeds/checkpoints.lua --set name="$name" --profile quick \
        --out results/runs/checkpoints.csv
    cp "results/runs/checkpoints/$name.safetensors" datasets/checkpoints/
done
