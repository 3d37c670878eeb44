# SPDX-License-Identifier: MIT
"""The commands as users call them: help, formats, exit statuses, messages."""
import csv
import io
import json
import os
import shlex
import tempfile

from pare_process import SOURCE, Failures, pare

COMMANDS = ["run", "bench", "list", "describe", "check", "env", "data list", "data fetch", "data verify",
            "model info", "model eval", "model quantize", "model export", "merge", "compare", "report",
            "completion", "man"]

failures = Failures()
check = failures.check


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def succeeds(*args, **where):
    status, out, err = pare(*args, **where)
    check(status == 0, f"pare {' '.join(args)}: exit status {status}: {err}")
    return out


def fails(args, *words, **where):
    status, out, err = pare(*args, **where)
    check(status == 2, f"pare {' '.join(args)}: exit status {status}, wanted 2")
    check(out == "", f"pare {' '.join(args)}: on stdout: {out}")
    check(err.count("\n") == 1 and err.startswith("pare"),
          f"pare {' '.join(args)}: wanted one line: {err}")
    for word in words:
        check(word in err, f"pare {' '.join(args)}: '{word}' is not in: {err}")


def help_is_complete():
    overview = succeeds("--help")
    for command in COMMANDS:
        text = succeeds(*command.split(), "--help")
        check(text.startswith(f"usage: pare {command}"), f"{command}: {text[:60]}")
        check(f"\n  {command} " in overview, f"{command} is not in the overview")
        check(max(len(line) for line in text.split("examples:")[0].splitlines()) <= 80, f"{command}: too wide")
        examples = text.split("examples:\n")[1].strip().splitlines()
        check(len(examples) > 0, f"{command}: no example")
        for example in examples:
            words = shlex.split(example)
            flags = [word for word in words if word.startswith("--")]
            check(words[:1 + len(command.split())] == ["pare", *command.split()], example)
            for flag in flags:
                check(f"  {flag}" in text, f"{example}: {flag} is not among the flags")
    check(succeeds("--version").startswith("pare "), "--version")
    check(max(len(line) for line in overview.splitlines()) <= 80, "the overview is too wide")


def usage_errors():
    fails(["rnu"], "unknown command 'rnu'", "'run'")
    fails(["model", "inf"], "did you mean 'model info'?")
    fails(["model"], "info, eval, quantize, export")
    fails(["run"], "0 arguments, wanted: pare run SCRIPT.lua")
    fails(["run", "a.lua", "b.lua"], "2 arguments")
    fails(["run", "a.lua", "--resum"], "unknown flag --resum", "did you mean --resume?")
    fails(["run", "a.lua", "--out"], "--out needs a value")
    fails(["run", "a.lua", "--resume=yes"], "--resume takes no value")
    fails(["run", "a.lua", "--out", "x", "--out", "y"], "--out is given twice")
    fails(["run", "a.lua", "--shard", "3/2"], "--shard is '3/2'")
    fails(["run", "a.lua", "--profile", "fast"], "fast")
    fails(["run", "absent.lua"], "absent.lua")
    fails(["list", "method"], "methods")
    fails(["list", "models", "--format", "yaml"], "yaml", "csv")
    fails(["describe", "ptk"], "ptk", "ptq")
    fails(["bench"], "--model is missing")
    fails(["bench", "--model", "lenet5", "--precision", "int3"], "int3", "int4")
    fails(["bench", "--model", "lenet5", "--threads", "zero"], "--threads is 'zero'")
    fails(["bench", "--model", "lenet5", "--input", "28x28"], "--input is '28x28'")
    fails(["bench", "--model", "lenet5", "--backend", "reff"], "reff", "ref")
    fails(["bench", "--model", "resnet20", "--input", "8x8x5"], "5 channels")
    fails(["bench", "--model", "lenet66"], "lenet66")
    fails(["bench", "--model", "lenet5", "--sparsity", "90"], "--sparsity is '90'", "0.9")
    fails(["bench", "--model", "lenet5", "--sparsity-pattern", "2:4"], "without --sparsity")
    fails(["bench", "--model", "lenet5", "--sparsity", "0.9", "--sparsity-pattern", "2:4",
           "--profile", "quick"], "0.9", "0.5")
    fails(["bench", "--model", "lenet5", "--sparsity", "0.9", "--sparsity-pattern", "4:8",
           "--profile", "quick"], "4:8", "2:4")
    fails(["bench", "--model", "resnet20", "--option", "shortcut=C"], "shortcut is 'C'")
    fails(["model", "eval", "lenet5", "--dataset", "glyphs"], "without weights")
    fails(["model", "info", os.path.join(SOURCE, "LICENSE")], "LICENSE")
    fails(["data", "fetch", "minst"], "minst", "mnist")
    fails(["data", "verify", "mnist"], "mnist")
    fails(["merge", "absent.csv", "-o", "all.csv"], "absent.csv")
    fails(["merge", "absent.csv"], "--out is missing")
    fails(["list", "methods", "--plugin-path", "/nonexistent"], "/nonexistent")
    fails(["list", "methods", "--plugin-path", os.path.join(SOURCE, "LICENSE")], "LICENSE")


