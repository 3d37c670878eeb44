# pare is installed, the tree moved to another place, and plugins in a folder of their own built against
# its headers alone: with GCC and Clang, in C and C++, by find_package(pare) and by pkg-config.
set -eu
unset PARE_HOME PARE_PLUGIN_PATH
here=$(cd "$(dirname "$0")" && pwd)
cmake --install "$BUILD" --prefix "$PWD/first" >install.log
prefix="$PWD/moved to tübingen"
mv first "$prefix"
cp -r "$here/out_of_tree" sources
# The backend in C is the template, under a name of its own.
sed 's/template_float/oot_plain/' "$prefix/share/pare/plugins/template/backend.c" >sources/plain.c
pare="$prefix/bin/pare"

fail() {
    echo "FAILED: $*"
    exit 1
}

# The installed binary alone: its own plugins, checkpoints, networks.
"$pare" list methods --format csv >methods.csv
grep -q "^ptq,.*$prefix" methods.csv || fail "ptq is not taken from $prefix: $(cat methods.csv)"
"$pare" list checkpoints --format csv | grep -q "^lenet5-glyphs,.*$prefix" || fail "no checkpoints"
"$pare" model eval lenet5-glyphs --dataset glyphs --samples 100 --backend ref >/dev/null

# The documents came along, and what they point to.
/usr/bin/python3 "$here/links.py" "$prefix/share/doc/pare" || fail "links"

# The manual page and what shells complete by are where `man` and the shells look for them.
for page in share/man/man1/pare.1 share/bash-completion/completions/pare share/zsh/site-functions/_pare; do
    [ -s "$prefix/$page" ] || fail "no $page"
done
"$pare" man | cmp - "$prefix/share/man/man1/pare.1"

# plugins FOLDER: each of the four is there, by --plugin-path and by PARE_PLUGIN_PATH, and works.
plugins() {
    "$pare" list methods --plugin-path "$1" --format csv >list.csv
    PARE_PLUGIN_PATH="$1" "$pare" list backends --format csv >>list.csv
    for id in oot_clip oot_dice oot_dense oot_plain; do
        grep -q "^$id,1.0.0" list.csv || fail "$1 has no $id: $(cat list.csv)"
    done
    PARE_PLUGIN_PATH="$1" "$pare" run sources/try.lua --profile quick --quiet --out "$1/rows.csv" >run.log
    /usr/bin/python3 - "$1/rows.csv" <<'PY' || fail "rows of $1"
import csv, sys
rows = list(csv.DictReader(open(sys.argv[1], encoding="utf-8")))
assert [r["backend"] for r in rows] == ["ref", "oot_dense", "oot_plain"], [r["backend"] for r in rows]
assert all(r["status"] == "ok" for r in rows), [r["error"] for r in rows]
assert len({r["top1"] for r in rows}) == 1 and float(rows[0]["top1"]) > 0.3, [r["top1"] for r in rows]
assert all(abs(float(r["loss"]) - float(rows[0]["loss"])) < 1e-4 for r in rows), [r["loss"] for r in rows]
assert 0.2 < float(rows[0]["sparsity"]) < 0.3, rows[0]["sparsity"]
PY
}

tried=0
for pair in gcc:g++ clang:clang++; do
    CC=${pair%:*} CXX=${pair#*:}
    command -v "$CC" >/dev/null && command -v "$CXX" >/dev/null || continue
    cmake -S sources -B "cmake-$CC" -DCMAKE_C_COMPILER="$CC" -DCMAKE_CXX_COMPILER="$CXX" \
        -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_BUILD_TYPE=Release >cmake.log || fail "$(cat cmake.log)"
    grep -q "program $prefix/bin/pare" cmake.log || fail "pare_PROGRAM: $(cat cmake.log)"
    cmake --build "cmake-$CC" >build.log || fail "$(cat build.log)"
    plugins "$PWD/cmake-$CC"

    # pkg-config writes spaces as a shell reads them.
    flags=$(PKG_CONFIG_PATH="$prefix/lib/pkgconfig" pkg-config --cflags pare)
    mkdir "pkg-$CC"
    for name in clip plain; do
        eval "$CC -std=c11 -O2 -shared -fPIC $flags sources/$name.c -o pkg-$CC/$name.so -lm"
    done
    for name in dice dense; do
        eval "$CXX -std=c++11 -O2 -shared -fPIC $flags sources/$name.cpp -o pkg-$CC/$name.so"
    done
    plugins "$PWD/pkg-$CC"
    tried=$((tried + 1))
done
[ "$tried" -ge 1 ] || fail "neither GCC nor Clang with C++ was found"
echo "built and run with $tried compilers"
