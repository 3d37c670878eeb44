# SPDX-License-Identifier: MIT
"""pare compare as a CI job uses it: exit statuses, JUnit XML, Markdown, and files of every bad kind."""
import csv
import io
import json
import os
import random
import resource
import shutil
import subprocess
import tempfile
import xml.etree.ElementTree as ElementTree

from pare_process import PARE, SOURCE, Failures, pare
import records

failures = Failures()
check = failures.check


def compare(*args, **where):
    return pare("compare", "base.csv", "new.csv", *args, **where)


def verdicts(*args):
    status, out, err = compare("--format", "csv", *args)
    check(status in (0, 1), f"exit status {status}: {err}")
    return {row["arm_id"]: row for row in csv.DictReader(io.StringIO(out))}


def exit_statuses():
    base = [records.row(k) for k in range(6)]
    records.write("base.csv", base)
    records.write("new.csv", base)
    status, out, err = compare("--gate")
    check(status == 0 and "6 same" in out, f"unchanged: {status} {out}{err}")
    check("hold rows of one run" in err, f"unchanged: {err}")

    slower = {"ratio": "0.33", "ratio_ci_lo": "0.3299", "ratio_ci_hi": "0.3301", "run_id": "other"}
    records.write("new.csv", base[:5] + [records.row(5, **slower)])
    status, out, err = compare("--gate")
    check(status == 1 and "1 regressed" in out and "gate: 1 of 6 arms" in err, f"gate: {status} {out}{err}")
    check(" regressed " in out.splitlines()[2], f"the worst does not come first: {out}")
    check("+10.0 %" in out, f"{out}")
    status, out, err = compare()
    check(status == 0, f"without a gate: {status} {err}")
    status, out, err = compare("--gate", "--threshold", "12")
    check(status == 0 and "6 same" in out, f"threshold: {status} {out}{err}")
    row = json.loads(compare("--format", "json")[1])[5]
    check(row["verdict"] == "regressed" and row["latency_verdict"] == "regressed"
          and abs(row["latency_change"] - 0.1) < 1e-6 and row["top1_verdict"] == "same", f"json: {row}")

    check("lenet5-mnist: " not in out, f"one model is named: {out}")
    two = [dict(row, model=("a", "b")[k % 2]) for k, row in enumerate(base)]
    records.write("new.csv", two)
    status, out, err = pare("compare", "new.csv", "new.csv")
    check("a: ptq(bits=8)" in out and "b: ptq(bits=8)" in out, f"two models are not named: {out}")

    records.write("new.csv", base[:5])
    status, out, err = compare("--gate")
    check(status == 1 and "not in NEW" in out, f"a missing arm: {status} {out}{err}")
    for flag, value in [("--threshold", "0"), ("--threshold", "x"), ("--threshold", "nan"), ("--threshold", "1e9"),
                        ("--threshold-top1", "-1")]:
        status, out, err = compare(flag, value)
        check(status == 2 and flag in err and value in err, f"{flag} {value}: {status} {err}")
    check(pare("compare", "base.csv")[0] == 2, "one file")


def columns_may_move():
    base = [records.row(k) for k in range(8)]
    records.write("base.csv", base)
    names = records.columns() + ["note", "of mine"]
    random.Random(1).shuffle(names)
    changed = [records.row(k, note='a "quoted", cell\nof two lines', run_id="other") for k in range(8)]
    random.Random(2).shuffle(changed)
    records.write("new.csv", changed, names, quoting=csv.QUOTE_ALL)
    rows = verdicts()
    check([row["verdict"] for row in rows.values()] == ["same"] * 8, f"moved columns: {rows}")
    check(list(rows) == [row["arm_id"] for row in base], "not in the order of BASE")


HOSTILE = 'x]]>&lt;<script>alert(1)</script> "q" \'a\' | @team `code` \x01 \u20ac \ud800'.replace("\ud800", "")


