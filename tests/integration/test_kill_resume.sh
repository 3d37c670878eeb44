# Nothing is lost: killed at random moments and resumed, written to by two processes at once, with a full
# disk, in a folder that cannot be written. In full: KILLS=200 (and SEED=n), some three minutes.
set -eu
here=$PARE_HOME/tests/integration
run() { "$PARE" run "$here/small.lua" --set seeds=1 --profile quick "$@"; }
equal() { /usr/bin/python3 "$here/columns.py" "$PARE_HOME/harness/src/record/columns.inc" whole.csv "$1"; }

echo "== killed"
/usr/bin/python3 "$here/kill_resume.py" "$PARE" "$here" "${KILLS:-15}" "${SEED:-$$}"

echo "== two processes, one file"
run --out both/rows.csv --shard 1/2 --quiet >/dev/null 2>log1 &
first=$!
run --out both/rows.csv --shard 2/2 --quiet >/dev/null 2>log2
wait $first
equal both/rows.csv

# A small disk of our own; needs root, or the right to make user namespaces.
mkdir -p disk
cat >on_disk.sh <<'END'
set -eu
mount -t tmpfs -o size=6m none disk
run() { "$PARE" run "$here/small.lua" --set seeds=1 --profile quick --out disk/rows.csv --resume --quiet >out 2>&1; }
echo "== a full disk"
run_filtered() { "$PARE" run "$here/small.lua" --set seeds=1 --profile quick --out disk/rows.csv --quiet --filter "$1" >out 2>&1; }
run_filtered fp32
room=$(df --output=avail -B1 disk | tail -n 1)
head -c $((room - 4096)) /dev/zero >disk/ballast
rc=0
run || rc=$?
tail -n 1 out
[ "$rc" -eq 2 ]
tail -n 1 out | grep -q 'disk/rows.csv: cannot append a row .* No space left on device; .*--resume'
[ "$(tail -c 1 disk/rows.csv | od -An -c | tr -d ' ')" = '\n' ]
rm disk/ballast
run
cp disk/rows.csv full.csv
echo "== a folder that cannot be written"
mount -o remount,ro disk
rc=0
"$PARE" run "$here/small.lua" --out disk/other/rows.csv >out 2>&1 || rc=$?
cat out
[ "$rc" -eq 2 ] && [ "$(wc -l <out)" -eq 1 ]
grep -q 'Read-only file system' out
END
export PARE here
if unshare -rm true 2>/dev/null; then
    unshare -rm bash on_disk.sh
    equal full.csv
else
    echo "SKIPPED: a full disk and a read-only folder (no right to mount)"
fi
