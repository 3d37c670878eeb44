#!/bin/sh
# SPDX-License-Identifier: MIT
# Instructions per inference of the arm backend, counted exactly under qemu-user, as CSV:
#     scripts/bench/arm_instructions.sh [--batch N] [--network NAME]... [--precision P]...
# P is what `pare bench` takes: fp32, int8, int4, int2, ternary, binary-weights, binary. By default all of them.
# A level is counted as the processor that has it. What a program does before and after is taken out:
# a count is the difference of 10 and 2 inferences, over 8. No data is needed (seeded weights).
# weight_bytes are those of packed weights; widened counts the layers whose weights of 4 bits and less are
# stored at 8.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
batch=1
networks=
precisions=
usage() {
    sed -n '3,9s/^# *//p' "$0" >&2
    exit 2
}
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || usage
    case $1 in
    --batch) batch=$2 ;;
    --network) networks="$networks $2" ;;
    --precision) precisions="$precisions $2" ;;
    *) usage ;;
    esac
    shift 2
done
for tool in qemu-aarch64 aarch64-linux-gnu-gcc gcc; do
    command -v "$tool" >/dev/null || {
        echo "arm_instructions: $tool not found; run scripts/install.sh test" >&2
        exit 2
    }
done

"$root/scripts/arm64_sysroot.sh" >&2
cmake -S "$root" --preset arm64 >/dev/null
cmake --build "$root/build/arm64" --target pare plugins run_n >&2
work=$root/build/arm64/instructions
mkdir -p "$work"
gcc -O2 -shared -fPIC "$root/tests/bench/count_instructions.c" -o "$work/count.so"

emulate() { # emulate CPU QEMU-ARGUMENT... PROGRAM ARGUMENT...
    cpu=$1
    shift
    PARE_HOME=$root qemu-aarch64 -L "$root/build/sysroot-arm64" -cpu "$cpu" "$@"
}
count() { # count CPU ISA PRECISION N: instructions of a program that runs N inferences
    emulate "$1" -plugin "$work/count.so" "$root/build/arm64/tests/bench/run_n" "$model" arm "$2" "$3" \
        "$batch" "$4" 2>&1 >/dev/null | sed -n 's/^instructions //p'
}

kernels() { # kernels CPU ISA PRECISION: bytes of packed weights, and layers that are widened, as CSV
    emulate "$1" "$root/build/arm64/tests/bench/run_n" "$model" arm "$2" "$3" "$batch" 0 |
        awk 'NR > 1 { bytes += $2; widened += $1 ~ /_widened/ } END { print bytes "," widened + 0 }'
}

echo "network,input,precision,isa,cpu,batch,instructions,weight_bytes,widened"
for network in ${networks:-resnet20 lenet5}; do
    case $network in
    resnet*) input=3x32x32 ;;
    *) input=1x28x28 ;;
    esac
    model=$work/$network.safetensors
    emulate max "$root/build/arm64/pare" model export "$network" --input $input --out "$model"
    for precision in ${precisions:-fp32 int8 int4 int2 ternary binary-weights binary}; do
        for level in neon:cortex-a53 neon-dotprod:cortex-a76 neon-i8mm:max; do
            isa=${level%:*}
            cpu=${level#*:}
            few=$(count "$cpu" "$isa" "$precision" 2)
            more=$(count "$cpu" "$isa" "$precision" 10)
            echo "$network,$input,$precision,$isa,$cpu,$batch,$(((more - few) / 8 / batch)),$(
                kernels "$cpu" "$isa" "$precision"
            )"
        done
    done
done
