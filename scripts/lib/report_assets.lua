-- Styles, script and fixed texts of the HTML report. Nothing of a record is in them.

local assets = {}

local css = [[
:root{color-scheme:light dark}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1200px;padding:0 20px 40px;background:var(--paper);color:var(--ink);
font:15px/1.55 system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif}
h1{font-size:1.9rem;line-height:1.2;margin:28px 0 6px}h2{font-size:1.3rem;margin:44px 0 10px;padding-bottom:4px;
border-bottom:1px solid var(--line)}h3{font-size:1rem;margin:18px 0 6px}
.lead{color:var(--soft);margin:0}a{color:var(--link)}code{font-size:.9em;overflow-wrap:anywhere}
nav{position:sticky;top:0;z-index:2;display:flex;gap:2px 18px;overflow-x:auto;padding:10px 0;margin-top:14px;
background:var(--paper);border-bottom:1px solid var(--line);white-space:nowrap}
nav a{text-decoration:none}nav a:hover{text-decoration:underline}
section{scroll-margin-top:64px}tr{scroll-margin-top:96px}
.skip{position:absolute;left:-9999px}.skip:focus{left:8px;top:8px;background:var(--paper);padding:8px;z-index:9}
:focus-visible{outline:3px solid var(--focus);outline-offset:2px}
.warnings{list-style:none;padding:0}.warnings li{border-left:4px solid var(--c6);background:var(--tint);
padding:6px 12px;margin:6px 0}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:4px 20px;padding:0;margin:8px 0}
.legend li{display:flex;align-items:center;gap:5px}.key{flex:none}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(460px,100%),1fr));gap:14px 28px}
figure{margin:0;min-width:0}figure{max-width:600px}figure.time{max-width:700px}
figure h3{margin:10px 0 4px}figcaption{color:var(--soft);font-size:.87rem;max-width:75ch}
.plot>svg{width:100%;height:auto;display:block}
.scroll{overflow-x:auto;max-width:100%}
.fig a{cursor:pointer;outline-offset:3px}.fig a:hover path,.fig a:focus path{stroke:var(--ink);stroke-width:2.5}
.fig a:focus-visible{outline:3px solid var(--focus)}
table{border-collapse:collapse;font-size:.87rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;vertical-align:top;padding:4px 12px 4px 0;border-bottom:1px solid var(--line)}
th{background:var(--paper);white-space:nowrap;border-bottom:2px solid var(--line)}
td.n{text-align:right;white-space:nowrap}h4{margin:8px 0 4px;font-size:.93rem}
#rows td,#counters td{white-space:nowrap}#rows td:first-child,#counters td:first-child,#counters td:last-child,
#rows td:last-child{white-space:normal;min-width:16em}
#rows .scroll{max-height:80vh;overflow:auto}#rows th{position:sticky;top:0;z-index:1}
th button{all:unset;cursor:pointer;font-weight:600}th button:focus-visible{outline:3px solid var(--focus)}
th button::after{content:" \2195";color:var(--soft)}th[aria-sort=ascending] button::after{content:" \2191"}
th[aria-sort=descending] button::after{content:" \2193"}
tr:target,tr.hit{background:var(--tint)}
details{margin:10px 0}summary{cursor:pointer;font-weight:600}
input{font:inherit;padding:4px 8px;border:1px solid var(--soft);border-radius:4px;background:var(--paper);
color:var(--ink)}
#tip{position:fixed;z-index:9;max-width:min(340px,90vw);background:var(--ink);color:var(--paper);padding:6px 10px;
border-radius:5px;font-size:.85rem;pointer-events:none}
footer{margin-top:50px;color:var(--soft);font-size:.87rem}
@media (max-width:600px){body{padding:0 12px 30px;font-size:14px}h1{font-size:1.5rem}h2{font-size:1.15rem}}
@media print{nav,.skip,.tools,#tip{display:none!important}body{max-width:none;padding:0;font-size:10pt}
figure,tr,li{break-inside:avoid}h2,h3,h4,summary,.legend,section>p{break-after:avoid}
.scroll,#rows .scroll{overflow:visible;max-height:none}
table{font-size:8pt}#rows table,#counters table{font-size:6.5pt}th,td{padding:2px 5px 2px 0}
#rows td,#counters td,#rows th,#counters th{white-space:normal;overflow-wrap:break-word;min-width:0!important}
#rows td:last-child,#counters td:last-child{min-width:15em!important}
@page{margin:14mm 12mm}
#rows th,#counters th{position:static}th button::after{content:""!important}
.figures{grid-template-columns:1fr 1fr}a{color:inherit;text-decoration:none}}
]]

