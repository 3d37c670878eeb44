"""fill_root.py CACHE ROOT PACKAGE...: puts the shared objects of Debian packages, and of all that these depend on, into
the folder ROOT, from the .deb files in CACHE; and nothing else. What a package could do besides holding libraries
(programs, settings, what runs when it is installed) is not there."""

import io
import pathlib
import re
import subprocess
import sys
import tarfile


# In the folders where the loader looks; what lies below them is loaded on demand by a few libraries.
OBJECT = re.compile(r"\./(usr/)?lib/([^/]+-linux-gnu/)?[^/]+\.so(\.[^/]*)?")


def fields(deb):
    text = subprocess.run(["dpkg-deb", "-f", deb], check=True, capture_output=True, text=True).stdout
    return dict(re.findall(r"^(\S+): (.*)$", text, re.M))


def alternatives(text):
    """'a (>= 1) | b, c' as [['a', 'b'], ['c']]"""
    return [[re.match(r"[a-z0-9+.-]+", name.strip())[0] for name in group.split("|")]
            for group in text.split(",") if group.strip()]


def closure(cache, wanted):
    debs = {}
    provided = {}
    for deb in sorted(pathlib.Path(cache).glob("*.deb")):
        about = fields(deb)
        name = about["Package"]
        debs[name] = (deb, alternatives(about.get("Depends", "") + "," + about.get("Pre-Depends", "")))
        for [other] in alternatives(about.get("Provides", "")):
            provided[other] = name
    chosen = {}
    todo = [[name] for name in wanted]
    while todo:
        group = todo.pop()
        names = [provided.get(n, n) if n not in debs else n for n in group]
        if any(n in chosen for n in names):
            continue
        found = [n for n in names if n in debs]
        # Scripts of packages want these; libraries do not.
        if not found and not group[0].startswith("lib"):
            continue
        if not found:
            sys.exit(f"fill_root.py: no package {' or '.join(group)} in {cache}")
        chosen[found[0]], more = debs[found[0]]
        todo += more
    return chosen


def main():
    cache, root, *wanted = sys.argv[1:]
    chosen = closure(cache, wanted)
    for deb in chosen.values():
        files = subprocess.run(["dpkg-deb", "--fsys-tarfile", deb], check=True, capture_output=True).stdout
        with tarfile.open(fileobj=io.BytesIO(files)) as tar:
            objects = [m for m in tar if OBJECT.fullmatch(m.name)]
            tar.extractall(root, objects)
    print(" ".join(sorted(chosen)))


main()
