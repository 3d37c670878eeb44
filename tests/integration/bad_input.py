# SPDX-License-Identifier: MIT
"""Data, models, scripts, plugins and records that cannot work: `pare` says in one line on stderr what is
wrong, where, what it got and what it wanted, ends with status 2 (1 where trials failed), and loses no row.
Mistakes inside scripts are told by tests/script/bad_scripts.py.

bad_input.py PARE SOURCE_DIR, in an empty folder."""
import csv
import gzip
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "script"))
sys.dont_write_bytecode = True
from pare_process import PARE, SOURCE, Failures, pare  # noqa: E402

failures = Failures()
check = failures.check


def fails(what, args, *words, status=2, **where):
    """One line, begun by the command's name, with all `words` in it; nothing on stdout."""
    got, out, err = pare(*args, **where)
    check(got == status, f"{what}: exit status {got}, wanted {status}: {err}")
    check(err.startswith("pare ") and err.count("\n") == 1 and err.endswith("\n"),
          f"{what}: wanted one line: {err}")
    check(out == "", f"{what}: on stdout: {out[:200]}")
    for word in words:
        check(word in err, f"{what}: '{word}' is not in: {err}")
    return err


def write(path, data):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


# ---- datasets ----

# The training files are read first, so that no other file needs to be right.
IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
N_TRAIN, N_TEST = 60000, 10000
GOOD_IMAGES = struct.pack(">IIII", 0x803, N_TRAIN, 28, 28) + bytes(N_TRAIN * 784)
GOOD_LABELS = struct.pack(">II", 0x801, N_TRAIN) + bytes(N_TRAIN)


def bad_idx():
    """file: (name under the folder, contents, words of the message)"""
    torn = gzip.compress(GOOD_LABELS)[:-20]
    spoilt = bytearray(gzip.compress(GOOD_LABELS))
    spoilt[-6] ^= 1  # in the checksum
    return {
        "empty": (IMAGES, b"", ["truncated", "0 bytes", "16"]),
        "truncated header": (IMAGES, GOOD_IMAGES[:9], ["truncated", "9 bytes", "16"]),
        "truncated": (IMAGES, GOOD_IMAGES[:-1], ["truncated", "47040016", "47040015"]),
        "trailing byte": (IMAGES, GOOD_IMAGES + b"x", ["47040016", "47040017"]),
        "oversized": (IMAGES, GOOD_IMAGES + bytes(1 << 20), ["larger than", "48088592 on disk"]),
        "wrong magic": (IMAGES, b"PK\3\4" + GOOD_IMAGES[4:], ["50 4b 03 04", "00 00 08 03"]),
        "wrong type": (IMAGES, b"\0\0\x0d\3" + GOOD_IMAGES[4:], ["0x0d", "0x08"]),
        "labels as images": (IMAGES, GOOD_LABELS, ["1", "wanted 3", "swapped"]),
        "says 4 billion": (IMAGES, struct.pack(">IIII", 0x803, 0xffffffff, 28, 28) + GOOD_IMAGES[16:],
                           ["4294967295 images", "47040016"]),
        "says other sizes": (IMAGES, struct.pack(">IIII", 0x803, N_TRAIN, 56, 14) + GOOD_IMAGES[16:],
                             ["56x14", "28x28"]),
        "says 0": (IMAGES, struct.pack(">IIII", 0x803, 0, 28, 28), ["0 images"]),
        "half of it": (IMAGES, struct.pack(">IIII", 0x803, 5000, 28, 28) + bytes(5000 * 784),
                       ["5000", "60000", "mnist"]),
        "label 10": (LABELS, GOOD_LABELS[:-1] + b"\x0a", ["label 59999 is 10", "0..9"]),
        "torn gzip": (LABELS + ".gz", torn, ["gzip"]),
        "spoilt gzip": (LABELS + ".gz", bytes(spoilt), ["gzip"]),
        "gzip bomb": (LABELS + ".gz", gzip.compress(bytes(200 << 20), 1), ["larger than"]),
    }


