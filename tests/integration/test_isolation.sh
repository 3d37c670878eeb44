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
mkdir locales
if localedef -i de_DE -f UTF-8 locales/de_DE.UTF-8 >/dev/null 2>&1; then
    export LOCPATH=$PWD/locales WITH_COMMA=1
else
    echo "SKIPPED: no locale with a decimal comma can be made here (scripts/install.sh all); one way does nothing"
fi
run deaths --trial-memory 300
run hangs --call-timeout 3
run backends
/usr/bin/python3 "$here/isolation.py" deaths.csv hangs.csv backends.csv

echo "== a backend that rounds in another way"
rc=0
"$PARE" run "$here/slowdown.lua" --profile quick --set repeats=1 --quiet --out rounds.csv \
    --plugin-path "$BUILD/tests/integration/busy_rounds.so" >rounds.out 2>&1 || rc=$?
[ "$rc" -eq 1 ] && grep -q 'backend busy: run leaves the processor rounding in another way' rounds.csv

echo "== what a plugin prints is no result"
"$PARE" run "$here/misbehave.lua" --set part=deaths --filter print --profile quick --quiet --format csv \
    --out print.csv --plugin-path "$BUILD/tests/integration/misbehave" >print.out 2>print.err
[ "$(wc -l <print.out)" -eq 2 ] && [ "$(grep -c '"top1": 1.0' print.err)" -eq 100000 ]

echo "== time in all"
rm hangs.csv
run hangs --filter loop --call-timeout 0 --trial-timeout 2
grep -o 'killed in apply of method misbehave: not done after 2 s; a longer --trial-timeout' hangs.csv

echo "== nothing is left behind"
sleep 0.2
if cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n' | grep -x "$BUILD/tests/integration/[m]isbehave"; then exit 1; fi

echo "== what it costs, in processor time"
TIMEFORMAT='%U %S'
milliseconds() { # the least of three
    for i in 1 2 3; do
        rm -f cheap.csv
        { time run cheap --quiet "$@"; } 2>&1
    done | awk '{ t = 1000 * ($1 + $2); if (NR == 1 || t < least) least = t } END { print int(least) }'
}
alone=$(milliseconds --no-isolation)
children=$(milliseconds)
[ "$(tail -n +2 cheap.csv | wc -l)" -eq 50 ]
echo "50 trials that fail at once: $alone ms in one process, $children ms in children"
echo "isolation: $(((children - alone) / 50)) ms a trial (with the machine's peak, once for all 50)"
[ $((children - alone)) -lt $((50 * 20)) ]