def junit_and_markdown():
    base = [records.row(k, pipeline=HOSTILE) for k in range(5)]
    base[4]["status"] = "unsupported"
    new = [records.row(0, pipeline=HOSTILE, host="board"),
           records.row(1, ratio="0.33", ratio_ci_lo="0.3299", ratio_ci_hi="0.3301"),
           records.row(2, ratio="0.31", ratio_ci_lo="0.28", ratio_ci_hi="0.34"),
           records.row(3, status="failed", error=HOSTILE),
           records.row(4, status="failed", error="no")]
    records.write("base.csv", base)
    records.write("new.csv", new)
    with open("base.csv", "ab") as file:  # bytes that are not UTF-8
        file.write(open("base.csv", "rb").read().splitlines()[1].replace(b"0000000000000000", b"\xff\xfe\xc0\x80"))
        file.write(b"\n")
    status, out, err = compare("--gate", "--junit", "ci/pare.xml", "--markdown", "pare.md")
    check(status == 2 and "ci/pare.xml" in err, f"a folder that is not there: {status} {err}")
    status, out, err = compare("--gate", "--junit", "pare.xml", "--markdown", "pare.md")
    check(status == 1, f"exit status {status}: {err}")
    suite = ElementTree.parse("pare.xml").getroot().find("testsuite")
    kinds = [[child.tag for child in case] for case in suite.findall("testcase")]
    check(kinds == [[], ["failure"], ["skipped"], ["error"], ["skipped"], ["error"]], f"junit: {kinds}")
    check([suite.get(name) for name in ("tests", "failures", "errors", "skipped", "hostname", "timestamp")]
          == ["6", "1", "2", "2", "board", "2026-01-02T03:04:05"], f"junit: {suite.attrib}")
    check("<script>alert(1)</script>" in suite[1].get("name"), f"junit: {suite[1].get('name')}")
    if shutil.which("xmllint"):
        done = subprocess.run(["xmllint", "--noout", "--schema", f"{SOURCE}/tests/script/junit.xsd", "pare.xml"],
                              capture_output=True, text=True, check=False)
        check(done.returncode == 0, f"xmllint: {done.stderr}")
    else:
        print("SKIPPED: xmllint is not here, the schema was not checked")
    with open("pare.md", encoding="utf-8") as file:
        text = file.read()
    check("### pare compare: worse" in text and "1 regressed" in text, f"markdown: {text}")
    for bad in ["<script", "@team", "`code`", "\x01"]:
        check(bad not in text, f"markdown: {bad} in {text}")
    check(all(line.count("|") - line.count("\\|") == 9 for line in text.splitlines() if line.startswith("|")),
          f"markdown: a table is torn: {text}")


