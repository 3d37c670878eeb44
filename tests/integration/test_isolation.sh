# A plugin that misbehaves in every way that its author could do by mistake costs its trial, and no more:
# each row says how its trial died, the other trials are done, and the exit status is 1.
set -eu
here=$PARE_HOME/tests/integration
run() { # run PART FLAG...: exit status 1 is right
    part=$1
    shift
    rc=0
    "$PARE" run "$here/misbehave.lua" --set part="$part" --profile quick --out "$part.csv" \
        --plugin-path "$BUILD/tests/integration/misbehave" "$@" >"$part.out" 2>&1 || rc=$?
    [ "$rc" -eq 1 ] || { echo "$part: exit status $rc"; cat "$part.out"; exit 1; }
}
echo "== the kinds"
run deaths --trial-memory 300
run hangs --call-timeout 3
run backends
/usr/bin/python3 "$here/isolation.py" deaths.csv hangs.csv backends.csv

echo "== nothing is left behind"
sleep 0.2
if pgrep -f "set part=.*--plugin-path $BUILD/"; then exit 1; fi

echo "== what it costs"
milliseconds() { echo $(($(date +%s%N) / 1000000)); }
best=1000000
for i in 1 2 3; do
    rm -f cheap.csv
    a=$(milliseconds)
    run cheap --no-isolation --quiet
    b=$(milliseconds)
    rm -f cheap.csv
    run cheap --quiet
    c=$(milliseconds)
    [ "$(tail -n +2 cheap.csv | wc -l)" -eq 50 ]
    extra=$(((c - b) - (b - a)))
    echo "50 trials that fail at once: $((b - a)) ms in one process, $((c - b)) ms in children"
    if [ "$extra" -lt "$best" ]; then best=$extra; fi
done
echo "isolation: $((best / 50)) ms a trial (among it, once for all 50, the peak of the machine)"
[ "$best" -lt $((50 * 20)) ]
