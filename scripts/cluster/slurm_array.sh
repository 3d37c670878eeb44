#!/bin/sh
# One experiment on many machines, as a Slurm job array: task I does part I of N.
#   sbatch --array=1-N scripts/cluster/slurm_array.sh N SCRIPT.lua FOLDER [FLAG OF pare run...]
# Rows go to FOLDER/part-I.csv. Submitting it again, also --array=3 alone with the same N, does what is missing.
#SBATCH --job-name=pare
#SBATCH --output=pare-%A-%a.log
# A measurement wants its node for itself; leave this out for rows whose times do not matter.
#SBATCH --exclusive
set -eu
[ $# -ge 3 ] || { echo "usage: sbatch --array=1-N $0 N SCRIPT.lua FOLDER [FLAG...]" >&2; exit 2; }
n=$1
script=$2
folder=$3
shift 3
# N is an argument because Slurm's own count of tasks changes when only some of them are submitted again.
exec "${PARE:-pare}" run "$script" --shard "$SLURM_ARRAY_TASK_ID/$n" \
    --out "$folder/part-$SLURM_ARRAY_TASK_ID.csv" --resume "$@"
