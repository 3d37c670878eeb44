# The commands that the READMEs show are run, in order, in a folder that looks like the source tree.
# A line with "..." in it is for the eye. The two scripts are tests of their own.
set -eu
for name in CMakeLists.txt harness plugins scripts datasets tests; do
    ln -s "$PARE_HOME/$name" "$name"
done
mkdir -p build/release results/runs
ln -s "$PARE" build/release/pare

# The first Lua block of README.md is the reader's first script, saved as it tells.
awk '/^```lua/ { on = 1; next } /^```/ { if (on) exit } on' "$PARE_HOME/README.md" >bits.lua

commands() { awk '/^```sh/ { on = 1; next } /^```/ { on = 0 } on' "$1"; }

n=0
for file in README.md plugins/README.md harness/src/script/README.md; do
    commands "$PARE_HOME/$file" >block.sh
    while IFS= read -r line; do
        case "$line" in
            "" | "#"* | *...* | scripts/*) continue ;;
            *"data fetch"*) continue ;; # needs a network
            *lenet5-mnist*) [ -n "${PARE_DATASETS:-}" ] || continue ;;
        esac
        # merge is shown with two files of the reader's
        case "$line" in *" merge a.csv b.csv"*) cp results/runs/bits.csv a.csv; cp a.csv b.csv ;; esac
        echo "\$ $line"
        PARE_HOME=$PARE_HOME bash -c "$line" >out 2>&1 || {
            cat out
            echo "FAILED in $file: $line"
            exit 1
        }
        n=$((n + 1))
    done <block.sh
done
echo "$n commands ran"
[ "$n" -ge 10 ]