def listings():
    for kind, wanted in [("methods", "ptq"), ("backends", "ref"), ("models", "resnet20"),
                         ("datasets", "glyphs")]:
        names = [row.get("id") or row.get("name") for row in rows_of(succeeds("list", kind, "--format", "csv"))]
        check(wanted in names, f"list {kind}: {names}")
        parsed = json.loads(succeeds("list", kind, "--format", "json"))
        check(len(parsed) == len(names), f"list {kind}: json and csv differ")
        check(wanted in succeeds("list", kind), f"list {kind} as a table")
    params = rows_of(succeeds("describe", "ptq", "--format", "csv"))
    check({"bits", "exclude", "calibration_samples"} <= {row["parameter"] for row in params}, "describe ptq")
    check("epochs" in {row["parameter"] for row in rows_of(succeeds("describe", "magnitude", "--format", "csv"))},
          "describe magnitude names its training parameters")
    check("reference: " in succeeds("describe", "magnitude"), "describe as a table")
    about = json.loads(succeeds("describe", "ptq", "--format", "json"))
    check(about["method"] == "ptq" and "weights" in about["reads"] and about["reference"], f"describe, json: {about}")
    check([row["parameter"] for row in about["parameters"]] == [row["parameter"] for row in params],
          "describe: the parameters as json and as csv")
    about = json.loads(succeeds("describe", "ref", "--format", "json"))
    check(about["backend"] == "ref" and "usable here" in about, f"describe, json: {about}")
    text = succeeds("describe", "ptq", "--format", "md")
    check(text.startswith("## method `ptq`, version ") and text.count("\n| ") == len(params) + 1
          and "\n- reads: weights" in text and "\n|---|" in text, f"describe, md: {text[:200]}")
    env = json.loads(succeeds("env", "--format", "json"))
    groups = {row["group"] for row in env}
    check({"pare", "machine", "counters", "backends", "datasets"} <= groups, f"env: {groups}")
    for row in env:
        check(row["value"] is not None or row["note"] is not None, f"env: neither value nor note: {row}")