def idx_files():
    args = ["model", "eval", "grey.safetensors", "--dataset", "mnist"]
    good = {IMAGES: GOOD_IMAGES, LABELS: GOOD_LABELS,
            "t10k-images-idx3-ubyte": struct.pack(">IIII", 0x803, N_TEST, 28, 28) + bytes(N_TEST * 784),
            "t10k-labels-idx1-ubyte": struct.pack(">II", 0x801, N_TEST) + bytes(N_TEST)}
    for name, contents in good.items():
        write(f"data/mnist/{name}", contents)
    status, _, err = pare(*args, datasets="data")
    check(status == 0, f"good IDX files: exit status {status}: {err}")
    for what, (name, contents, words) in bad_idx().items():
        plain = name.removesuffix(".gz")
        os.remove(f"data/mnist/{plain}")
        write(f"data/mnist/{name}", contents)
        fails(f"IDX, {what}", args, f"data/mnist/{name}", *words, datasets="data")
        os.remove(f"data/mnist/{name}")
        write(f"data/mnist/{plain}", good[plain])
    os.truncate(f"data/mnist/{IMAGES}", 1 << 40)  # a hole
    fails("IDX, 1 TiB", args, IMAGES, str(1 << 40), datasets="data")
    os.remove(f"data/mnist/{IMAGES}")
    fails("IDX, one file missing", args, "data/mnist", f"lacks {IMAGES}", "pare data fetch mnist", datasets="data")
    os.mkdir(f"data/mnist/{IMAGES}")
    fails("IDX, a folder", args, IMAGES, datasets="data")
    fails("no MNIST", args, "dataset mnist", "not found in", "nowhere/mnist", "PARE_DATASETS", datasets="nowhere")


def cifar_files():
    record = bytes(3073)
    good = record * 10000
    folder = "data/cifar10/cifar-10-batches-bin"
    args = ["model", "eval", "colour.safetensors", "--dataset", "cifar10"]
    cases = {
        "truncated": (good[:-1], ["30729999", "3073"]),
        "oversized": (good * 5 + record, ["50001 records", "50000"]),
        "much oversized": (good * 6, ["larger than"]),
        "label 10": (b"\x0a" + good[1:], ["label of record 0 is 10", "0..9"]),
        "another format": (b"\x89PNG\r\n" + bytes(1000), ["1006", "3073"]),
        "empty": (b"", ["0 bytes"]),
    }
    for what, (contents, words) in cases.items():
        shutil.rmtree("data/cifar10", ignore_errors=True)
        for k in range(1, 6):
            write(f"{folder}/data_batch_{k}.bin", contents if k == 1 else record * 10)
        write(f"{folder}/test_batch.bin", b"")
        fails(f"CIFAR, {what}", args, f"{folder}/data_batch_1.bin", *words, datasets="data")
    write(f"{folder}/data_batch_1.bin", record * 10)
    fails("CIFAR, part of it", args, folder, "50 records", "50000", "cifar10", datasets="data")
    os.remove(f"{folder}/data_batch_3.bin")
    fails("CIFAR, one file missing", args, folder, "lacks data_batch_3.bin", "pare data fetch cifar10",
          datasets="data")


# ---- safetensors ----

def split(blob):
    n = struct.unpack("<Q", blob[:8])[0]
    return json.loads(blob[8:8 + n]), blob[8 + n:]


