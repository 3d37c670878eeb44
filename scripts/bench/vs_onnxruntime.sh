#!/bin/sh
# SPDX-License-Identifier: MIT
# pare's x86 backend beside ONNX Runtime's CPU provider, in one run on the same cores:
#     scripts/bench/vs_onnxruntime.sh --models DIR [--format table|csv] [--blocks N] [--seconds S]
#         [--network resnet20|lenet5] [--precision fp32|int8] [--batch N] [--threads N]
# The last four may be repeated; without them all are timed, at batch 1 and 64 and 1 and 2 threads.
# DIR holds one file of each name resnet20*fp32*.onnx, resnet20*int8*.onnx, lenet5*fp32*.onnx and
# lenet5*int8*.onnx. Needs node and npm. scripts/bench/README.md says how to read the result.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
version=1.30.0
scratch=${PARE_SCRATCH:-$root/build/onnxruntime-node}
stop() {
    echo "vs_onnxruntime: $*" >&2
    exit 2
}
for tool in node npm; do
    command -v "$tool" >/dev/null || stop "$tool not found; run: apt-get install nodejs npm"
done
case ${1:-} in
-h | --help)
    sed -n '3,8s/^# *//p' "$0"
    exit 0
    ;;
esac
# Nothing is installed or built for a command line that is wrong.
node "$root/scripts/bench/vs_onnxruntime.js" --check "$@" || exit 2

installed=$scratch/node_modules/onnxruntime-node/package.json
if ! grep -q "\"version\": \"$version\"" "$installed" 2>/dev/null; then
    mkdir -p "$scratch"
    # Its install script would download libraries for GPUs; the package itself has what a CPU needs.
    npm install --prefix "$scratch" --ignore-scripts --no-audit --no-fund --no-save \
        "onnxruntime-node@$version" >"$scratch/npm.log" 2>&1 ||
        stop "npm could not install onnxruntime-node $version; see $scratch/npm.log"
fi
[ -f "$root/build/release/build.ninja" ] || (cd "$root" && cmake --preset release >&2)
ninja -C "$root/build/release" pare plugins >&2
NODE_PATH=$scratch/node_modules exec node "$root/scripts/bench/vs_onnxruntime.js" \
    --pare "$root/build/release/pare" "$@"
