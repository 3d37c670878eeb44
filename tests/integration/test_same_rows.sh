# One seed, one result: the same experiment on one core and on all, in other folders, gives the same
# repeatable columns and the same trained weights, bit for bit.
set -eu
here=$PARE_HOME/tests/integration
command -v taskset >/dev/null || {
    echo "SKIPPED: no taskset here"
    exit 77
}
first=$(taskset -cp $$ | sed 's/.*: //; s/[-,].*//')
taskset -c "$first" "$PARE" run "$here/small.lua" --profile quick --quiet --out one/rows.csv >/dev/null
"$PARE" run "$here/small.lua" --profile quick --quiet --out "all of them/other name.csv" >/dev/null
/usr/bin/python3 "$here/columns.py" "$PARE_HOME/harness/src/record/columns.inc" \
    one/rows.csv "all of them/other name.csv"
/usr/bin/python3 -B - "$here" <<'PY'
import glob, os, sys
sys.path.insert(0, sys.argv[1])
from read_safetensors import read
paths = sorted(glob.glob("one/cache/*.safetensors"))
assert paths, "nothing was trained"
for path in paths:
    a, b = read(path)[1], read(os.path.join("all of them/cache", os.path.basename(path)))[1]
    assert a.keys() == b.keys(), path
    for name in a:
        assert a[name].tobytes() == b[name].tobytes(), f"{path}: {name} differs"
print(len(paths), "trained networks: same bits")
PY
