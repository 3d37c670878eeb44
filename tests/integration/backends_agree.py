# SPDX-License-Identifier: MIT
"""Whole quantized networks on every backend and level: the logits of a test set must be ref's, bit for bit.

backends_agree.py PARE DUMP_OUTPUTS MODEL DATASET N [BITS..]

MODEL is a checkpoint, or a network's name for seeded untrained weights. N images, 0: all. Levels that this
machine lacks are named and left out. Exit status 77: skipped, the dataset or the checkpoint is not there.
"""
import os
import sys
import tempfile

import integer_checkpoint as tools

# Backend, and the name of a level, "" for what it chooses itself.
SUBJECTS = [("ref", "portable-avx2"), ("x86", "sse"), ("x86", "avx2"), ("x86", "avx512"),
            ("x86", "avx-vnni"), ("x86", "avx512-vnni"), ("x86", ""), ("auto", "")]


def outputs(dump, model, dataset, n, backend, isa, folder):
    """(execution, bytes), or None where the machine lacks the level or the build the backend."""
    args = [dump, model, dataset, n, backend, folder] + ([isa] if isa else [])
    status, out, err = tools.attempt(*args)
    if status != 0 and ("this machine has" in err or "no backend" in err):
        print(f"left out: {backend} {isa}: {err.strip()}")
        return None
    if status != 0:
        sys.exit(f"{args}: exit status {status}\n{err}")
    with open(os.path.join(folder, "outputs.f32"), "rb") as file:
        return out.strip(), file.read()


def check(pare, dump, model, dataset, n, bits, folder):
    small = os.path.join(folder, "small.safetensors")
    tools.call(pare, "model", "quantize", model, "--dataset", dataset, "--set", f"bits={bits}", "--out", small)
    execution, wanted = outputs(dump, small, dataset, n, "ref", "portable", folder)
    assert execution == "integer", execution
    n_compared = 0
    for backend, isa in SUBJECTS:
        got = outputs(dump, small, dataset, n, backend, isa, folder)
        if got is None:
            continue
        assert got[0] == execution, (backend, isa, got[0])
        if got[1] != wanted:
            differ = sum(a != b for a, b in zip(got[1], wanted))
            sys.exit(f"{model} at {bits} bits: {backend} {isa}: {differ} of {len(wanted)} bytes of "
                     f"logits differ from ref's")
        n_compared += 1
    assert n_compared >= 1
    print(f"{os.path.basename(model)} on {dataset}, {bits} bits: {len(wanted) // 40} images, {n_compared} levels agree with ref")


def main():
    pare, dump, model, dataset, n = sys.argv[1:6]
    tools.skip_unless_there(pare, model, dataset)
    with tempfile.TemporaryDirectory() as folder:
        if model in tools.UNTRAINED:
            path = os.path.join(folder, model + ".safetensors")
            tools.call(pare, "model", "export", model, "--input", "1x28x28", "--out", path)
            model = path
        for bits in sys.argv[6:] or ["8", "4", "2"]:
            check(pare, dump, model, dataset, int(n), bits, folder)


main()
