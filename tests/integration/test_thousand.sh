# Planning a thousand trials takes under a second of processor time, also where --resume has a file of
# 10,000 rows to look through; and what the file has is left out.
set -eu
here=$PARE_HOME/tests/integration
plan() { "$PARE" run "$here/thousand.lua" --profile quick --out rows.csv --dry-run --quiet "$@"; }
TIMEFORMAT='%U %S'
seconds() { # the least of three, user and system
    for i in 1 2 3; do { time plan "$@" >plan.out; } 2>&1; done | awk '{ t = $1 + $2; if (NR == 1 || t < least) least = t } END { print least }'
}

fresh=$(seconds)
"$PARE" run "$here/thousand.lua" --profile quick --out rows.csv --quiet \
    --filter 'magnitude(sparsity=0.5) + ptq(bits=8) seed=1' >/dev/null
/usr/bin/python3 - <<'END'
import csv
rows = list(csv.reader(open("rows.csv", newline="")))
arm = rows[0].index("arm_id")
with open("rows.csv", "a", newline="") as file:
    out = csv.writer(file, lineterminator="\n")
    for k in range(9998):
        row = list(rows[1])
        row[arm] = f"{k:016x}"
        out.writerow(row)
END
[ "$(tail -n +2 rows.csv | wc -l)" -eq 10000 ]
resumed=$(seconds --resume)
echo "1,000 trials planned in $fresh s of processor time; with 10,000 rows to resume from, in $resumed s"
[ "$(grep -cE '^ *[0-9]+  [0-9a-f]{16}  ' plan.out)" -eq 1000 ]
[ "$(grep -cE ' 2      0$' plan.out)" -eq 1 ]
grep -q '1000 trials, 2000 arms, 2 of them in rows.csv already' plan.out
awk "BEGIN { exit !($fresh < 1 && $resumed < 1) }"
