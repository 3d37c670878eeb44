#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Writes plugins/ABI.md, the reference of the plugin ABI, from the public headers.

    scripts/abi_reference.py            writes it
    scripts/abi_reference.py --check    says whether it is what the headers say now (a test)

Each struct's members stand with their comments: one that begins on a line of its own describes the members up
to the next blank line or comment, one behind a member describes that member. Every function must have a
thread mark ([main], [any] or [hot]): of its own, of its group or of its struct.
"""
import os
import re
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
INCLUDE = os.path.join(TOP, "harness/include")
HEADERS = ["plugin.h", "param.h", "tensor.h", "graph.h", "method.h", "ext/calibrate.h", "ext/gradients.h",
           "ext/norm.h", "ext/train.h", "backend.h", "ext/observe.h", "ext/profile.h",
           "ext/topology.h", "ext/tensors.h"]
MARK = re.compile(r"\[(main|any|hot)\]")


def prose(comment):
    """The text of a comment, its lines joined; indented lines stay code."""
    lines = [re.sub(r"^\s*\*? ?", "", line) if k else line for k, line in enumerate(comment[2:-2].split("\n"))]
    return " ".join(line.strip() for line in lines if line.strip()).strip()


def tokens(body):
    """(kind, text, line starts it, blank line before it) of comments and declarations."""
    at = 0
    while at < len(body):
        space = re.match(r"\s*", body[at:]).group()
        at += len(space)
        if at >= len(body):
            return
        fresh = "\n" in space or at == len(space)
        blank = space.count("\n") > 1
        if body.startswith("#", at):
            end = body.find("\n", at)
            at = end if end > 0 else len(body)
            continue
        if body.startswith("/*", at):
            end = body.index("*/", at) + 2
            yield "comment", body[at:end], fresh, blank
        else:
            end, depth = at, 0
            while depth or body[end] != ";":
                if body.startswith("/*", end):
                    stop = body.index("*/", end) + 2
                    yield "comment", body[end:stop], False, False
                    body = body[:end] + body[stop:]
                    continue
                depth += (body[end] in "({") - (body[end] in ")}")
                end += 1
            end += 1
            yield "member", re.sub(r"\n#.*", "", body[at:end]), fresh, blank
        at = end


def members(body):
    """Groups of [declarations], text."""
    groups = []
    pending, open_group = None, None
    for kind, text, fresh, blank in tokens(body):
        if kind == "comment" and (fresh or not groups):
            pending, open_group = prose(text), None
        elif kind == "comment":
            # Data behind which a comment stands is not what the group's own comment is about.
            if len(groups[-1][0]) > 1 and not is_function(groups[-1][0][-1]):
                groups.append([[groups[-1][0].pop()], ""])
            shared = len(groups[-1][0]) > 1
            name = re.findall(r"\(\*(\w+)\)|(\w+)[^\w]*;", groups[-1][0][-1])[0]
            groups[-1][1] = f"{groups[-1][1]} {'`' + (name[0] or name[1]) + '`: ' if shared else ''}{prose(text)}".strip()
            open_group = None
        else:
            declaration = re.sub(r"\s+", " ", re.sub(r"__attribute__\(\(.*\)\)", "", text)).strip().replace(" ;", ";")
            if pending is None and open_group is not None and not blank:
                open_group[0].append(declaration)
            else:
                groups.append([[declaration], pending or ""])
                open_group = groups[-1] if pending else None
            pending = None
    return groups


def structs(text):
    """(name, comment before it, body) of each struct, in order."""
    pattern = re.compile(r"(?:(/\*(?:(?!\*/).)*\*/)\n)?(?:typedef )?struct (\w+) \{\n(.*?)\n\}", re.S)
    for match in pattern.finditer(text):
        yield match.start(2), match.group(2), match.group(1), match.group(3)


def enums(text):
    """(where it begins, name, comment before it, lines) of each enum: a line is a member and its comment."""
    pattern = re.compile(r"(/\*(?:(?!\*/).)*\*/)?\n?typedef enum (\w+) \{\n(.*?)\n\}", re.S)
    member = re.compile(r"(\w+)\s*=\s*([^,/\s][^,/]*?)\s*(?:,|(?=/\*)|$)\s*(/\*.*?\*/)?", re.S)
    for match in pattern.finditer(text):
        lines = []
        for name, value, comment in member.findall(match.group(3)):
            lines.append(f"- `{name}` = {value}" + (f": {prose(comment)}" if comment else ""))
        yield match.start(2), match.group(2), match.group(1), lines


def others(text):
    """(declaration, text) of macros, types of functions, and functions."""
    comment = r"(/\*(?s:(?:(?!\*/).)*)\*/)?\n?"
    for match in re.finditer(comment + r"#define (PARE_\w+)(\([^)]*\))? ((?:.*\\\n)*.*)", text):
        doc, name, arguments, value = match.groups()
        value, *behind = re.split(r"(?=/\*)", re.sub(r"\\\n\s*|\s+", " ", value).strip(), maxsplit=1)
        doc = doc or (behind[0] if behind else "")
        if name.endswith("_H") or "__declspec" in value or "__attribute__" in value:
            continue
        shown = f"{name}{arguments or ''}" + (f" {value.strip()}" if len(value) < 80 else "")
        yield f"`#define {shown}`", prose(doc) if doc else ""
    for match in re.finditer(comment + r"(typedef (?!struct|enum)[^;{]*\(\*\w+\)[^;]*;|PARE_EXPORT [^;{]*;)", text):
        doc, declaration = match.groups()
        yield f"`{' '.join(declaration.split())}`", prose(doc) if doc else ""


def is_function(declaration):
    return "(*" in declaration


def head(name, comment):
    return [f"### `{name}`", ""] + ([prose(comment), ""] if comment else [])


def struct(where, comment, body, unmarked):
    """The lines of its members; functions without a thread mark are added to `unmarked`."""
    out = []
    for declarations, doc in members(body):
        if any(map(is_function, declarations)) and not MARK.search(doc + (comment or "")):
            unmarked += [f"{where}: {d}" for d in declarations if is_function(d)]
        last = len(declarations) - 1
        out += [f"- `{d}`  " if k < last or doc else f"- `{d}`" for k, d in enumerate(declarations)]
        if doc:
            out.append(f"  {doc}")
    return out


def reference():
    out = ["<!-- Written by scripts/abi_reference.py from the headers; a test compares. Change the headers. -->",
           "# The plugin ABI, call by call", "",
           "What holds for all of it (memory, failures, versions, threads) stands in [README.md](README.md), \"The ABI in",
           "words\". `[main]`: on one thread at a time per instance; `[any]`: from any thread; `[hot]`: no allocation, lock, log",
           "or I/O. Functions return a `pare_status`: 0, or a negative one after `host->fail`.", ""]
    with open(os.path.join(INCLUDE, "pare/status.inc"), encoding="utf-8") as file:
        statuses = re.findall(r'PARE_STATUS\((\w+), (-?\d+), "(.*)"\)', file.read())
    out += ["## Statuses", "", "| name | value | meaning |", "|---|---|---|"]
    out += [f"| `PARE_{name}` | {value} | {text} |" for name, value, text in statuses] + [""]
    unmarked = []
    for header in HEADERS:
        with open(os.path.join(INCLUDE, "pare", header), encoding="utf-8") as file:
            text = file.read()
        out += [f"## `<pare/{header}>`", ""]
        top = re.findall(r"/\*.*?\*/", text, re.S)[1]
        out += [prose(top), ""]
        for what, doc in others(text):
            out += [f"- {what}  ", f"  {doc}"] if doc else [f"- {what}"]
        out += [""] if out[-1] else []
        parts = [(at, head(name, comment) + lines) for at, name, comment, lines in enums(text)]
        parts += [(at, head(name, comment) + struct(f"{header}: {name}", comment, body, unmarked))
                  for at, name, comment, body in structs(text)]
        for _, lines in sorted(parts):
            out += lines + [""]
    if unmarked:
        sys.exit("no thread mark ([main], [any], [hot]):\n  " + "\n  ".join(unmarked))
    return "\n".join(out).rstrip() + "\n"


def main():
    path = os.path.join(TOP, "plugins/ABI.md")
    text = reference()
    if sys.argv[1:] == ["--check"]:
        with open(path, encoding="utf-8") as file:
            if file.read() != text:
                sys.exit("plugins/ABI.md is not what the headers say: run scripts/abi_reference.py")
        return
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


main()
