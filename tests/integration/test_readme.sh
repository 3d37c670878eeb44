# The commands that the READMEs show are run, file by file, in a folder that looks like the source tree.
# Left out: lines with "..." in them (for the eye), the two scripts (other tests run what they run), and
# what needs a network.
set -eu
for name in CMakeLists.txt harness plugins scripts datasets tests; do
    ln -s "$PARE_HOME/$name" "$name"
done
mkdir -p build/release results/runs
ln -s "$PARE" build/release/pare
ln -s "$BUILD/plugins" build/release/plugins

# block LANGUAGE FILE: the fenced blocks of that language, without their indentation.
block() {
    awk -v fence="^ *\`\`\`$1" '
        $0 ~ fence { on = 1; match($0, /^ */); indent = RLENGTH; next }
        /^ *```/ { on = 0 }
        on { print substr($0, indent + 1) }' "$2"
}

# Scripts that the text tells to save.
block lua "$PARE_HOME/README.md" >bits.lua
block lua "$PARE_HOME/plugins/README.md" >mine.lua
mkdir my-plugins
block 'c$' "$PARE_HOME/plugins/README.md" >my-plugins/shift.c

n=0
for file in README.md datasets/README.md plugins/README.md harness/src/script/README.md; do
    block sh "$PARE_HOME/$file" | grep -vE '^#|^$|\.\.\.|^scripts/|data fetch' >commands || true
    [ -n "${PARE_DATASETS:-}" ] || sed -i '/-mnist/d' commands
    # What is shown is how to say it; how precise the times are is not tested here.
    sed -i '/--profile/!s/pare run /&--profile quick /' commands
    # merge is shown with two files of the reader's
    sed -i 's#^.*merge a.csv b.csv.*#cp results/runs/bits.csv a.csv; cp a.csv b.csv; &#' commands
    # rows of the quickstart, which is left out above
    sed -i 's#results/runs/quickstart.csv#'"$PARE_HOME"'/results/baselines/ptq_mnist.csv#' commands
    sed -i 's#^for i in 1 2 3#for i in 1#' commands # repeats take time and show nothing here
    # nothing changed between the two, but one in 20 such comparisons may find something
    sed -i 's#^.*pare compare .*--gate.*#{ & || [ $? -eq 1 ]; }#' commands
    echo "== $file"
    bash -e -o pipefail -x commands >out 2>&1 || {
        tail -n 30 out
        echo "FAILED in $file"
        exit 1
    }
    n=$((n + $(wc -l <commands)))
done
echo "$n commands ran"
[ "$n" -ge 15 ]
