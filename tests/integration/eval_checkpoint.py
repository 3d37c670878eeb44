# SPDX-License-Identifier: MIT
"""The committed checkpoints on MNIST, evaluated a second time in numpy and in double, from the files alone:
the reader is read_safetensors.py, the network is the graph in the file, the arithmetic is below.

    eval_checkpoint.py PARE SOURCE_DIR [N_IMAGES]      (0: all 10,000)

`pare model eval` gives the logits of all images. Those of the first N_IMAGES must be ours, within float
rounding; its top1 must be what its logits and the labels give, and its notes must not promise more."""
import csv
import glob
import gzip
import io
import os
import struct
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "script"))
sys.dont_write_bytecode = True
from pare_process import SOURCE, pare  # noqa: E402
from read_safetensors import load, read  # noqa: E402

MEAN, STDDEV = 0.1307, 0.3081  # datasets/README.md
BATCH = 100


def idx(folder, name):
    for path, opener in ((f"{folder}/{name}", open), (f"{folder}/{name}.gz", gzip.open)):
        if os.path.exists(path):
            with opener(path, "rb") as file:
                blob = file.read()
            n_dims = blob[3]
            dims = struct.unpack(f">{n_dims}I", blob[4:4 + 4 * n_dims])
            return np.frombuffer(blob, np.uint8, offset=4 + 4 * n_dims).reshape(dims)
    return None


def windows(x, node, fill):
    """(N,H',W',KH,KW,C) views of x (N,H,W,C), padded with `fill`."""
    (kh, kw), (sh, sw), (ph, pw) = node["kernel"], node["stride"], node.get("pad", (0, 0))
    x = np.pad(x, ((0, 0), (ph, ph), (pw, pw), (0, 0)), constant_values=fill)
    view = np.lib.stride_tricks.sliding_window_view(x, (kh, kw), axis=(1, 2))[:, ::sh, ::sw]
    return view.transpose(0, 1, 2, 4, 5, 3)


def conv2d(x, node, weight):
    groups = node.get("groups", 1)
    w = weight("weight")  # (OC,KH,KW,IC/groups)
    oc, ic = w.shape[0] // groups, w.shape[3]
    parts = []
    for g in range(groups):
        view = windows(x[..., g * ic:(g + 1) * ic], node, 0.0)
        columns = view.reshape(*view.shape[:3], -1)
        parts.append(columns @ w[g * oc:(g + 1) * oc].reshape(oc, -1).T)
    y = np.concatenate(parts, axis=-1)
    return y + weight("bias") if node.get("bias") else y


def shortcut_a(x, node):
    sh, sw = node["stride"]
    y = x[:, ::sh, ::sw]
    more = node["out_channels"] - y.shape[-1]
    return np.pad(y, ((0, 0), (0, 0), (0, 0), (more // 2, more - more // 2)))


def forward(graph, weights, images):
    """images (N,H,W,C) -> (N,classes)"""
    values = [images]
    for node in graph["nodes"][1:]:
        x = values[node["inputs"][0]]

        def weight(role, name=node["name"]):
            return weights[f"{name}.{role}"].astype(np.float64)

        op = node["op"]
        if op == "conv2d":
            y = conv2d(x, node, weight)
        elif op == "linear":
            y = x @ weight("weight").T + (weight("bias") if node["bias"] else 0)
        elif op == "batch_norm":
            spread = np.sqrt(weight("running_var") + node.get("eps", 1e-5))
            y = (x - weight("running_mean")) / spread * weight("weight") + weight("bias")
        elif op == "relu":
            y = np.maximum(x, 0)
        elif op == "add":
            y = x + values[node["inputs"][1]]
        elif op == "max_pool":
            y = windows(x, node, -np.inf).max(axis=(3, 4))
        elif op == "avg_pool":
            y = windows(x, node, 0.0).mean(axis=(3, 4))
        elif op == "global_avg_pool":
            y = x.mean(axis=(1, 2))
        elif op == "flatten":
            y = x.reshape(len(x), -1)
        elif op == "quantize":
            y = x
        elif op == "shortcut_a":
            y = shortcut_a(x, node)
        else:
            raise ValueError(f"{node['name']}: no such operator here: {op}")
        values.append(y)
    return values[-1]


def evaluate(path, images, labels, n_images, folder):
    name = os.path.basename(path)
    status, out, err = pare("model", "eval", path, "--dataset", "mnist", "--backend", "ref", "--logits",
                            "logits.f32", "--format", "csv", datasets=folder, timeout=600)
    assert status == 0, f"{name}: {err}"
    row = next(csv.DictReader(io.StringIO(out)))
    theirs = np.fromfile("logits.f32", np.float32).reshape(len(labels), -1)
    top1 = (theirs.argmax(axis=1) == labels).mean()
    assert abs(top1 - float(row["top1"])) < 1e-9, f"{name}: top1 {row['top1']}, its logits give {top1}"

    graph, weights = load(path)
    n = n_images or len(labels)
    pixels = (images[:n, :, :, None] / 255.0 - MEAN) / STDDEV
    ours = np.concatenate([forward(graph, weights, pixels[i:i + BATCH]) for i in range(0, n, BATCH)])
    worst = np.abs(ours - theirs[:n]).max()
    span = np.abs(ours).max()
    print(f"{name}: top1 {top1:.4f} of {len(labels)}; {n} images again: top1 "
          f"{(ours.argmax(axis=1) == labels[:n]).mean():.4f}, largest logit {span:.1f}, "
          f"largest difference {worst:.2g}")
    assert worst <= 1e-5 * span, f"{name}: logits differ by {worst}"
    assert (ours.argmax(axis=1) == theirs[:n].argmax(axis=1)).all(), f"{name}: other classes"
    promised = {k: v for k, v in read(path)[0].items() if k == "note.top1"}
    for value in promised.values():
        assert abs(float(value) - top1) < 1e-3, f"{name}: its notes say top1 {value}, measured {top1}"


def main():
    n_images = int(sys.argv[3]) if len(sys.argv) > 3 else 500
    paths = sorted(glob.glob(os.path.join(os.environ.get("PARE_CHECKPOINTS", SOURCE + "/datasets/checkpoints"),
                                          "*-mnist.safetensors")))
    folders = [f for f in os.environ.get("PARE_DATASETS", "").split(":") if f]
    found = [(f, idx(f + "/mnist", "t10k-images-idx3-ubyte"), idx(f + "/mnist", "t10k-labels-idx1-ubyte"))
             for f in folders]
    found = [entry for entry in found if entry[1] is not None and entry[2] is not None]
    if not paths or not found:
        print("SKIPPED:", "no checkpoint *-mnist.safetensors" if not paths else "MNIST is not in PARE_DATASETS")
        sys.exit(77)
    folder, images, labels = found[0]
    for path in paths:
        evaluate(path, images, labels, n_images, folder)


main()
