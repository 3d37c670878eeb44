# A trial is in the same part whatever else is run, the parts together are everything, and merging gives back
# what one run would have written; what contradicts is refused.
set -eu
here=$PARE_HOME/tests/integration
ids() { "$PARE" run "$here/thousand.lua" --dry-run --out none.csv "$@" | grep -oE '^ *[0-9]+  [0-9a-f]{16}' | awk '{ print $2 }' | sort; }

echo "== seven parts of a thousand trials"
ids >all.txt
[ "$(wc -l <all.txt)" -eq 1000 ]
for i in 1 2 3 4 5 6 7; do
    ids --shard $i/7 >"part$i.txt"
    n=$(wc -l <"part$i.txt")
    echo "part $i: $n"
    [ "$n" -ge 100 ] && [ "$n" -le 190 ] # 143 and about five standard deviations
done
cat part?.txt | sort | cmp - all.txt
echo "== the same part with fewer trials around"
ids --shard 3/7 --filter 'bits=4' >some.txt
[ "$(wc -l <some.txt)" -ge 40 ]
[ -z "$(comm -23 some.txt part3.txt)" ]

echo "== merged"
run() { "$PARE" run "$here/small.lua" --set seeds=1 --profile quick --quiet "$@" >/dev/null; }
run --out whole.csv
run --shard 1/2 --out one.csv
run --shard 2/2 --out two.csv
"$PARE" merge one.csv two.csv -o merged.csv
/usr/bin/python3 "$here/columns.py" "$PARE_HOME/harness/src/record/columns.inc" whole.csv merged.csv
"$PARE" merge merged.csv whole.csv -o again.csv # the same twice is no conflict
cmp merged.csv again.csv
/usr/bin/python3 - <<'END'
import csv
rows = list(csv.reader(open("whole.csv", newline="")))
rows[3][rows[0].index("top1")] = "0.0625"
csv.writer(open("wrong.csv", "w", newline=""), lineterminator="\n").writerows(rows)
END
rc=0
"$PARE" merge merged.csv wrong.csv -o refused.csv 2>err || rc=$?
cat err
[ "$rc" -eq 2 ] && [ ! -e refused.csv ]
grep -qE "arm [0-9a-f]{16}: top1 is '.*' at merged.csv line [0-9]+ and '0.0625' at wrong.csv line 4" err
