# Each public header compiles alone, as C11 and as C++ 11, with GCC and Clang; and twice in one file.
set -eu
include="$PARE_HOME/harness/include"
n=0
for compiler in gcc clang g++ clang++; do
    command -v "$compiler" >/dev/null || continue
    case $compiler in
    *++) language=c++ standard=c++11 ;;
    *) language=c standard=c11 ;;
    esac
    for header in $(cd "$include" && find pare -name '*.h'); do
        printf '#include <%s>\n#include <%s>\n' "$header" "$header" >one
        "$compiler" -x "$language" -std=$standard -fsyntax-only -Wall -Wextra -Wpedantic -Werror \
            -I "$include" one || {
            echo "FAILED: $header is not self-contained for $compiler"
            exit 1
        }
        n=$((n + 1))
    done
done
[ "$n" -ge 20 ] || {
    echo "FAILED: only $n compilations"
    exit 1
}
echo "$n compilations"