def models(folder):
    info = {row["what"]: row["value"] for row in
            rows_of(succeeds("model", "info", "resnet20", "--input", "3x32x32", "--format", "csv"))}
    check(info["params_total"] == "269722" and info["macs_dense"] == "40551040", f"model info: {info}")
    check(info["input"] == "32x32x3", f"model info: input {info['input']}")
    check("params_total,269722" in succeeds("model", "info", "resnet", "--option", "depth=20", "--format", "csv"),
          "resnet with depth=20 is not resnet20")
    layers = rows_of(succeeds("model", "info", "lenet5", "--layers", "--format", "csv"))
    check(sum(int(row["params"] or 0) for row in layers) == 431080, "model info --layers")
    succeeds("model", "export", "lenet300", "--seed", "3", "--out", "a.safetensors", cwd=folder)
    succeeds("model", "export", "lenet300", "--seed", "3", "--out", "b.safetensors", cwd=folder)
    succeeds("model", "export", "lenet300", "--seed", "4", "--out", "c.safetensors", cwd=folder)
    data = [open(os.path.join(folder, name + ".safetensors"), "rb").read() for name in "abc"]
    check(data[0] == data[1] and data[0] != data[2], "model export depends on the seed alone")
    succeeds("model", "quantize", "a.safetensors", "--dataset", "glyphs", "--set", "bits=4",
             "--out", "small.safetensors", cwd=folder)
    for name, execution in [("a", "float"), ("small", "integer")]:
        row = rows_of(succeeds("model", "eval", name + ".safetensors", "--dataset", "glyphs",
                               "--format", "csv", cwd=folder))[0]
        check(row["execution"] == execution and row["n_samples"] == "5000", f"model eval: {row}")
        check(float(row["top1_ci_lo"]) < float(row["top1"]) < float(row["top1_ci_hi"]), f"model eval: {row}")
        check((row["top1_simulated"] != "") == (name == "small"), f"model eval: {row}")
        check(row["confusion_json"] == "", f"model eval: {row}")
    matrix = succeeds("model", "eval", "a.safetensors", "--dataset", "glyphs", "--samples", "200",
                      "--confusion", cwd=folder).split("\n\n")[1].split("\n")
    counts = [int(cell) for line in matrix[2:] for cell in line.split()[1:] if cell != "."]
    check(matrix[0].split()[:3] == ["true", "as", "0"] and sum(counts) == 200, f"confusion: {matrix}")
    row = rows_of(succeeds("bench", "--model", "a.safetensors", "--profile", "quick", "--cache",
                           "cold-weights", "--counters", "kernel,sde:::pare::FALLBACK_OPS", "--format", "csv",
                           cwd=folder))[0]
    check(row["cache_state"] == "cold-weights" and "FALLBACK_OPS" in row["counters_json"], f"bench: {row}")
    fails(["bench", "--model", "a.safetensors", "--cache", "warm"], "cache is \"warm\"", cwd=folder)
    fails(["bench", "--model", "a.safetensors", "--cores", "huge"], "cores is \"huge\"", cwd=folder)
    fails(["model", "quantize", "small.safetensors", "--method", "magnitude", "--set", "sparsity=2",
           "--dataset", "glyphs", "--out", "x.safetensors"], "sparsity", cwd=folder)
    fails(["bench", "--model", "a.safetensors", "--input", "3x32x32"], "--input", "checkpoint", cwd=folder)


def layer_times():
    """Each node of the network has kernels of its own, or is fused into one. (The input may be copied.)"""
    model = ["resnet20", "--input", "3x8x8"]
    nodes = [row["name"] for row in rows_of(succeeds("model", "info", *model, "--layers", "--format", "csv"))]
    for row in rows_of(succeeds("bench", "--model", *model, "--backend", "ref,auto", "--profile", "quick",
                                "--format", "csv")):
        times = json.loads(row["layer_times_json"])
        fused = [name for time in times[:-1] for name in time.get("fused", [])]
        own = {time["name"] for time in times[:-1]}
        check(times[-1]["name"] == "(other)" and all(time["ns"] >= 0 for time in times), f"times: {times}")
        check(len(fused) == len(set(fused)) and not own & set(fused), f"{row['backend']}: twice: {fused} {own}")
        check(own | set(fused) | {"input"} == set(nodes),
              f"{row['backend']}: {set(nodes) ^ (own | set(fused))}")
    text = succeeds("bench", "--model", *model, "--precision", "int8", "--backend", "ref", "--profile", "quick",
                    "--layers")
    check("layer1.0.conv1 + layer1.0.relu1" in text and "ref_conv2d_i8" in text, text)


def benchmarks():
    wanted = ["backend", "isa", "precision", "threads", "batch", "median_ns", "p90_ns", "peak_gmacs",
              "fraction_of_peak", "bytes_activations"]
    for precision in ["fp32", "int8", "binary-weights", "binary"]:
        rows = rows_of(succeeds("bench", "--model", "lenet300", "--precision", precision, "--backend",
                                "ref", "--profile", "quick", "--format", "csv"))
        check(len(rows) == 1, f"bench: {len(rows)} rows")
        for name in wanted:
            check(rows[0].get(name, "") != "", f"bench {precision}: {name} is missing")
        check(rows[0]["precision"] == precision and rows[0]["backend"] == "ref", f"bench: {rows[0]}")


SCRIPT = """local pare = require "pare"
return pare.experiment {
  name = "twice", dataset = pare.dataset("glyphs", { train = 600, test = 100 }),
  model = pare.model "lenet300":init(),
  pipelines = { {}, { { "ptq", bits = pare.grid { 8, 4 } } } },
  seeds = { pare.set.first or 1, 2 }, checkpoint = pare.set.keep,
}
"""


NETS = """local sizes = require "sizes"
return {
  tiny = {
    doc = "one layer", input = { 28, 28, 1 }, classes = 10, options = { width = sizes.width },
    build = function(g, x, classes, options)
      return g:linear(g:relu(g:linear(g:flatten(x), { out = options.width })), { out = classes })
    end,
  },
}
"""


