#!/bin/bash
# try_package.sh ARCHIVE [RUNNER...]: unpacks what `cpack` made into an empty folder, whose name has a space, and uses it
# from there, through RUNNER (an emulator) where one is given. The source tree, $PARE_HOME, is hidden meanwhile.
set -eu
archive=$(realpath "$1")
shift
hidden=$PARE_HOME
unset PARE_HOME PARE_PLUGIN_PATH PARE_DATASETS
folder=$(mktemp -d "${TMPDIR:-/tmp}/pare package XXXXXX")
trap 'rm -rf "$folder"' EXIT
tar -C "$folder" -xzf "$archive"
cat >"$folder/small.lua" <<'LUA'
local pare = require "pare"
return pare.experiment {
  name = "small",
  dataset = pare.dataset("glyphs", { train = 200, val = 10, test = 200 }),
  model = pare.model "lenet5":load "lenet5-glyphs",
  pipelines = { {}, { { "ptq", bits = 8, calibration_samples = 64 } } },
  arms = { backend = "auto" },
}
LUA
cat >"$folder/use.sh" <<'USE'
set -eu
pare=$(ls "$PWD"/pare-*/bin/pare)
"$@" "$pare" env >env.txt
"$@" "$pare" list methods --format csv >methods.csv 2>warnings.txt
"$@" "$pare" bench --model lenet5-glyphs --precision int8 --profile quick --format csv >bench.csv
"$@" "$pare" run small.lua --profile quick --quiet --out rows.csv >run.txt
USE
# What a sanitizer's run time prints on its way out is not the matter here.
use=(env -i PATH="$PATH" HOME="$folder" PARE_CACHE="$folder/cache" ASAN_OPTIONS=detect_leaks=0
    bash use.sh "$@")
cd "$folder"
# An emulator's libraries lie in the tree: it is hidden from native programs alone.
if [ $# -eq 0 ] && [ "${hidden#"$folder"}" = "$hidden" ] &&
    unshare -m sh -c 'mount -t tmpfs none "$0"' "$hidden" 2>/dev/null; then
    unshare -m sh -c 'mount -t tmpfs none "$0" && exec "$@"' "$hidden" "${use[@]}"
else
    [ $# -gt 0 ] || echo "SKIPPED: hiding the source tree, which needs the right to mount"
    "${use[@]}"
fi
/usr/bin/python3 - <<'PY'
import csv
rows = list(csv.DictReader(open("rows.csv", encoding="utf-8")))
assert len(rows) == 2 and all(r["status"] == "ok" for r in rows), [r["error"] for r in rows]
assert all(float(r["top1"]) > 0.9 for r in rows), [r["top1"] for r in rows]
assert float(rows[1]["ratio"]) > 0 and rows[1]["pipeline"].startswith("ptq"), rows[1]["pipeline"]
bench = list(csv.DictReader(open("bench.csv", encoding="utf-8")))
assert len(bench) == 1 and float(bench[0]["median_ns"]) > 0, bench
files = {r["id"]: r["file"] for r in csv.DictReader(open("methods.csv", encoding="utf-8"))}
import os
assert {"ptq", "magnitude"} <= set(files), files
assert all(f.startswith(os.getcwd() + "/") for f in files.values()), files
print(f"{len(files)} methods, {rows[0]['isa']}: top-1 {rows[0]['top1']}, with 8 bits {rows[1]['top1']}")
PY
