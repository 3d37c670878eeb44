# The committed checkpoints are as good as datasets/README.md says, on the whole test split: what they
# must reach, and the figure in their notes (another backend may round a borderline image otherwise).
set -eu
check() { # check NAME DATASET MINIMUM
    top1=$("$PARE" model eval "$1" --dataset "$2" --format csv |
        /usr/bin/python3 -c 'import csv, sys; print(next(csv.DictReader(sys.stdin))["top1"])')
    note=$("$PARE" model info "$1" | awk '$1 == "top1" { print $2 }')
    echo "$1: $top1, noted $note, wanted at least $3"
    awk -v t="$top1" -v n="$note" -v m="$3" 'BEGIN { d = t - n; exit !(t >= m && d * d <= 0.0002 * 0.0002) }'
}
check lenet5-glyphs glyphs 0.99
"$PARE" data list --format csv | grep '^mnist,' | grep -q '/mnist' || {
    echo "SKIPPED: MNIST is not in PARE_DATASETS; only glyphs was tested"
    exit 77
}
check lenet300-mnist mnist 0.982
check lenet5-mnist mnist 0.992
check resnet20-mnist mnist 0.995
