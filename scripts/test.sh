#!/bin/sh
# Installs what is missing, builds with warnings as errors, and runs all tests: under GCC in release
# form, those of measuring under Clang without PAPI, and the unit tests once more under the address and
# undefined-behaviour sanitizers. Formatting and Lua are checked first. Tests that need MNIST look in
# $PARE_DATASETS.
set -eu
cd "$(dirname "$0")/.."
jobs=$(nproc)

scripts/install.sh test

echo "== formatting"
git ls-files '*.c' '*.h' | xargs clang-format --dry-run --Werror
luacheck -q scripts tests

build() { # build PRESET DIR CMAKE-ARGUMENT...
    preset=$1
    dir=$2
    shift 2
    echo "== build: $dir"
    cmake --preset "$preset" -B "build/$dir" -DPARE_WERROR=ON "$@" >"build/$dir.configure.log" 2>&1 || {
        cat "build/$dir.configure.log"
        exit 1
    }
    cmake --build "build/$dir" -j "$jobs" >"build/$dir.build.log" 2>&1 || {
        grep -E -A5 'error|FAILED' "build/$dir.build.log" | head -n 60
        exit 1
    }
}

build release clang -DCMAKE_C_COMPILER=clang -DPARE_PAPI=OFF
build asan asan
build release release

echo "== tests of a build without PAPI"
ctest --test-dir build/clang -R "test_measure_|test_experiment_arm" -j "$jobs" --output-on-failure
echo "== tests under the sanitizers"
ASAN_OPTIONS=detect_leaks=1 ctest --test-dir build/asan -L unit -j "$jobs" --output-on-failure
ctest --test-dir build/asan -R '^test_check_wrong$' --output-on-failure
echo "== tests"
ctest --test-dir build/release -j "$jobs" --output-on-failure
