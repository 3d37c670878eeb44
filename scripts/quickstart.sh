#!/bin/sh
# From a fresh Debian 12 to a table of measured networks: installs what is missing, builds, and runs
# scripts/experiments/quickstart.lua. Further arguments go to `pare run` (--profile default, ...).
set -eu
cd "$(dirname "$0")/.."

scripts/install.sh run
cmake --preset release >build/configure.log 2>&1 || { cat build/configure.log >&2; exit 1; }
echo "Building..." >&2
cmake --build --preset release --target pare plugins >build/build.log 2>&1 || {
    tail -n 40 build/build.log >&2
    exit 1
}
build/release/pare run scripts/experiments/quickstart.lua --profile quick \
    --out results/runs/quickstart.csv "$@"
echo "A page with figures: build/release/pare report results/runs/quickstart.csv -o report.html"
