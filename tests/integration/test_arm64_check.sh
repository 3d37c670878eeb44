# `pare check` of plugins as built for AArch64, under emulation: the backend that is nowhere else, on two processors, and
# a method of each kind. All of them, which takes minutes: QEMU_CPU=max ctest --test-dir build/arm64 -L check -R '^check_'
set -eu
. "$(dirname "$0")/arm64.sh"
built
for run in max:arm cortex-a53:'arm|lsq|magnitude|ptq'; do
    echo "== ${run#*:} on ${run%:*}"
    QEMU_CPU=${run%:*} ctest --test-dir "$build" -R "^check_(${run#*:})\$" --no-tests=error --output-on-failure >ctest.log || {
        cat ctest.log
        exit 1
    }
    grep Passed ctest.log
done
echo "== plugins of another architecture"
if arm cortex-a53 check "$BUILD/plugins/ptq.so" >out 2>&1; then
    echo "FAILED: $BUILD/plugins/ptq.so is taken for one of AArch64"
    exit 1
fi
grep -q 'is for x86-64, this is AArch64' out || { # on an ARM machine both are the same
    [ "$(uname -m)" = aarch64 ] || {
        cat out
        exit 1
    }
}
