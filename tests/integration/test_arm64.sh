# The AArch64 build under qemu-user as three processors: its kernels pass their tests, and integer networks give
# the same logits as here, bit for bit.
set -eu
. "$(dirname "$0")/arm64.sh"
built

arm cortex-a53 env >env.txt
grep -q aarch64 env.txt
arm cortex-a53 list backends | grep -q ref
arm cortex-a53 list backends | grep -q 'neon '
arm cortex-a76 list backends | grep -q neon-dotprod
arm max list backends | grep -q neon-i8mm
# kernels CPU PATTERN: the names of graph tests; on max they run at every level. All seeds of all
# tests: qemu-aarch64 -L build/sysroot-arm64 build/arm64/tests/kernels/test_backend_graphs
export KERNEL_TESTS_EVERY=8
kernels() {
    for test in test_tiled_levels test_tiled_bits test_tiled_guards test_tiled_shapes test_ref_ops test_ref_lower \
        test_backend_graphs; do
        qemu-aarch64 -L "$sysroot" -cpu "$1" "$build/tests/kernels/$test" "$2" >"$1-$test.log" 2>&1 || {
            cat "$1-$test.log"
            return 1
        }
    done
}
echo "== kernels on three processors"
kernels max '*' &
all=$!
kernels cortex-a53 'test_wide*'
kernels cortex-a76 'test_wide*'
wait $all
echo "== glyphs are the same bits"
QEMU_CPU=cortex-a53 ctest --test-dir "$build" -R test_dataset_glyphs --output-on-failure >ctest.log || {
    cat ctest.log
    exit 1
}

logits() { # logits FILE PARE... : writes FILE, says the isa
    file=$1
    shift
    "$@" model eval "$model" --dataset glyphs --samples "$n" --threads 1 --logits "$file" --format csv |
        /usr/bin/python3 -c 'import csv, sys; print(next(csv.DictReader(sys.stdin))["isa"])'
}
# network, bits, samples
while read -r network bits n; do
    model=$network-$bits.safetensors
    "$PARE" model export "$network" --input 1x28x28 --seed 5 --out seeded.safetensors
    "$PARE" model quantize seeded.safetensors --dataset glyphs --set bits="$bits" --out "$model"
    logits here.f32 "$PARE" >/dev/null
    [ "$(stat -c %s here.f32)" -eq $((n * 10 * 4)) ]
    for cpu in cortex-a53 cortex-a76 max; do
        isa=$(logits there.f32 arm "$cpu")
        cmp here.f32 there.f32 || {
            echo "$network with $bits bits: logits on $cpu ($isa) differ from those here"
            exit 1
        }
        echo "$network, $bits bits, $n samples: $isa on $cpu gives the same $((n * 10)) logits"
    done
done <<'NETWORKS'
lenet5 8 60
lenet5 3 20
lenet300 8 60
resnet20 8 12
NETWORKS
# They are logits of something, not one number over and over.
[ "$(od -An -v -tx4 -w4 here.f32 | sort -u | wc -l)" -gt 100 ]
