# A method and a backend compiled against the headers of ABI 1.0 take part in an experiment of today's pare.
set -eu
cat >old.lua <<'LUA'
local pare = require "pare"

return pare.experiment {
  name = "old",
  dataset = pare.dataset("glyphs", { train = 2000, val = 100, test = 100 }),
  model = pare.model "lenet300":train { epochs = 4 },
  pipelines = { {}, { { "abi_1_0_threshold", threshold = 0.2 } } },
  arms = { backend = { "ref", "abi_1_0_float" } },
}
LUA
PARE_PLUGIN_PATH="$BUILD/tests/abi/plugins" "$PARE" run old.lua --profile quick --quiet --out rows.csv >log
/usr/bin/python3 - rows.csv <<'PY'
import csv, sys
rows = list(csv.DictReader(open(sys.argv[1], encoding="utf-8")))
assert [r["status"] for r in rows] == ["ok"] * 4, [r["error"] for r in rows]
assert {r["backend"] for r in rows} == {"ref", "abi_1_0_float"}
for pipeline in {r["pipeline"] for r in rows}:
    both = [r for r in rows if r["pipeline"] == pipeline]
    assert both[0]["top1"] == both[1]["top1"] and float(both[0]["top1"]) > 0.3, both[0]["top1"]
    assert (float(both[0]["sparsity"]) > 0.05) == ("abi_1_0" in pipeline), both[0]["sparsity"]
PY
