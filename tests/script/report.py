# SPDX-License-Identifier: MIT
"""pare report: the page is whole, safe from what stands in the cells, and small enough for 10,000 rows; its
figures are XML; bad scripts are told by their line."""
import html.parser
import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree

from pare_process import PARE, SOURCE, Failures, pare
import records

failures = Failures()
check = failures.check

HOSTILE = ('x(bits=1)"><script>alert(1)</script><img src=http://evil.example/ onerror=alert(2)> '
           "' onfocus='alert(3) | [a](javascript:alert(4)) `b` @team <!-- ]]> \x01\x7f")
LAYERS = ('[{"name":"conv1","bits":8,"weights":150,"nonzero":150,"macs":288000},'
          '{"name":"</text><script>","bits":8,"weights":5000,"nonzero":500,"macs":500000}]')
TIMES = ('[{"name":"input","kernel":"k","ns":100},{"name":"conv1","kernel":"ref_conv2d_i8","ns":3000,'
         '"fused":["bn1","<b>relu"]},{"name":"</text><script>","kernel":"k","ns":6000},{"name":"(other)","ns":900}]')
VOID = {"meta", "input", "br"}


class Page(html.parser.HTMLParser):
    """Elements that a page has, whether they are closed in order, and its text."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.torn, self.words = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.torn.append(tag)

    def handle_data(self, data):
        self.words.append(data)


def report(*args, out="r.html"):
    status, printed, err = pare("report", *args, "-o", out)
    check(status == 0 and printed == "", f"report {args}: {status} {err}{printed}")
    with open(out, encoding="utf-8") as file:
        return file.read()


def is_safe(text, what):
    page = Page(text)
    check(not page.torn and not page.open, f"{what}: not closed in order: {page.torn[:3]} {page.open[:3]}")
    tags = [tag for tag, _ in page.elements]
    check(tags.count("script") == 1 and tags.count("style") == 1, f"{what}: {tags.count('script')} scripts")
    check(not {"img", "link", "iframe", "object", "image", "foreignobject"} & set(tags), f"{what}: {set(tags)}")
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    check(len(ids) == len(set(ids)), f"{what}: an id twice")
    for tag, attrs in page.elements:
        for name, value in attrs.items():
            check(not name.startswith("on") and name not in ("src", "srcset", "style"), f"{what}: {tag} {name}={value}")
            if name == "href":
                check(value.startswith("#") and value[1:] in ids, f"{what}: a link to {value}")
    check(not re.search(r"url\(|@import|fetch\(|XMLHttp", text), f"{what}: loads something")
    return page


def whole_page():
    rows = [records.row(k) for k in range(20)]
    for row in rows[10:]:  # the other seed
        row["top1"] = str(float(row["top1"]) - 0.01)
    rows.append(records.row(20, pipeline="fp32", top1_simulated="", ratio="", arm_id="0" * 15 + "f"))
    rows.append(records.row(21, status="failed", error="it crashed in conv1", top1="", median_ns=""))
    records.write("a.csv", [dict(row, layers_json=LAYERS) for row in rows])
    text = " ".join(Page(report("a.csv")).words)
    check("the backend does not tell it" in text and "layer_times_json is empty" in text, "no word of missing times")
    records.write("a.csv", [dict(row, layers_json=LAYERS, layer_times_json=TIMES) for row in rows])
    page = is_safe(report("a.csv"), "a page")
    text = " ".join(" ".join(page.words).split())
    for words in ["lenet5-mnist on mnist", "22 arms of 11 trials: 21 measured", "1 failed or unsupported",
                  "Smallest file at most 0.5 points", "it crashed in conv1", "A processor", "no PMU",
                  "0123456789abcdef", "mean of 2 seeds", "conv1 + bn1, <b>relu", "3.00 µs", "30.0 %", "all else",
                  "1.00 µs", "10.0 %", "± 0.71 ["]:
        check(words in text, f"'{words}' is not in the page")
    check("layer_times_json is empty" not in text, "says that times are missing")
    marked = report("a.csv", "--format", "md", out="r.md")
    check("| conv1 \\+ bn1, &#60;b&#62;relu | 8 | 150 | 0.0 % | 288 k | 3.00 µs | 30.0 % |" in marked,
          "no times of layers in the Markdown")
    marks = [attrs for tag, attrs in page.elements if tag == "a" and attrs.get("class") == "pt"]
    check(len(marks) > 20 and all(attrs["aria-label"] and "href" in attrs for attrs in marks), f"{len(marks)} marks")
    check(sum(tag == "figure" for tag, _ in page.elements) >= 6, "figures are missing")


def hostile_cells():
    """Every text column holds markup; nothing of it may become an element, an attribute or a link."""
    rows = [records.row(k) for k in range(6)]
    for k, row in enumerate(rows):
        for name in row:
            if not re.fullmatch(r"[-0-9.eE]*", row[name]) and name not in ("status", "time_utc", "layers_json", "layer_times_json"):
                row[name] = HOSTILE
        row.update(status=("ok", HOSTILE)[k == 5], layers_json=LAYERS, layer_times_json=TIMES, diverging_layer=HOSTILE, time_utc=HOSTILE,
                   top1_simulated="0.5", disturbed=HOSTILE, counters_status=HOSTILE, ratio_arm_id=HOSTILE)
    records.write("a.csv", rows)
    with open("a.csv", "rb") as file:
        data = file.read()
    with open("a.csv", "wb") as file:
        file.write(data.replace(b"@team", b"@t\xff\xc0\x80am", 3))
    page = is_safe(report("a.csv", "--title", HOSTILE), "hostile cells")
    check("<script>alert(1)</script>" in " ".join(page.words), "the text itself is gone")
    text = report("a.csv", "--format", "md", out="r.md")
    check(not re.search(r"(?<!\\)`|<script|<img|@team|\]\(|<!--", text), "markup in the Markdown")
    lines = text.splitlines()
    for k, line in enumerate(lines):
        if re.fullmatch(r"\|(---\|)+", line):
            n = line.count("|")
            for row in [lines[k - 1]] + [x for x in lines[k + 1:k + 5] if x.startswith("|")]:
                check(row.count("|") == n, f"a torn table: {row[:100]}")
    status, _, err = pare("report", "a.csv", "--figures", "figs")
    check(status == 0 and "figures in figs" in err, f"figures: {status} {err}")
    for name in os.listdir("figs"):
        root = ElementTree.parse(f"figs/{name}").getroot()
        tags = {element.tag.split("}")[1] for element in root.iter()}
        check(tags <= {"svg", "title", "style", "rect", "path", "text", "g"}, f"{name}: {tags}")
    check(len(os.listdir("figs")) >= 4, f"{os.listdir('figs')}")


def pictures():
    if not shutil.which("rsvg-convert"):
        print("SKIPPED: rsvg-convert is not here, PNG figures were not made")
        return
    status, _, err = pare("report", "a.csv", "--figures", "pngs", "--png")
    names = os.listdir("pngs")
    check(status == 0 and sum(n.endswith(".png") for n in names) == sum(n.endswith(".svg") for n in names) > 0,
          f"png: {status} {err} {names}")
    for name in names:
        if name.endswith(".png"):
            with open(f"pngs/{name}", "rb") as file:
                check(file.read(8) == b"\x89PNG\r\n\x1a\n", f"{name} is no PNG")


def odd_records():
    """What is missing or is no figure is left out, and said where a reader would look for it."""
    empty = {name: "" for name in records.columns()}
    only_ids = dict(empty, schema_version="1", arm_id="a", status="ok")
    wrong = records.row(0, top1="nan", median_ns="inf", bytes_file="many", layers_json="[1, {", seed="x")
    zero = records.row(1, bytes_file="0", median_ns="0", top1="0", ratio="0", layers_json='[{"name":"a"}]')
    fractions = records.row(2, seed="1.5", threads="-0.25", batch="1e300", fallback_ops="0.5", macs_executed="1e-300")
    times = [records.row(k, layers_json=LAYERS, layer_times_json=text) for k, text in enumerate((
        "[1]", "{}", '[{"name":1,"ns":1}]', '[{"name":"a","ns":-1}]', '[{"name":"a","ns":1e300}]', "[" * 3000,
        '[{"name":"conv1","ns":1,"fused":3}]', '[{"name":"conv1","ns":1,"fused":[3]}]', '[{"name":"conv1","ns":0}]'))]
    wild = [records.row(k, n_samples="0", top1=("-3", "5e300")[k], median_ns="1e308", bytes_file="1e-300", ratio="-1",
                        ratio_ci_lo="2", aa_ratio_ci_lo="3", macs_dense="-1", layers_json=LAYERS.replace("150", "1e99"))
            for k in range(2)]
    close = [records.row(k, top1=("0.5", "0.5000000000000001")[k], bytes_file=("1", "1e90")[k], median_ns="1e-90",
                         median_ci_lo_ns="", median_ci_hi_ns="1e99", ratio_ci_hi="") for k in range(2)]
    perfect = [records.row(k, top1="1", top1_ci_lo="1", top1_ci_hi="1", top1_simulated="1") for k in range(2)]
    for what, rows in {"ids only": [only_ids], "no status": [dict(empty, schema_version="1")], "no figures": [wrong],
                       "zeros": [zero], "fractions": [fractions], "times of layers": times, "wild": wild, "close": close, "perfect": perfect,
                       "all at once": [only_ids, wrong, zero, fractions] + wild + close + perfect,
                       "failed": [records.row(0, status="failed", error="no")]}.items():
        records.write("odd.csv", rows)
        text = report("odd.csv")
        page = is_safe(text, what)
        check(not re.search(r'"[^"<>]*\b(nan|inf|nil)\b[^"<>]*"', text.split("<script>")[0]), f"{what}: draws nan or inf")
        check(not re.search(r"\b(nan|inf|nil)\b", " ".join(page.words)), f"{what}: shows nan, inf or nil")
    records.write("odd.csv", [only_ids])
    text = report("odd.csv")
    check("nothing to draw them against" in text and "nothing was quantized" in text, "does not say what is missing")
    two = [records.row(0), records.row(1, host="other", dataset="glyphs", git_commit="f00")]
    records.write("odd.csv", two)
    text = report("odd.csv", "a.csv")
    check("several machines" in text and "drawn by a generator" in text and "different commits" in text,
          "does not warn of what cannot be compared")


def bad_input():
    def fails(*args, words):
        status, out, err = pare("report", *args)
        check(status == 2 and out == "" and err.count("\n") == 1, f"{args}: {status} {err}{out}")
        check(all(word in err for word in words), f"{args}: {words} not in {err}")

    with open("empty.csv", "w", encoding="utf-8") as file:
        file.write(",".join(records.columns()) + "\n")
    with open("text.csv", "w", encoding="utf-8") as file:
        file.write("hello\n")
    fails("a.csv", words=["--out", "--figures"])
    fails("empty.csv", "-o", "x.html", words=["empty.csv", "no rows"])
    fails("text.csv", "-o", "x.html", words=["text.csv", "schema_version"])
    fails("a.csv", "gone.csv", "-o", "x.html", words=["gone.csv"])
    fails("a.csv", "--format", "pdf", "-o", "x", words=["pdf", "html or md"])
    fails("a.csv", "-o", "no/such/folder/x.html", words=["no/such/folder"])
    fails("a.csv", "-o", "x.html", "--png", words=["--figures"])
    check(not os.path.exists("x.html"), "a report was written all the same")
    scripts = {
        "return 1": ["function `html`"],
        "x = = 1": [":1:"],
        "return { html = function() error 'oops' end }": [":1:", "oops"],
        "return { html = function() return {} end }": ["0 pages"],
        "return { html = function() return { { name = '../x', text = '' } } end }": ["'../x'"],
        "return { html = function() return { { name = 'x' } } end }": ["x: text is nothing"],
        "return { html = function() while true do end end }": ["instructions"],
        "return { html = function() return os.execute 'true' end }": ["not available"],
    }
    for text, words in scripts.items():
        with open("mine.lua", "w", encoding="utf-8") as file:
            file.write(text)
        fails("a.csv", "--script", "mine.lua", "-o", "x.html", words=["mine.lua"] + words)
    with open("mine.lua", "w", encoding="utf-8") as file:
        file.write("local t = require 'report_text'\n"
                   "return { html = function(input) return { { name = 'x.html', text = t.escape('<' .. input.n .. "
                   "input.columns.model[1]:sub(1, 1) .. input.infos[1].name .. input.files[1].path) } } end }")
    check(report("a.csv", "--script", "mine.lua") == "&lt;6xschema_versiona.csv", "a script of one's own")


def scale():
    """10,000 rows: under 2 s of processor time and 200 MB."""
    rows = [records.full_row(k, top1=str(0.5 + (k * 7919 % 10000) / 20100), bytes_file=str(100000 + k * 104729 % 1000003),
                             median_ns=str(10000 + k % 997), median_ci_lo_ns="", median_ci_hi_ns="", layers_json=LAYERS,
                             layer_times_json=TIMES) for k in range(10000)]
    records.write("many.csv", rows)
    code = ("import os,resource,sys\n"
            "status = os.spawnv(os.P_WAIT, sys.argv[1], sys.argv[1:])\n"
            "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
            "print(status, used.ru_utime + used.ru_stime, used.ru_maxrss)\n")
    is_instrumented = b"__asan_init" in open(PARE, "rb").read()
    for args in (["-o", "many.html"], ["-o", "many.md", "--format", "md"]):
        done = subprocess.run([sys.executable, "-c", code, PARE, "report", "many.csv", *args], capture_output=True,
                              text=True, check=True, env=dict(os.environ, PARE_HOME=SOURCE))
        status, seconds, kilobytes = done.stdout.split()
        check(status == "0", f"{args}: {done.stderr}")
        if status != "0":
            continue
        print(f"report {args}: {seconds} s of processor time, {int(kilobytes) // 1024} MiB, "
              f"{os.path.getsize(args[1]) / 1e6:.1f} MB")
        check(is_instrumented or (float(seconds) < 2 and int(kilobytes) < 200e3), f"{args}: {seconds} s, {kilobytes} kB")


with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    for part in (whole_page, hostile_cells, pictures, odd_records, bad_input, scale):
        part()
    os.chdir("/")
failures.end()