def joined(header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def bad_safetensors(blob):
    header, data = split(blob)
    name = "fc2.weight"
    n_data = len(data)

    def changed(**fields):
        return joined({**header, name: {**header[name], **fields}}, data)

    begin, end = header[name]["data_offsets"]
    other = next(k for k in header if k not in (name, "__metadata__"))
    without = {k: v for k, v in header.items() if k != name}
    graph = json.loads(header["__metadata__"]["pare.graph"])
    graph["nodes"][-1]["inputs"] = [99]
    strange = {**header["__metadata__"], "pare.graph": json.dumps(graph)}
    text = json.dumps(header)[:-1] + f', "{other}": {json.dumps(header[other])}}}'
    nan = bytearray(data)
    nan[begin:begin + 4] = struct.pack("<f", float("nan"))
    return {
        "empty": (b"", ["0 bytes"]),
        "7 bytes": (blob[:7], ["7 bytes"]),
        "truncated header": (blob[:100], ["100 bytes", "truncated"]),
        "truncated data": (blob[:-4], [str(n_data - 4)]),
        "trailing bytes": (blob + bytes(8), [str(n_data + 8), str(n_data)]),
        "not safetensors": (b"\x89PNG\r\n\x1a\n" + bytes(100), ["not a safetensors file"]),
        "header of 2^63 bytes": (struct.pack("<Q", 1 << 63) + blob[8:], ["9223372036854775808"]),
        "header is no JSON": (joined(b"{]", data), ["JSON", "byte"]),
        "nested JSON": (joined(b"[" * 100000, data), ["nested", "3"]),
        "key twice": (joined(text.encode(), data), ["duplicate", other]),
        "wrong dtype": (changed(dtype="F64"), [name, '"F64"', '"F32"']),
        "huge shape": (changed(shape=[1 << 40, 1 << 40]), [name, str(1 << 40)]),
        "negative shape": (changed(shape=[-1, 300]), [name, "dimension 0"]),
        "other shape": (changed(shape=header[name]["shape"][::-1]), [name, "100", "300"]),
        "offsets outside": (changed(data_offsets=[begin, 1 << 50]), [name, str(1 << 50), str(n_data)]),
        "offsets back to front": (changed(data_offsets=[end, begin]), [name, str(end)]),
        "overlap": (changed(data_offsets=[begin - 4, end - 4]), [name, "overlap"]),
        "tensor missing": (joined(without, data), ["hole" if end < n_data else str(n_data)]),
        "no graph": (joined({k: v for k, v in header.items() if k != "__metadata__"}, data), ["pare.graph"]),
        "graph with a bad edge": (joined({**header, "__metadata__": strange}, data), ["99"]),
        "not a number": (joined(header, bytes(nan)), [name, "nan"]),
    }


def safetensors_files():
    with open("grey.safetensors", "rb") as file:
        blob = file.read()
    for what, (contents, words) in bad_safetensors(blob).items():
        write("bad.safetensors", contents)
        for args in (["model", "info", "bad.safetensors"],
                     ["bench", "--model", "./bad.safetensors", "--profile", "quick"]):
            fails(f"safetensors, {what}", args, "bad.safetensors", *words)
    os.truncate("bad.safetensors", 1 << 40)
    fails("safetensors, 1 TiB", ["model", "info", "bad.safetensors"], "bad.safetensors", str(1 << 40))
    fails("safetensors, missing", ["model", "info", "none.safetensors"], "none.safetensors")
    fails("safetensors, a folder", ["model", "info", "./data"], "data")
    os.mkfifo("fifo.safetensors")
    fails("safetensors, a FIFO", ["model", "info", "fifo.safetensors"], "fifo.safetensors")


# ---- scripts: what shows only while they run ----

SCRIPT = """local pare = require "pare"
return pare.experiment {
  name = "x", dataset = pare.dataset("glyphs", { train = 600, val = 100, test = 200 }),
  model = pare.model("lenet300"):init(), seeds = { 1, 2, 3 },
  pipelines = { {}, { { "ptq", bits = 8, calibration_samples = 32 } } },
"""


def rows(path):
    csv.field_size_limit(1 << 30)
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def scripts():
    run = ["run", "x.lua", "--profile", "quick", "--quiet"]
    fails("no script", ["run", "absent.lua"], "absent.lua", "No such file")
    os.makedirs("folder.lua")
    fails("a folder as script", ["run", "folder.lua"], "folder.lua")
    hooks = {
        "loops": ("while true do end", ["x.lua:7", "1000000000 instructions"]),
        "allocates": ("local s = string.rep('x', 1 << 40)", ["x.lua:7", "out of memory", "256 MiB"]),
        "raises": ("error 'oh no'", ["x.lua:7", "oh no"]),
    }
    for what, (body, words) in hooks.items():
        write("x.lua", (SCRIPT + f"on_record = function()\n{body}\nend }}\n").encode())
        out = f"hook-{what}.csv"
        fails(f"hook that {what}", [*run, "--out", out], *words)
        # The measured row is kept: what the hook did wrong costs no measurement.
        check([row["status"] for row in rows(out)] == ["ok"], f"hook that {what}: {rows(out)}")


# ---- plugins ----

def compile_plugin(name, variant):
    """A variant of tests/plugins/wrong_plugin.c, as an author would build it."""
    source = os.path.join(SOURCE, "tests/plugins/wrong_plugin.c")
    subprocess.run(["cc", "-shared", "-fPIC", f"-DVARIANT_{variant}", "-I",
                    os.path.join(SOURCE, "harness/include"), source, "-o", name], check=True)


def plugins():
    if not shutil.which("cc"):
        print("no cc here: the plugins are left out")
        return
    os.mkdir("plugins")
    compile_plugin("plugins/good.so", "GOOD")
    with open("plugins/good.so", "rb") as file:
        good = file.read()
    elf = bytearray(good)
    machine = struct.unpack("<H", elf[18:20])[0]
    elf[18:20] = struct.pack("<H", 183 if machine != 183 else 62)
    write("plugins/other_machine.so", bytes(elf))
    write("plugins/text.so", b"this is no shared object\n")
    write("plugins/empty.so", b"")
    write("plugins/torn.so", good[:1000])
    for variant in ("NO_SYMBOL", "WRONG_MAJOR", "WRONG_MAGIC", "SMALL_HOST", "DUPLICATE", "MISSING_LIBRARY"):
        compile_plugin(f"plugins/{variant.lower()}.so", variant)
    cases = {
        "text": ["not an ELF"],
        "empty": ["ELF"],
        "torn": ["truncated"],
        "other_machine": ["AArch64", "x86-64", "build it for this machine"],
        "no_symbol": ["pare_plugin_entry"],
        "wrong_major": ["ABI 2.0", "1.0"],
        "wrong_magic": ["magic", "12345678"],
        "small_host": ["pare_host"],
        "missing_library": ["a_function_that_no_library_has"],
        "absent": ["No such file"],
    }
    for name, words in cases.items():
        fails(f"plugin, {name}", ["list", "methods", "--plugin-path", f"plugins/{name}.so"],
              f"plugins/{name}.so", *words)
    fails("plugin, same id", ["list", "methods", "--plugin-path", "plugins/good.so", "--plugin-path",
                              "plugins/duplicate.so"], "duplicate.so", "good", "already provided", "good.so")
    # In a folder, a bad one costs itself only, with one warning each.
    status, out, err = pare("list", "methods", "--plugin-path", "plugins")
    check(status == 0 and "good " in out and "ptq" in out, f"folder of plugins: {status} {out}")
    for name in cases.keys() - {"absent"} | {"duplicate"}:
        check(sum(f"/{name}.so" in line and "warning" in line for line in err.splitlines()) == 1,
              f"folder of plugins: no warning of {name}: {err}")


# ---- records ----

def full_disk():
    """The first rows fit, then no more: whole rows stay, and --resume goes on with exactly the rest."""
    run = ["run", "x.lua", "--profile", "quick", "--quiet", "--resume", "--out", "full.csv"]
    status, _, err = pare(*run, "--filter", "fp32*")
    check(status == 0, f"before the disk is full: {err}")
    n_before = len(rows("full.csv"))
    # A limit on the size of files stands for the disk; inherited by what is run.
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize("full.csv") + 1000, old[1]))
    status, out, err = pare(*run)
    resource.setrlimit(resource.RLIMIT_FSIZE, old)
    check(status == 2 and err.count("\n") == 1 and out == "", f"full disk: {status} {out}{err}")
    for word in ("full.csv", "cannot append a row of", "File too large", "--resume"):
        check(word in err, f"full disk: '{word}' is not in {err}")
    with open("full.csv", "rb") as file:
        check(file.read().endswith(b"\n"), "full disk: half a row is left")
    check(len(rows("full.csv")) == n_before, "full disk: rows were lost")
    status, out, err = pare(*run)
    check(status == 0 and f"3 done, 0 failed, {n_before} skipped" in out, f"after the disk is full: {out}{err}")
    check(len(rows("full.csv")) == 6, f"after the disk is full: {len(rows('full.csv'))} rows")


