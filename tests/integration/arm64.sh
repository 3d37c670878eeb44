# Sourced by the tests of the AArch64 build: sets `sysroot` and `build`, and skips where the tools are not.
root=$PARE_HOME
sysroot=$root/build/sysroot-arm64
build=$root/build/arm64
for tool in aarch64-linux-gnu-gcc qemu-aarch64; do
    command -v "$tool" >/dev/null || {
        echo "SKIPPED: no $tool; scripts/install.sh test installs it"
        exit 77
    }
done
# Of test_arm64_build, which the others come after.
built() {
    [ -x "$build/pare" ] || {
        echo "SKIPPED: $build/pare is not there; run ctest -R test_arm64_build"
        exit 77
    }
}

arm() { # arm CPU ARGUMENT...: pare as built for AArch64
    cpu=$1
    shift
    qemu-aarch64 -L "$sysroot" -cpu "$cpu" "$build/pare" "$@"
}
