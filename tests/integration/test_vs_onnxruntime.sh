# What scripts/bench/vs_onnxruntime.sh refuses, before it installs or builds anything: one line, status 2.
set -eu
script=$PARE_HOME/scripts/bench/vs_onnxruntime.sh
export PARE_SCRATCH="$PWD/scratch"
refuses() { # refuses WORDS ARGUMENT...
    words=$1
    shift
    status=0
    "$script" "$@" >out 2>err || status=$?
    if [ $status -ne 2 ] || [ -s out ] || [ "$(wc -l <err)" -ne 1 ] || ! grep -qF -- "$words" err; then
        echo "vs_onnxruntime.sh $*: status $status, wanted 2 and one line with: $words"
        cat out err
        exit 1
    fi
}

# A PATH with what the script itself needs, and no node.
mkdir -p tools models
for tool in sh dirname; do
    ln -sf "$(command -v $tool)" tools/
done
status=0
PATH=$PWD/tools sh "$script" --models models >out 2>err || status=$?
[ $status -eq 2 ]
grep -q "node not found; run: apt-get install nodejs npm" err && [ "$(wc -l <err)" -eq 1 ]

command -v node >/dev/null && command -v npm >/dev/null || {
    echo "skipped: node or npm is not installed"
    exit 77
}
refuses "--models is missing"
refuses "--models needs a value" --models
refuses "cannot read the folder" --models "$PWD/nowhere"
refuses "holds 0 files resnet20*fp32*.onnx, wanted 1" --models models
touch models/lenet5-a-int8.onnx models/lenet5-b-int8.onnx
refuses "holds 2 files lenet5*int8*.onnx, wanted 1" --models models --network lenet5 --precision int8
refuses '--batch is 65, wanted 1..64' --models models --batch 65
refuses '--threads is 1.5' --models models --threads 1.5
refuses '--precision is "int4", wanted fp32 or int8' --models models --precision int4
refuses '--format is "json"' --models models --format json
refuses 'models is not known' models
refuses '--speed is not known' --speed 9
if [ -e scratch ]; then
    echo "vs_onnxruntime.sh installed something"
    exit 1
fi
