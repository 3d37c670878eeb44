# The examples of scripts/cluster: a Slurm job array on two nodes, both of them on this machine, and GNU parallel.
# Each is skipped where it is not installed (scripts/install.sh all).
set -eu
here=$PARE_HOME/tests/integration
cp "$here/small.lua" sweep.lua
mkdir bin
ln -s "$PARE" bin/pare
export PATH="$PWD/bin:$PATH"
pare run sweep.lua --set seeds=1 --profile quick --quiet --out whole.csv >/dev/null
equal() { /usr/bin/python3 "$here/columns.py" "$PARE_HOME/harness/src/record/columns.inc" whole.csv "$1"; }
n=0

if command -v parallel >/dev/null && parallel --version | grep -q GNU; then
    echo "== GNU parallel"
    parallel --will-cite --jobs 1 pare run sweep.lua --set seeds=1 --profile quick --quiet \
        --shard {}/3 --out parallel/part-{}.csv --resume ::: 1 2 3 >/dev/null
    pare merge parallel/part-*.csv -o parallel/all.csv
    equal parallel/all.csv
    n=$((n + 1))
else
    echo "SKIPPED: GNU parallel is not installed (scripts/install.sh all)"
fi

start_slurm() {
    host=$(hostname)
    port=$((20000 + $$ % 10000))
    mkdir state spool.n1 spool.n2
    export SLURM_CONF=$PWD/slurm.conf
    cat >slurm.conf <<END
ClusterName=loop
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
StateSaveLocation=$PWD/state
SlurmdSpoolDir=$PWD/spool.%n
SlurmctldPidFile=$PWD/slurmctld.pid
SlurmdPidFile=$PWD/slurmd.%n.pid
SlurmctldLogFile=$PWD/slurmctld.log
SlurmdLogFile=$PWD/slurmd.%n.log
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=1 State=UNKNOWN
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 2)) CPUs=1 State=UNKNOWN
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
END
    slurmctld -D >daemons.log 2>&1 &
    slurmd -D -N n1 >>daemons.log 2>&1 &
    slurmd -D -N n2 >>daemons.log 2>&1 &
    trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT
    for i in $(seq 1 100); do
        if [ "$(sinfo --noheader --Node --format=%T 2>/dev/null | grep -c '^idle')" -eq 2 ]; then return 0; fi
        sleep 0.2
    done
    tail -n 20 daemons.log
    return 1
}

export PATH="$PATH:/usr/sbin"
if command -v sbatch >/dev/null && command -v slurmctld >/dev/null && command -v slurmd >/dev/null; then
    echo "== Slurm, two nodes"
    start_slurm
    sinfo --Node
    # Part 2 is forgotten at first, and submitted alone.
    array() { sbatch --wait --array="$1" "$PARE_HOME/scripts/cluster/slurm_array.sh" 3 sweep.lua slurm --set seeds=1 --profile quick --quiet; }
    array 1,3
    array 1-3
    grep -h '^results: ' pare-*.log
    [ "$(ls slurm/part-*.csv | wc -l)" -eq 3 ]
    pare merge slurm/part-*.csv -o slurm/all.csv
    equal slurm/all.csv
    n=$((n + 1))
else
    echo "SKIPPED: Slurm is not installed (scripts/install.sh all)"
fi
[ "$n" -gt 0 ] || exit 77
