# `pare check` as its users meet it: exit status, the three formats, and lines that reproduce failures,
# for a file whose name a shell would take apart.
set -eu
fail() {
    echo "FAILED: $*"
    exit 1
}

# status WANTED COMMAND...: runs it, output in `out`, messages in `err`.
status() {
    wanted=$1
    shift
    got=0
    "$@" >out 2>err || got=$?
    [ "$got" -eq "$wanted" ] || fail "$*: exit status $got, wanted $wanted: $(cat out err)"
}

wrong="$BUILD/tests/check/wrong"
mkdir 'mes plugins é'
cp "$wrong/good.so" 'mes plugins é/'
cp "$wrong/leak_on_failure.so" "mes plugins é/it's.so"

status 0 "$PARE" check 'mes plugins é/good.so'
grep -q 'none failed' out || fail "$(cat out)"
status 1 "$PARE" check "mes plugins é/it's.so"
grep -q '1 failed; to see it again' out || fail "$(cat out)"

# The line reproduces the failure, and nothing but it. (`pare` is the one just built.)
pare() {
    "$PARE" "$@"
}
line=$(sed -n 's/^  pare check/pare check/p' out)
case $line in
*"--method wrong --only alloc --case "*) ;;
*) fail "line: $line" ;;
esac
if eval "$line" >again; then
    fail "$line: passes"
fi
grep -q '^method wrong  alloc  fail  *1 ' again || fail "$line: $(cat again)"

status 1 "$PARE" check "mes plugins é/it's.so" --format csv --seed 3
head -n 1 out | grep -q '^subject,check,verdict,cases,failed,reason,reproduce$' || fail "$(cat out)"
grep -q ',alloc,fail,.*--only alloc --case [0-9]* --seed 3$' out || fail "$(cat out)"
status 1 "$PARE" check "mes plugins é/it's.so" --format json
/usr/bin/python3 - out <<'PY' || fail "JSON"
import json, sys
rows = json.load(open(sys.argv[1], encoding="utf-8"))
assert [r["verdict"] for r in rows if r["check"] == "alloc"] == ["fail"]
PY

# A crash on load is a verdict.
status 1 "$PARE" check "$wrong/crashes_on_load.so"
grep -q 'load .*fail.*SIGSEGV' out || fail "$(cat out)"

# Unusable input.
status 2 "$PARE" check nothing.so
grep -q 'nothing.so: there is no such file' err || fail "$(cat err)"
status 2 "$PARE" check "$wrong/good.so" --only nothing
status 2 "$PARE" check "$wrong/good.so" --case 1
status 2 "$PARE" check "$wrong/good.so" --method other
status 2 "$PARE" check "$wrong/good.so" --set speed=1