def tmpfs():
    """The same on a file system that is really full, where this user may mount one."""
    script = ('mkdir disk && mount -t tmpfs -o size=16k none disk && head -c 8192 /dev/zero >disk/fill && '
              'exec "$@"')
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode != 0:
        print("no mount namespaces here: the full tmpfs is left out")
        return
    env = dict(os.environ, PARE_HOME=SOURCE, PARE_CACHE="/nonexistent")
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script, "sh", PARE, "run", "x.lua", "--profile", "quick",
                           "--quiet", "--out", "disk/full.csv"], env=env, capture_output=True, text=True,
                          timeout=240, check=False)
    check(done.returncode == 2 and done.stderr.count("\n") == 1 and "disk/full.csv" in done.stderr
          and "No space left on device" in done.stderr, f"full tmpfs: {done}")


def records():
    write("x.lua", (SCRIPT + "}\n").encode())
    run = ["run", "x.lua", "--profile", "quick", "--quiet", "--out"]
    fails("CSV in /proc", [*run, "/proc/no/rows.csv"], "/proc/no")
    fails("CSV is a folder", [*run, "plugins"], "plugins", "directory")
    write("file", b"")
    fails("CSV under a file", [*run, "file/rows.csv"], "file")
    os.chmod("file", 0o444)
    if os.geteuid() != 0:
        fails("CSV read-only", [*run, "file"], "file", "Permission denied")
    fails("CSV on a full device", [*run, "/dev/full"], "/dev/full")
    write("prose.csv", b"Dear diary\ntoday\n")
    fails("not a CSV of ours", [*run, "prose.csv", "--resume"], "prose.csv", "first line", "schema_version")
    with open("prose.csv", "rb") as file:
        check(file.read() == b"Dear diary\ntoday\n", "a file that is not ours was changed")
    full_disk()
    tmpfs()

    with open("full.csv", encoding="utf-8") as file:
        header, first, rest = file.read().split("\n", 2)
    version = first.split(",")[0]
    other = f"{header}\n{first.replace(version, '99', 1)}\n{rest}"
    write("other.csv", other.encode())
    fails("CSV of schema 99", [*run, "other.csv", "--resume"], "other.csv", "line 2", "99", version)
    fails("merge of schema 99", ["merge", "other.csv", "-o", "all.csv"], "other.csv", "line 2", "99", version)
    with open("other.csv", encoding="utf-8") as file:
        check(file.read() == other, "a file of another schema was changed")
    write("samples", b"")
    fails("samples under a file", [*run, "rows.csv", "--keep-samples", "samples/s.csv"], "samples/s.csv")


def killed():
    """SIGKILL after the first row; test_kill_resume.sh does it at random moments, many times."""
    env = dict(os.environ, PARE_HOME=SOURCE, PARE_CACHE="/nonexistent")
    process = subprocess.Popen([PARE, "run", "x.lua", "--profile", "quick", "--out", "killed.csv"], env=env,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    for _ in process.stderr:  # the first line of progress
        break
    while process.poll() is None and not (os.path.exists("killed.csv") and len(rows("killed.csv")) > 0):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    n = len(rows("killed.csv"))
    check(process.returncode == -signal.SIGKILL and 0 < n < 6, f"killed: {process.returncode}, {n} rows")
    status, out, err = pare("run", "x.lua", "--profile", "quick", "--quiet", "--resume", "--out", "killed.csv")
    check(status == 0 and f"{6 - n} done, 0 failed, {n} skipped" in out, f"after the kill: {out}{err}")


def main():
    for name, shape in (("grey", "1x28x28"), ("colour", "3x32x32")):
        status, _, err = pare("model", "export", "lenet300", "--input", shape, "--out", f"{name}.safetensors")
        assert status == 0, err
    for part in (idx_files, cifar_files, safetensors_files, scripts, plugins, records, killed):
        part()
    failures.end()


main()
