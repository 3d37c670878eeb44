#!/bin/sh
# SPDX-License-Identifier: MIT
# Training speed on ResNet20 (3x32x32, batch 128) beside Debian's PyTorch, in one run on the same cores:
#     scripts/bench/train_vs_pytorch.sh [--threads N] [--blocks N] [--steps N] [--batch N]
# Needs python3-torch (apt install python3-torch). Nothing else should run on the machine.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
/usr/bin/python3 -c 'import torch' 2>/dev/null || {
    echo "train_vs_pytorch: no PyTorch for /usr/bin/python3; run: apt-get install python3-torch" >&2
    exit 2
}
[ -f "$root/build/release/build.ninja" ] || (cd "$root" && cmake --preset release)
ninja -C "$root/build/release" bench_train >&2
exec /usr/bin/python3 "$root/scripts/bench/train_vs_pytorch.py" \
    "$root/build/release/tests/bench/bench_train" "$@"
