# Killed with SIGKILL at random moments, then resumed: the file is always whole rows, nothing is done
# twice, and in the end it equals an uninterrupted run in every repeatable column.
set -eu
here=$PARE_HOME/tests/integration
run() { "$PARE" run "$here/small.lua" --profile quick "$@" 2>>log; }

run --out whole.csv >/dev/null
RANDOM=${SEED:-1}
echo "seed ${SEED:-1}"
n_kills=0
for i in $(seq 1 12); do
    # exec: the process to kill is pare itself, not a shell around it
    (exec "$PARE" run "$here/small.lua" --profile quick --out cut/rows.csv --resume >/dev/null 2>>log) &
    pid=$!
    sleep "0.$((RANDOM % 90 + 10))"
    if kill -9 $pid 2>/dev/null; then n_kills=$((n_kills + 1)); fi
    wait $pid 2>/dev/null || true
done
echo "$n_kills kills"
[ "$n_kills" -ge 3 ]
run --out cut/rows.csv --resume >/dev/null
rows=$(wc -l <cut/rows.csv)
run --out cut/rows.csv --resume >/dev/null
[ "$(wc -l <cut/rows.csv)" -eq "$rows" ]
/usr/bin/python3 "$here/columns.py" "$PARE_HOME/harness/src/record/columns.inc" whole.csv cut/rows.csv
