# What can be seen from outside: of each plugin its entry and nothing else; of `pare` itself nothing, so that a plugin
# cannot come to depend on what is not in the headers.
set -eu
command -v nm >/dev/null || {
    echo "SKIPPED: no nm"
    exit 77
}
n=0
for plugin in "$BUILD"/plugins/*.so "$BUILD"/tests/abi/plugins/*.so; do
    symbols=$(nm -D --defined-only "$plugin" | awk '{ print $3 }')
    [ "$symbols" = pare_plugin_entry ] || {
        echo "FAILED: $plugin exports" $symbols
        exit 1
    }
    n=$((n + 1))
done
# Copies of libc's variables have a version behind an @.
symbols=$(nm -D --defined-only "$PARE" | awk '$3 !~ /@/ { print $3 }')
[ -z "$symbols" ] || {
    echo "FAILED: pare exports" $symbols
    exit 1
}
# The symbols of pare that plugins import: none. All they use of the host is in its table.
for plugin in "$BUILD"/plugins/*.so; do
    if nm -D --undefined-only "$plugin" | grep -E ' (pare|registry|model|host|graph|tensor)_'; then
        echo "FAILED: $plugin imports these"
        exit 1
    fi
done
echo "$n plugins export their entry alone"
[ "$n" -ge 20 ]
