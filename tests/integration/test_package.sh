# What `cpack` makes: the archive runs from an empty folder, without the tree it was built in; the Debian package says
# what it needs.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cpack --config "$BUILD/CPackConfig.cmake" -B "$PWD/packages" >cpack.log || {
    cat cpack.log
    exit 1
}
bash "$here/try_package.sh" packages/pare-*.tar.gz
package=$(ls packages/pare-*.deb 2>/dev/null) || {
    echo "SKIPPED: the Debian package, as this machine has no packages of Debian's"
    exit 0
}
fail() {
    echo "FAILED: $*"
    exit 1
}
names() { # names FIELD: the packages in it, each on a line
    dpkg-deb -f "$package" "$1" | tr ',' '\n' | sed 's/^ *\([^ ]*\).*/\1/' | sort
}
# It depends on what README.md names; comparators' libraries are a suggestion.
named=$(sed -n 's/^apt-get install \(libc6 .*\)/\1/p' "$PARE_HOME/README.md" | tr ' ' '\n' | sort)
[ "$(names Depends)" = "$named" ] || fail "$package depends on $(names Depends); README.md names $named"
for pair in onednn:libdnnl2 xnnpack:libxnnpack0; do
    [ ! -e "$BUILD/plugins/${pair%:*}.so" ] || names Suggests | grep -qx "${pair#*:}" || fail "does not suggest ${pair#*:}"
done
# The tool that Debian has for it finds the same packages.
if command -v dpkg-shlibdeps >/dev/null; then
    mkdir -p shlibdeps/debian
    touch shlibdeps/debian/control
    dpkg-deb -x "$package" shlibdeps
    rm -f shlibdeps/usr/lib/pare/plugins/onednn.so shlibdeps/usr/lib/pare/plugins/xnnpack.so
    theirs=$(cd shlibdeps && dpkg-shlibdeps --ignore-missing-info -O usr/bin/pare usr/lib/pare/plugins/*.so 2>/dev/null |
        sed 's/^shlibs:Depends=//' | tr ',' '\n' | sed 's/^ *\([^ ]*\).*/\1/' | sort)
    [ "$theirs" = "$named" ] || fail "dpkg-shlibdeps says $theirs"
fi
[ "$(dpkg-deb -f "$package" Architecture)" = "$(dpkg --print-architecture)" ] || fail "architecture"
dpkg-deb -x "$package" root
cmp root/usr/share/man/man1/pare.1 packages/_CPack_Packages/Linux/TGZ/pare-*/share/man/man1/pare.1
# Everybody may read it, nobody but its owner write.
[ -z "$(find root -perm /022 -not -type l)" ]
[ -z "$(find root -not -perm -444)" ]
echo "Depends:" $(names Depends)
echo "Suggests:" $(names Suggests)

# A comparator whose library is not installed: listed with the reason, an error for who asks for it, silence for others.
pare=root/usr/bin/pare
unset PARE_HOME PARE_PLUGIN_PATH
echo 'int none(void) { return 0; }' >none.c
echo 'int none(void); int uses(void) { return none(); }' >lacking.c
cc -shared -fPIC none.c -Wl,-soname,libnone.so.7 -o libnone.so
cc -shared -fPIC lacking.c -L. -lnone -o root/usr/lib/pare/plugins/lacking.so
$pare list backends --format csv >list 2>err
grep -q '^lacking,,,0,,"needs libnone.so.7, which is not installed",/' list || fail "$(cat list)"
grep -q '^ref,' list || fail "$(cat list)"
$pare env --format csv 2>>err | grep -q '^backends,lacking,no,"needs libnone.so.7' || fail "env"
[ ! -s err ] || fail "$(cat err)"
for command in "describe lacking" "bench --model lenet5-glyphs --backend lacking"; do
    status=0
    $pare $command >out 2>err || status=$?
    [ $status -eq 2 ] && grep -q ': backend lacking: needs libnone.so.7, which is not installed$' err ||
        fail "$command: exit status $status: $(cat err)"
done
# In a folder of the user's it is warned of.
mkdir -m 755 mine
mv root/usr/lib/pare/plugins/lacking.so mine
PARE_PLUGIN_PATH=mine $pare list methods >out 2>err
grep -q 'warning: plugin mine/lacking.so: needs libnone.so.7, which is not installed' err || fail "$(cat err)"
