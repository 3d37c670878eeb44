# checkpoint_accuracy.sh NAME DATASET MINIMUM: a committed checkpoint is as good as
# datasets/README.md says, on the whole test split: what it must reach, and, if pare run made it, the
# figure in its notes (another backend may round a borderline image otherwise).
set -eu
case $2 in
glyphs) ;;
*)
    "$PARE" data list --format csv | grep "^$2," | grep -q "/$2" || {
        echo "SKIPPED: $2 is not in PARE_DATASETS"
        exit 77
    }
    ;;
esac
top1=$("$PARE" model eval "$1" --dataset "$2" --format csv |
    /usr/bin/python3 -c 'import csv, sys; print(next(csv.DictReader(sys.stdin))["top1"])')
note=$("$PARE" model info "$1" | awk '$1 == "top1" { print $2 }')
[ -n "$note" ] || note=$top1
echo "$1: $top1, noted $note, wanted at least $3"
awk -v t="$top1" -v n="$note" -v m="$3" 'BEGIN { d = t - n; exit !(t >= m && d * d <= 0.0002 * 0.0002) }'
