# A board that has nothing but libc and the libraries that README.md names: the archive and the Debian package for arm64,
# each unpacked into an empty root, with shared objects from Debian's packages and no other file; then `pare env`, `pare
# bench` and an experiment with checkpoints and the test split alone, which gives the same results as here.
#
# The root is entered by chroot, where that and a static qemu are; else qemu takes it as its prefix for libraries
# (-L), which would not notice a file that only this machine has.
set -eu
. "$(dirname "$0")/arm64.sh"
built
fail() {
    echo "FAILED: $*"
    exit 1
}
cpack --config "$build/CPackConfig.cmake" -B "$PWD/packages" >cpack.log || fail "$(cat cpack.log)"
named=$(sed -n 's/^apt-get install \(libc6 .*\)/\1/p' "$root/README.md")
[ -n "$named" ] || fail "README.md names no libraries"

# The Debian package: for this architecture, and it depends on exactly what README.md names.
package=$(echo packages/pare-*-linux-arm64.deb)
[ "$(dpkg-deb -f "$package" Architecture)" = arm64 ] || fail "architecture of $package"
needs=$(dpkg-deb -f "$package" Depends | tr ',' '\n' | sed 's/^ *\([^ ]*\).*/\1/' | sort | tr '\n' ' ')
[ "$needs" = "$(echo "$named" | tr ' ' '\n' | sort | tr '\n' ' ')" ] ||
    fail "$package depends on $needs; README.md names $named"

for kind in archive package; do
    mkdir $kind
    /usr/bin/python3 "$root/tests/integration/fill_root.py" "$sysroot/.apt/cache/archives" $kind $named >libraries
    [ -z "$(find $kind -type f -not -name '*.so*')" ] || fail "$kind is not empty"
done
tar -C archive -xzf packages/pare-*-linux-arm64.tar.gz
dpkg-deb -x "$package" package

# What a board gets from elsewhere: a model of 8 bits made here, and of MNIST the test split, where it is found.
dataset=glyphs
IFS=:
for folder in ${PARE_DATASETS:-}; do
    if ls "$folder"/mnist/t10k-images* >/dev/null 2>&1; then
        dataset=mnist
        for kind in archive package; do
            mkdir -p $kind/data/mnist
            cp "$folder"/mnist/t10k-* $kind/data/mnist
        done
        break
    fi
done
unset IFS
[ $dataset = mnist ] || echo "SKIPPED: MNIST, which is in no folder of PARE_DATASETS; with glyphs instead"
"$PARE" model quantize lenet5-$dataset --dataset glyphs --set bits=8 --out small.safetensors
cat >board.lua <<'LUA'
local pare = require "pare"
return pare.experiment {
  name = "board",
  dataset = pare.dataset(pare.set.dataset, { test = 100 }),
  model = pare.model "lenet5":load(pare.set.checkpoint),
  pipelines = { {} },
  arms = { backend = { "ref", "auto" } },
}
LUA

# board KIND ARGUMENT...: pare on that board, whose only folder to write to is its /runs.
enter=none
if command -v qemu-aarch64-static >/dev/null; then
    if chroot / true 2>/dev/null; then
        enter=
    elif unshare -r chroot / true 2>/dev/null; then
        enter="unshare -r"
    fi
fi
if [ "$enter" != none ]; then
    board() {
        at=$1
        shift
        env -i PATH="$PATH" PARE_DATASETS=/data PARE_CACHE=/runs/cache HOME=/runs \
            $enter chroot $at /qemu -cpu cortex-a53 "/$(cd $at && echo $pare)" "$@"
    }
    file() { echo "/runs/$1"; }
else
    echo "SKIPPED: chroot, for want of the right to it or of qemu-aarch64-static; with qemu -L instead"
    board() {
        at=$1
        shift
        env -i PATH="$PATH" PARE_DATASETS=$PWD/$at/data PARE_CACHE=$PWD/$at/runs/cache HOME=$PWD/$at/runs \
            qemu-aarch64 -L $at -cpu cortex-a53 $at/$pare "$@"
    }
    file() { echo "$PWD/$at/runs/$1"; }
fi
for kind in archive package; do
    pare=usr/bin/pare
    [ $kind = package ] || pare='pare-*/bin/pare'
    mkdir $kind/runs
    cp small.safetensors board.lua $kind/runs
    ! command -v qemu-aarch64-static >/dev/null || cp "$(command -v qemu-aarch64-static)" $kind/qemu
    board $kind env --format csv >env.csv 2>err || fail "env: $(cat err)"
    grep -q '^machine,arch,aarch64' env.csv || fail "$(cat env.csv)"
    grep -q '^backends,arm,"neon, score' env.csv || fail "$(cat env.csv)"
    board $kind bench --model lenet5-$dataset --precision int8 --profile quick --format csv >bench.csv
    for checkpoint in lenet5-$dataset "$(file small.safetensors)"; do
        name=$(basename "$checkpoint").csv
        board $kind run "$(file board.lua)" --set dataset=$dataset --set checkpoint="$checkpoint" --profile quick \
            --quiet --out "$(file "$name")" >log
        ( cd $kind/runs &&
            "$PARE" run board.lua --set dataset=$dataset --set checkpoint="$(basename "$checkpoint")" --profile quick \
                --quiet --out "here-$name" >log )
    done
    /usr/bin/python3 - $kind lenet5-$dataset.csv small.safetensors.csv <<'PY'
import csv, sys
kind, *names = sys.argv[1:]
bench = list(csv.DictReader(open("bench.csv", encoding="utf-8")))
assert len(bench) == 1 and float(bench[0]["median_ns"]) > 0, bench
for name in names:
    there, here = [list(csv.DictReader(open(f"{kind}/runs/{n}", encoding="utf-8"))) for n in [name, "here-" + name]]
    assert len(there) == 2 and all(r["status"] == "ok" for r in there), [r["error"] for r in there]
    assert [r["backend"] for r in there] == ["ref", "arm"] and {r["arch"] for r in there} == {"aarch64"}, there
    for a, b in zip(there, here):
        assert float(a["top1"]) > 0.9 and a["top1"] == b["top1"], (a["top1"], b["top1"])
        assert name.startswith("lenet5") or a["loss"] == b["loss"], (a["loss"], b["loss"]) # integers: to the bit
        assert float(a["median_ns"]) > 0
    print(f"{kind}, {name}: top-1 {there[1]['top1']}, {there[1]['execution']} on {there[1]['isa']}, as here")
PY
done
