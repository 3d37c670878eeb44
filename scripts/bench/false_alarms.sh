#!/bin/sh
# Does `pare compare --gate` cry wolf on this machine? Runs one experiment N times with nothing changed and
# compares each run with each other, then halves of the runs with each other, as repeats.
#
#   scripts/bench/false_alarms.sh [N] [further arguments for pare run]
#
# N is 10 unless given. PARE names another binary. Takes N times about 10 s with --profile quick.
set -eu
cd "$(dirname "$0")/../.."
pare=${PARE:-build/release/pare}
n=${1:-10}
[ $# -eq 0 ] || shift
[ "$n" -ge 4 ] || { echo "false_alarms.sh: N is $n, wanted 4 or more" >&2; exit 2; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

cat >"$dir/aa.lua" <<'LUA'
local pare = require "pare"
return pare.experiment {
  name = "aa", dataset = pare.dataset("glyphs", { test = 500 }), model = pare.model "lenet5":load "lenet5-glyphs",
  pipelines = { {}, { { "ptq", bits = pare.grid { 8, 6, 4, 3, 2 } } } },
  arms = { backend = "auto", threads = 1, batch = { 1, 4 } },
}
LUA
for i in $(seq "$n"); do
    "$pare" run "$dir/aa.lua" --profile quick --quiet --out "$dir/$i.csv" "$@" >/dev/null
done

# join FILE RUN..: the rows of several runs under one header.
join() {
    out=$1 && shift
    head -n 1 "$dir/$1.csv" >"$out"
    for i; do tail -n +2 "$dir/$i.csv" >>"$out"; done
}

# verdict BASE NEW WHAT: counts a comparison that finds any arm better or worse.
alarms=0 total=0
verdict() {
    total=$((total + 1))
    "$pare" compare "$1" "$2" 2>/dev/null | tail -n 1 >"$dir/last"
    grep -q ' 0 regressed.* 0 improved' "$dir/last" || { alarms=$((alarms + 1)); echo "$3: $(cat "$dir/last")"; }
}

for i in $(seq "$n"); do
    for j in $(seq "$n"); do
        [ "$i" = "$j" ] || verdict "$dir/$i.csv" "$dir/$j.csv" "run $i against $j"
    done
done
echo "one run against one: $alarms of $total comparisons raised an alarm"

alarms=0 total=0 half=$((n / 2))
for shift in $(seq 0 $((n - 1))); do # each window of runs against the rest of as many
    a='' b=''
    for k in $(seq 0 $((2 * half - 1))); do
        run=$(((k + shift) % n + 1))
        if [ $((k % 2)) = 0 ]; then a="$a $run"; else b="$b $run"; fi
    done
    # shellcheck disable=SC2086
    { join "$dir/a" $a; join "$dir/b" $b; }
    verdict "$dir/a" "$dir/b" "runs$a against$b"
done
echo "$half runs against $half, in turns: $alarms of $total comparisons raised an alarm"

# How much ratios differ from run to run, and how much one run thinks they do.
/usr/bin/python3 - "$dir" "$n" <<'PY'
import csv, math, statistics, sys
runs = {}
for k in range(int(sys.argv[2])):
    with open(f"{sys.argv[1]}/{k + 1}.csv", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["ratio"] and row["ratio_ci_lo"]:
                lo, y, hi = (math.log(float(row[c])) for c in ("ratio_ci_lo", "ratio", "ratio_ci_hi"))
                runs.setdefault(row["pipeline"] + " batch " + row["batch"], []).append((y, (hi - lo) / 3.92))
print("arm: standard deviation of ratio from run to run, mean standard error by its interval")
quotients = []
for arm, values in runs.items():
    between = statistics.stdev(y for y, _ in values)
    within = math.sqrt(statistics.mean(e * e for _, e in values))
    quotients.append(between / within)
    print(f"{arm}: {100 * between:.2f} %, {100 * within:.2f} %")
print(f"median quotient: {statistics.median(quotients):.1f}")
PY
