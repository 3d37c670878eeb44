# The cross build for AArch64, without a warning. The other test_arm64* use it.
set -eu
. "$(dirname "$0")/arm64.sh"
"$root/scripts/arm64_sysroot.sh" || {
    echo "SKIPPED: no sysroot of arm64 packages, see above"
    exit 77
}
cd "$root"
cmake --preset arm64 -DPARE_WERROR=ON >/dev/null
cmake --build "$build" --target pare pages plugins test_dataset_glyphs kernel_tests >"$OLDPWD/build.log" || {
    grep -A5 -E 'error|FAILED' "$OLDPWD/build.log"
    exit 1
}