def networks_of_a_file(folder):
    for name, text in [("nets.lua", NETS), ("sizes.lua", "return { width = 3 }\n"),
                       ("broken.lua", "return {\n"), ("empty.lua", "\n")]:
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)
    for option, params in [([], 784 * 3 + 3 + 40), (["--option", "width=5"], 784 * 5 + 5 + 60)]:
        info = {row["what"]: row["value"] for row in
                rows_of(succeeds("model", "info", "nets.lua:tiny", *option, "--format", "csv", cwd=folder))}
        check(info.get("params_total") == str(params), f"nets.lua:tiny {option}: {info}")
    fails(["model", "info", "nets.lua:tinny"], "unknown model 'tinny', did you mean 'tiny'?", cwd=folder)
    fails(["model", "info", "broken.lua:x"], "broken.lua:", cwd=folder)
    fails(["model", "info", "empty.lua:x"], "empty.lua returned nothing", cwd=folder)


def runs(folder):
    with open(os.path.join(folder, "twice.lua"), "w", encoding="utf-8") as file:
        file.write(SCRIPT)
    plan = succeeds("run", "twice.lua", "--dry-run", cwd=folder)
    check(plan.count("ptq(bits=") == 4 and plan.count("fp32") == 2, f"dry run: {plan}")
    check(not os.path.exists(os.path.join(folder, "results")), "a dry run wrote something")
    plan = rows_of(succeeds("run", "twice.lua", "--dry-run", "--format", "csv", cwd=folder))
    check([row["pipeline"] for row in plan].count("fp32") == 2 and len(plan) == 6, f"dry run as CSV: {plan}")
    plan = succeeds("run", "twice.lua", "--dry-run", "--filter", "*bits=4*", "--set", "first=7", cwd=folder)
    check(plan.count("ptq(bits=4)") == 2 and "fp32" not in plan, f"filter: {plan}")
    parts = [succeeds("run", "twice.lua", "--dry-run", "--shard", f"{k}/3", cwd=folder) for k in (1, 2, 3)]
    check(sum(part.count("ptq(bits=") + part.count("fp32 ") for part in parts) == 6, f"shards: {parts}")
    fails(["run", "twice.lua", "--set", "frist=2"], "pare.set.frist", "'first'", cwd=folder)

    out = succeeds("run", "twice.lua", "--profile", "quick", "--quiet", cwd=folder)
    check("results: results/runs/twice.csv" in out and "6 done, 0 failed" in out, out)
    with open(os.path.join(folder, "results/runs/twice.csv"), encoding="utf-8") as file:
        check(len(file.read().splitlines()) == 7, "rows in the CSV")
    out = succeeds("run", "twice.lua", "--profile", "quick", "--quiet", "--resume", "--format", "csv", cwd=folder)
    check(len(rows_of(out)) == 6, f"resume: {out}")
    succeeds("run", "twice.lua", "--profile", "quick", "--quiet", "--set", "keep=kept", "--filter", "*bits=8*",
             "--out", "kept.csv", cwd=folder)
    kept = sorted(os.listdir(os.path.join(folder, "checkpoints")))
    check(len(kept) == 2 and kept[0].startswith("kept-"), f"checkpoints: {kept}")
    info = {row["what"]: row["value"] for row in
            rows_of(succeeds("model", "info", os.path.join("checkpoints", kept[0]), "--format", "csv", cwd=folder))}
    check(info.get("pipeline") == "ptq(bits=8)" and info.get("dataset") == "glyphs", f"notes: {info}")
    succeeds("model", "export", os.path.join("checkpoints", kept[0]), "--out", "copy.safetensors", cwd=folder)
    with open(os.path.join(folder, "checkpoints", kept[0]), "rb") as one, \
            open(os.path.join(folder, "copy.safetensors"), "rb") as other:
        check(one.read() == other.read(), "an exported checkpoint is not the same file")
    succeeds("merge", "results/runs/twice.csv", "results/runs/twice.csv", "-o", "all.csv", cwd=folder)
    fails(["run", "twice.lua", "--out", "/proc/no/rows.csv"], "/proc/no", cwd=folder)


def main():
    help_is_complete()
    usage_errors()
    listings()
    benchmarks()
    layer_times()
    with tempfile.TemporaryDirectory() as folder:
        models(folder)
    with tempfile.TemporaryDirectory() as folder:
        networks_of_a_file(folder)
    with tempfile.TemporaryDirectory() as folder:
        runs(folder)
    failures.end()


main()