-- Light and dark; `svg` is the module that knows the colours.
function assets.style(svg)
  local light = { "--tint:#f1f5f9;--link:#0757a8;--focus:#0072b2" }
  local dark = { "--tint:#202730;--link:#7cc0ff;--focus:#56b4e9" }
  local names = {}
  for name in pairs(svg.colours) do
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do
    light[#light + 1] = "--" .. name .. ":" .. svg.colours[name][1]
    dark[#dark + 1] = "--" .. name .. ":" .. svg.colours[name][2]
  end
  return ":root{" .. table.concat(light, ";") .. "}\n@media screen and (prefers-color-scheme:dark){:root{"
    .. table.concat(dark, ";") .. "}}\n" .. css .. svg.style(function(name)
      return "var(--" .. name .. ")"
    end)
end

assets.reading = [[
<details><summary>How to read this page</summary><ul>
<li><b>top-1</b> is measured with the network as it is deployed; <b>simulated</b> is the same network in float with
rounded values.</li>
<li><b>Intervals hold the true value in 95 of 100 such measurements.</b> Where two overlap, the figures do not tell
the two apart.</li>
<li><b>time / baseline</b> is the time against the uncompressed network, measured in the same rounds: below 1 is
faster.</li>
<li><b>file</b> is the model as stored, with scales and indices.</li>
<li><b>Pareto front</b>: networks that no other beats both in accuracy and in size (or time). Seeing it on the test
split is fine; choosing by it is not, for then the test split is no longer one.</li>
<li>Every mark leads to its row; a mark in the focus or below the pointer says what it is. A click on a column's title
sorts. Empty means not measured.</li>
</ul></details>]]

assets.script = [[
(function () {
  "use strict";
  var rows = document.querySelector("#rows tbody"), filter = document.getElementById("filter");
  function key(row, column) {
    var cell = row.cells[column], v = cell.getAttribute("data-v");
    return v !== null ? parseFloat(v) : cell.textContent === "" ? null : cell.textContent;
  }
  function order(a, b) {
    if (a === null || b === null) return a === b ? 0 : a === null ? 2 : -2;
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), undefined, { numeric: true });
  }
  function sort(table, th) {
    var column = th.cellIndex, down = th.getAttribute("aria-sort") === "ascending", body = table.tBodies[0];
    var list = Array.prototype.map.call(body.rows, function (row) { return { row: row, key: key(row, column) }; });
    list.sort(function (a, b) {
      var o = order(a.key, b.key);
      return down && o !== 2 && o !== -2 ? -o : o;
    });
    Array.prototype.forEach.call(th.parentNode.cells, function (other) { other.removeAttribute("aria-sort"); });
    th.setAttribute("aria-sort", down ? "descending" : "ascending");
    list.forEach(function (item) { body.appendChild(item.row); });
  }
  document.querySelectorAll("table.sortable").forEach(function (table) {
    Array.prototype.forEach.call(table.tHead.rows[0].cells, function (th) {
      var button = document.createElement("button");
      button.type = "button";
      button.textContent = th.textContent;
      th.textContent = "";
      th.appendChild(button);
      button.addEventListener("click", function () { sort(table, th); });
    });
  });
  if (rows) {
    document.querySelector(".tools").hidden = false;
    var show = function () {
      var words = filter.value.toLowerCase().split(/\s+/), n = 0;
      Array.prototype.forEach.call(rows.rows, function (row) {
        var text = row.textContent.toLowerCase();
        var hit = words.every(function (word) { return text.indexOf(word) >= 0; });
        row.hidden = !hit;
        n += hit ? 1 : 0;
      });
      document.getElementById("shown").textContent = n + " of " + rows.rows.length + " rows";
    };
    filter.addEventListener("input", show);
    show();
  }
  var tip = document.getElementById("tip");
  function place(x, y) {
    tip.style.left = Math.max(4, Math.min(x + 14, innerWidth - tip.offsetWidth - 6)) + "px";
    tip.style.top = (y + tip.offsetHeight + 24 > innerHeight ? y - tip.offsetHeight - 12 : y + 16) + "px";
  }
  function open(mark, x, y) {
    tip.textContent = mark.getAttribute("aria-label");
    tip.hidden = false;
    place(x, y);
  }
  document.querySelectorAll(".fig a.pt").forEach(function (mark) {
    var title = mark.querySelector("title");
    if (title) title.remove();
    mark.addEventListener("mousemove", function (e) { open(mark, e.clientX, e.clientY); });
    mark.addEventListener("focus", function () {
      var box = mark.getBoundingClientRect();
      open(mark, box.right, box.bottom);
    });
    ["mouseleave", "blur", "click"].forEach(function (name) {
      mark.addEventListener(name, function () { tip.hidden = true; });
    });
  });
  addEventListener("keydown", function (e) { if (e.key === "Escape") tip.hidden = true; });
  addEventListener("beforeprint", function () {
    document.querySelectorAll("details").forEach(function (d) { d.open = true; });
  });
})();
]]

return assets