def bad_files():
    records.write("base.csv", [records.row(k) for k in range(3)])
    with open("base.csv", "rb") as file:
        good = file.read()
    header, first, *_ = good.split(b"\n")
    top1 = header.split(b",").index(b"top1")

    def with_cell(cell):
        cells = next(csv.reader([first.decode()]))
        cells[top1] = cell
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerow(cells)
        return header + b"\n" + out.getvalue().encode()

    bad = {
        "empty": (b"", ["no whole header"]),
        "header only": (header + b"\n", ["nothing to compare"]),
        "header without its end": (header, ["no whole header"]),
        "an image": (b"\x89PNG\r\n\x1a\n" + bytes(100), ["new.csv"]),
        "another schema": (good.replace(b"\n1,", b"\n7,"), ["line 2", "schema_version is '7'"]),
        "no schema": (good.replace(b"schema_version", b"version"), ["schema_version"]),
        "a column twice": (good.replace(b"top5", b"top1", 1), ["line 1", "'top1' twice"]),
        "no arm_id": (good.replace(b"arm_id", b"leg_id", 1), ["none with an arm_id"]),
        "a short row": (good + b"1,2,3\n", ["line 5", "3 cells"]),
        "a quote inside a cell": (good.replace(b"ptq", b'p"tq', 1), ["line 2", "quote"]),
        "a NUL": (good.replace(b"ptq", b"p\0q", 1), ["line 2", "NUL"]),
        "a figure that is none": (with_cell("many"), ["line 2", "top1 is 'many'"]),
        "a figure out of range": (with_cell("1.01"), ["line 2", "top1 is '1.01'", "0..1"]),
        "a figure of 1 MB": (with_cell("9" * (1 << 20)), ["line 2", "top1 is '9999"]),
        "other arms": (good.replace(b"0000000000000000,0000000000000000", b"a,b").replace(
            b"00000000000000", b"ffffffffffffff"), ["share no arm", "ptq"]),
    }
    for what, (data, words) in bad.items():
        with open("new.csv", "wb") as file:
            file.write(data)
        for args in (["base.csv", "new.csv"], ["new.csv", "base.csv"]):
            status, out, err = pare("compare", *args)
            check(status == 2 and out == "" and err.count("\n") == 1 and len(err) < 1200,
                  f"{what}: {status}: {err}{out}")
            check(all(word in err for word in words) and "new.csv" in err, f"{what}: {err}")

    fine = {
        "NaN": (with_cell("NaN"), "failed-to-measure"),
        "an empty cell": (with_cell(""), "failed-to-measure"),
        "1 MB of text": (good.replace(b"ptq", b"q" * (1 << 20), 1), "same"),
        "a byte order mark and DOS line ends": (b"\xef\xbb\xbf" + good.replace(b"\n", b"\r\n"), "same"),
        "a clock that jumps": (good.replace(b"2026-01-02", b"1970-01-01", 1), "same"),
        "a time that is none": (good.replace(b"2026-01-02", b"yesterday", 1), "same"),
    }
    for what, (data, verdict) in fine.items():
        with open("new.csv", "wb") as file:
            file.write(data)
        rows = list(verdicts().values())
        check(rows[0]["verdict"] == verdict, f"{what}: {rows[0]}")

    with open("new.csv", "wb") as file:
        file.write(good[:-20])  # a writer was killed
    status, out, err = compare()
    check(status == 0 and "not in NEW" in out and "last row of NEW is cut off" in err, f"cut off: {status} {err}{out}")
    for args in (["merge", "base.csv", "new.csv", "-o", "all.csv"], ["report", "new.csv", "-o", "r.html"]):
        status, out, err = pare(*args)
        check(status == 0 and "the last row of new.csv is cut off" in err, f"{args}: {status} {err}")
    for path in ("missing.csv", "."):
        status, out, err = pare("compare", "base.csv", path)
        check(status == 2 and path in err and err.count("\n") == 1, f"{path}: {status} {err}")


def scale():
    """10,000 rows against 10,000: each command under 2 s of processor time and 200 MB."""
    n = 10000
    records.write("base.csv", [records.full_row(k) for k in range(n)])
    records.write("new.csv", [records.full_row(k, run_id="other") for k in reversed(range(n))])
    code = ("import os,resource,sys\n"
            "status = os.spawnv(os.P_WAIT, sys.argv[1], sys.argv[1:])\n"
            "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
            "print(status, used.ru_utime + used.ru_stime, used.ru_maxrss)\n")
    commands = {"compare": ["compare", "base.csv", "new.csv", "--junit", "j.xml", "--markdown", "m.md"],
                "merge": ["merge", "base.csv", "new.csv", "-o", "all.csv"]}
    is_instrumented = b"__asan_init" in open(PARE, "rb").read()
    for name, args in commands.items():
        done = subprocess.run(["/usr/bin/python3", "-c", code, PARE, *args], capture_output=True, text=True, check=True,
                              env=dict(os.environ, PARE_HOME=SOURCE))
        status, seconds, kilobytes = done.stdout.splitlines()[-1].split()
        print(f"{name}: {seconds} s of processor time, {int(kilobytes) // 1024} MiB")
        check(status == "0", f"{name}: {done.stdout[-300:]}{done.stderr}")
        check(is_instrumented or (float(seconds) < 2 and int(kilobytes) < 200e3),
              f"{name} of {n} rows: {seconds} s, {kilobytes} kB")


with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    for part in (exit_statuses, columns_may_move, junit_and_markdown, bad_files, scale):
        part()
    os.chdir("/")
failures.end()
