#!/bin/sh
# SPDX-License-Identifier: MIT
# Makes a sysroot of Debian's arm64 packages for the preset `arm64`:
#     scripts/arm64_sysroot.sh [FOLDER]          default: build/sysroot-arm64
# The packages are the libraries that pare links to (the -dev lines of scripts/packages.txt) and what
# those depend on. apt resolves and downloads them with a state of its own inside FOLDER, and dpkg -x
# unpacks them there: the host's package database and list of architectures stay as they are, and no
# root is needed. A second call downloads nothing unless packages.txt has changed.
# The host's own apt sources are asked; where those hold no arm64 (Ubuntu), name a list that does:
#     ARM64_SOURCES=/path/to/arm64.list scripts/arm64_sysroot.sh
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
folder=${1:-$root/build/sysroot-arm64}
packages=$(sed -n '/^# tests/q; /-dev$/p' "$root/scripts/packages.txt")
[ -n "$packages" ] || {
    echo "arm64_sysroot: scripts/packages.txt names no -dev package before \"# tests\"" >&2
    exit 2
}
for tool in apt-get dpkg; do
    command -v "$tool" >/dev/null || {
        echo "arm64_sysroot: $tool not found; this needs Debian or a descendant of it" >&2
        exit 2
    }
done

mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
# The stamp is written last, so a call that was stopped half-way begins again.
wanted="2: libc6-dev $packages ${ARM64_SOURCES:-}" # the number: of what is done below
if [ -f "$folder/.packages" ] && [ "$(cat "$folder/.packages")" = "$wanted" ]; then
    echo "arm64_sysroot: $folder is complete"
    exit 0
fi

apt=$folder/.apt
mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial"
: >"$apt/state/status"
apt() { # apt COMMAND ARGUMENT...: apt-get for arm64 alone, on the state in $apt
    if [ -n "${ARM64_SOURCES:-}" ]; then
        set -- -o "Dir::Etc::sourcelist=$ARM64_SOURCES" -o Dir::Etc::sourceparts=- "$@"
    fi
    apt-get -q -o APT::Architecture=arm64 -o APT::Architectures=arm64 \
        -o "Dir::State=$apt/state" -o "Dir::State::status=$apt/state/status" \
        -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User="$(id -un)" \
        -o APT::Install-Recommends=false -o APT::Get::AllowUnauthenticated=false "$@"
}

echo "arm64_sysroot: reading the lists of arm64 packages"
apt update >"$apt/log" 2>&1 || {
    tail -n 5 "$apt/log" >&2
    echo "arm64_sysroot: apt-get update failed; all of it is in $apt/log" >&2
    exit 2
}
echo "arm64_sysroot: downloading" $packages "and what they depend on"
# shellcheck disable=SC2086 # one word per package
apt install -y --download-only libc6-dev $packages >>"$apt/log" 2>&1 || {
    tail -n 8 "$apt/log" >&2
    echo "arm64_sysroot: apt-get could not resolve or download them; all of it is in $apt/log." \
        "If the host's sources have no arm64, set ARM64_SOURCES (see the top of this script)" >&2
    exit 2
}

n=0
info=$folder/var/lib/dpkg/info
mkdir -p "$info"
for deb in "$apt"/cache/archives/*.deb; do
    dpkg -x "$deb" "$folder"
    # Which package provides a library: what a Debian package made by the cross build depends on.
    shlibs=$info/$(basename "$deb" .deb).shlibs
    dpkg-deb -I "$deb" shlibs >"$shlibs" 2>/dev/null || rm "$shlibs"
    n=$((n + 1))
done
# Links to absolute paths would lead out of the sysroot, into the host.
find "$folder/lib" "$folder/usr/lib" -type l -lname '/*' | while read -r link; do
    target=$folder$(readlink "$link")
    [ ! -e "$target" ] || ln -sfn "$(realpath --relative-to="$(dirname "$link")" "$target")" "$link"
done
printf '%s' "$wanted" >"$folder/.packages"
echo "arm64_sysroot: $n packages unpacked in $folder ($(du -sh "$folder" | cut -f1))"
