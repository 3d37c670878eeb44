#!/bin/sh
# Installs the Debian packages that are missing: scripts/install.sh run|test|all
# Reads scripts/packages.txt: the first part for building and running, below "# tests" for the tests, below
# "# large" for tests that are skipped without them.
# Without the right to install, prints the one line to run, and fails.
set -eu
cd "$(dirname "$0")/.."
mkdir -p build

group=${1:-run}
case $group in run | test | all) ;; *) echo "install.sh: got $group, wanted run, test or all" >&2; exit 2 ;; esac
wanted=$(awk -v group="$group" '/^# tests/ && group == "run" { exit } /^# large/ && group != "all" { exit }
    /^[^#]/ { print $1 }' scripts/packages.txt)
missing=
for package in $wanted; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

line="apt-get update && apt-get install -y --no-install-recommends$missing"
if [ "$(id -u)" -eq 0 ]; then
    sudo=
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    sudo=sudo
else
    echo "Packages are missing, and installing them needs root. Run this, then start again:" >&2
    echo "    sudo sh -c '$line'" >&2
    exit 2
fi
echo "Installing:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
{ $sudo apt-get update && $sudo apt-get install -y --no-install-recommends $missing; } \
    >build/install.log 2>&1 || {
    tail -n 20 build/install.log >&2
    echo "Installing failed; the line was: $line" >&2
    exit 1
}
