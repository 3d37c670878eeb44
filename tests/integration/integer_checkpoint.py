# SPDX-License-Identifier: MIT
"""A whole network, quantized by pare and run twice: by a backend of pare's, and by integer_numpy.py.

integer_checkpoint.py PARE DUMP_OUTPUTS MODEL DATASET [N [BACKEND [BITS..]]]

MODEL is a checkpoint, by name or file, or a network's name for seeded untrained weights. `pare model quantize`
makes it 8, 4 and 2 bits (or BITS); then the logits of N test images (200; 0: all) must be the same bits, and so
must the accuracy that `pare model eval` tells, if N is 0. MNIST's images are also read here, from its files.
Exit status 77: skipped, the dataset or the checkpoint is not there.
"""
import csv
import gzip
import io
import os
import subprocess
import sys
import tempfile

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path += [HERE, os.path.join(HERE, "..", "kernels")]
import integer_numpy  # noqa: E402
import read_safetensors  # noqa: E402

UNTRAINED = ("lenet5", "resnet20")
N_BATCH = 100


def skip_unless_there(pare, model, dataset):
    """The two things a machine may lack, asked for by name: other failures are failures."""
    for words, command in (("no such file", ("model", "info", model)),
                           (f"dataset {dataset}: not found", ("data", "verify", dataset))):
        if (model in UNTRAINED if command[0] == "model" else dataset == "glyphs"):
            continue
        done = subprocess.run([pare, *command], capture_output=True, text=True)
        if words in done.stderr:
            print("SKIPPED:", done.stderr.strip())
            sys.exit(77)


def attempt(*args):
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def call(*args):
    status, out, err = attempt(*args)
    if status != 0:
        sys.exit(f"{args}: exit status {status}\n{err}")
    return out


def mnist_test_images(n):
    """(n,28,28,1), normalised: (pixel / 255 - 0.1307) / 0.3081."""
    for folder in os.environ.get("PARE_DATASETS", "").split(":"):
        path = os.path.join(folder, "mnist", "t10k-images-idx3-ubyte.gz")
        if os.path.exists(path):
            with gzip.open(path) as file:
                pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28, 1)[:n]
            return (pixels.astype(np.float64) / 255 - 0.1307) / 0.3081
    return None


def check_images(dataset, images):
    """The harness rounds once more often than this does, so it may be an ulp or two away."""
    mine = mnist_test_images(len(images)) if dataset == "mnist" else None
    if mine is not None:
        assert np.abs(images - mine).max() < 1e-6, "other images than in MNIST's file"


def check(pare, dump, model, dataset, n, backend, bits, folder):
    small = os.path.join(folder, "small.safetensors")
    call(pare, "model", "quantize", model, "--dataset", dataset, "--set", f"bits={bits}", "--out", small)
    execution = call(dump, small, dataset, n, backend, folder).strip()
    assert execution == "integer", f"executed as {execution}"
    graph, weights = read_safetensors.load(small)
    _, tensors = read_safetensors.read(small)
    scales = {name[:-len(".scale")]: t for name, t in tensors.items() if name.endswith(".scale")}
    images = np.fromfile(os.path.join(folder, "images.f32"), "<f4").reshape(-1, *graph["input"])
    labels = np.fromfile(os.path.join(folder, "labels.u8"), np.uint8)
    wanted = np.fromfile(os.path.join(folder, "outputs.f32"), "<f4").reshape(len(images), -1)
    check_images(dataset, images)
    got = np.concatenate([integer_numpy.run(graph, weights, scales, images[k:k + N_BATCH])
                          for k in range(0, len(images), N_BATCH)]).astype("<f4")
    different = (got.view(np.int32) != wanted.view(np.int32)).sum()
    top1 = (got.argmax(1) == labels).mean()
    print(f"{model} on {dataset}, {bits} bits: {len(images)} images, {different} of {got.size} logits "
          f"differ, {len(np.unique(got))} values, top-1 {top1:.4f}")
    assert different == 0, f"{backend} and numpy differ"
    assert len(np.unique(got)) > 10, "logits that are all alike say nothing"
    if n == 0:
        rows = call(pare, "model", "eval", small, "--dataset", dataset, "--backend", backend, "--format", "csv")
        told = float(next(csv.DictReader(io.StringIO(rows)))["top1"])
        assert abs(told - top1) < 1e-9, f"pare says {told}"


def main():
    pare, dump, model, dataset, *rest = sys.argv[1:]
    n = int(rest[0]) if rest else 200
    backend = rest[1] if len(rest) > 1 else "ref"
    skip_unless_there(pare, model, dataset)
    with tempfile.TemporaryDirectory() as folder:
        if model in UNTRAINED:
            path = os.path.join(folder, model + ".safetensors")
            call(pare, "model", "export", model, "--input", "1x28x28", "--out", path)
            model = path
        for bits in rest[2:] or (8, 4, 2):
            check(pare, dump, model, dataset, n, backend, bits, folder)


if __name__ == "__main__":
    main()
