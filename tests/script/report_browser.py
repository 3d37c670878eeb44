# SPDX-License-Identifier: MIT
"""The report in headless Chromium: the script runs, sorts and filters; nothing is wider than a phone; it
prints. With REPORT_SHOTS=DIR the screenshots are left there, to be looked at."""
import html
import os
import re
import shutil
import subprocess
import sys
import tempfile

from pare_process import Failures, pare
import records

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SKIPPED = 77

failures = Failures()
check = failures.check
browser = next((path for path in map(shutil.which, BROWSERS) if path), None)
if not browser:
    print("SKIPPED: no Chromium here (scripts/install.sh all installs it); the report was not opened in a browser")
    sys.exit(SKIPPED)


def chromium(*args, page):
    done = subprocess.run([browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                           f"--user-data-dir={os.getcwd()}/profile", "--allow-file-access-from-files",
                           "--virtual-time-budget=4000", *args, "file://" + os.path.abspath(page)],
                          capture_output=True, text=True, timeout=120, check=False)
    check(done.returncode == 0, f"chromium {args}: {done.stderr[-500:]}")
    return done.stdout


# Uses the page as a reader would and leaves what came of it in the element `result`.
ACT = """<script>addEventListener("load", function () {
  var result = document.createElement("pre"), out = [];
  function rows() {
    return Array.prototype.filter.call(document.querySelectorAll("#rows tbody tr"),
      function (r) { return !r.hidden; });
  }
  function column(name) {
    var heads = Array.prototype.map.call(document.querySelectorAll("#rows th"),
      function (th) { return th.textContent; });
    return heads.findIndex(function (head) { return head.indexOf(name) === 0; });
  }
  function values(name) {
    var c = column(name);
    return rows().map(function (r) { return r.cells[c].getAttribute("data-v"); }).join(",");
  }
  var button = document.querySelectorAll("#rows th button")[column("top-1")];
  button.focus();
  out.push("focus " + (document.activeElement === button));
  button.click(); out.push("up " + values("top-1"));
  button.click(); out.push("down " + values("top-1"));
  out.push("aria " + button.parentNode.getAttribute("aria-sort"));
  var filter = document.getElementById("filter");
  filter.value = "bits=8 REF"; filter.dispatchEvent(new Event("input"));
  out.push("filtered " + rows().length + ", says " + document.getElementById("shown").textContent);
  filter.value = ""; filter.dispatchEvent(new Event("input"));
  var mark = document.querySelector(".fig a.pt");
  mark.focus();
  var tip = document.getElementById("tip");
  out.push("tip " + !tip.hidden + " " + (tip.textContent === mark.getAttribute("aria-label")));
  dispatchEvent(new KeyboardEvent("keydown", { key: "Escape" }));
  out.push("escape " + tip.hidden);
  dispatchEvent(new Event("beforeprint"));
  out.push("open " + (document.querySelectorAll("details:not([open])").length === 0));
  result.id = "result"; result.textContent = out.join("\\n");
  document.body.appendChild(result);
});</script>"""

# A window of 375 pixels, in a page that reads how wide its contents are.
PHONE = """<iframe id="f" src="r.html" style="width:375px;height:800px;border:0"></iframe><pre id="result"></pre>
<script>document.getElementById("f").addEventListener("load", function () {
  var doc = this.contentDocument, wide = [];
  doc.querySelectorAll("body *").forEach(function (e) {
    if (e.getBoundingClientRect().right > 376 && !e.closest(".scroll, nav, .skip")) wide.push(e.tagName + "." + e.id);
  });
  document.getElementById("result").textContent = doc.documentElement.scrollWidth + " " + wide.slice(0, 5);
});</script>"""


def result_of(dom):
    found = re.search(r'<pre id="result">(.*?)</pre>', dom, re.S)
    check(found is not None, "the page's script did not run to its end")
    return html.unescape(found.group(1)) if found else ""


def main():
    rows = [records.row(k, layers_json='[{"name":"conv1","bits":8,"weights":9,"nonzero":3,"macs":900}]',
                        pipeline=f"ptq(bits={(8, 4)[k // 2 % 2]}, observer=a_long_name_of_an_observer_{k})",
                        top1=str((0.9, 0.5, 0.95, 0.7, 0.99, 0.3)[k % 6])) for k in range(12)]
    rows[3]["top1"] = ""
    records.write("a.csv", rows)
    status, _, err = pare("report", "a.csv", "-o", "r.html")
    check(status == 0, err)
    with open("r.html", encoding="utf-8") as file:
        page = file.read()
    with open("acted.html", "w", encoding="utf-8") as file:
        file.write(page.replace("</body>", ACT + "</body>"))
    said = dict(line.split(" ", 1) for line in result_of(chromium("--dump-dom", page="acted.html")).splitlines())
    up = [float(v) for v in said.get("up", "").split(",") if v and v != "null"]
    down = [float(v) for v in said.get("down", "").split(",") if v and v != "null"]
    check(len(up) == 11 and up == sorted(up) and down == up[::-1], f"sorted: {said}")
    check(said.get("up", "").endswith(",") or said.get("up", "").endswith("null"), f"the empty cell is not last: {said}")
    for key, wanted in {"focus": "true", "aria": "descending", "filtered": "3, says 3 of 12 rows", "tip": "true true",
                        "escape": "true", "open": "true"}.items():
        check(said.get(key) == wanted, f"{key}: {said.get(key)}, wanted {wanted}")

    with open("phone.html", "w", encoding="utf-8") as file:
        file.write(PHONE)
    said = result_of(chromium("--dump-dom", "--window-size=800,900", page="phone.html")).split(" ", 1)
    check(said[0] == "375" and said[1] == "", f"on a phone the page is {said} wide")

    shots = os.environ.get("REPORT_SHOTS", ".")
    chromium("--window-size=1280,2000", f"--screenshot={shots}/desktop.png", page="r.html")
    chromium("--window-size=400,900", f"--screenshot={shots}/phone.png", page="phone.html")
    chromium(f"--print-to-pdf={shots}/print.pdf", page="r.html")
    for name, magic in {"desktop.png": b"\x89PNG", "phone.png": b"\x89PNG", "print.pdf": b"%PDF"}.items():
        with open(f"{shots}/{name}", "rb") as file:
            data = file.read()
        check(data.startswith(magic) and len(data) > 15000, f"{name}: {len(data)} bytes")


with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    main()
    os.chdir("/")
failures.end()
