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
    echo "SKIPPED: the Debian package, for want of dpkg-shlibdeps"
    exit 0
}
needs=$(dpkg-deb -f "$package" Depends)
for library in libc6 liblua5.4-0 libhwloc15 libcsv3 libjansson4; do
    case ", $needs" in
    *", $library "*) ;;
    *)
        echo "FAILED: $package does not depend on $library: $needs"
        exit 1
        ;;
    esac
done
[ "$(dpkg-deb -f "$package" Architecture)" = "$(dpkg --print-architecture)" ]
dpkg-deb -x "$package" root
cmp root/usr/share/man/man1/pare.1 packages/_CPack_Packages/Linux/TGZ/pare-*/share/man/man1/pare.1
# Everybody may read it, nobody but its owner write.
[ -z "$(find root -perm /022 -not -type l)" ]
[ -z "$(find root -not -perm -444)" ]
echo "Depends: $needs"
