"""links.py FOLDER...: what the Markdown files in a folder link to is there."""

import pathlib
import re
import sys

missing = []
n = 0
for top in map(pathlib.Path, sys.argv[1:]):
    for page in sorted(top.rglob("*.md")):
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if re.match(r"[a-z]+:", link):
                continue
            n += 1
            if not (page.parent / link).exists():
                missing.append(f"{page}: {link}")
print(f"{n} links")
sys.exit("\n".join(missing) if missing else n == 0)
