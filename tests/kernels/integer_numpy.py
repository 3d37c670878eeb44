# SPDX-License-Identifier: MIT
"""The integer arithmetic of plugins/backends/README.md in numpy, a third time and from its text.

integer_numpy.py MODEL.safetensors IMAGES.f32 OUTPUTS.f32 runs a model, all of whose layers are quantized and
whose batch norms are folded, on IMAGES (n,H,W,C) and compares with OUTPUTS (n,classes), bit for bit.
"""
import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))
import read_safetensors  # noqa: E402

F32, F64 = np.float32, np.float64
KEEPS_GRID = ("relu", "max_pool", "flatten", "shortcut_a", "quantize")


class Value:
    """Codes (n, ...) int64 with their grid, or reals (grid None)."""

    def __init__(self, data, grid=None):
        self.data, self.grid = data, grid

    def shifted(self):
        return self.data - self.grid["zero_point"]


def scale(grid):
    return F64(F32(grid["scale"]))


def store(product, grid, relu):
    """clamp(z + rne(product), lo, qmax)"""
    assert product.dtype == F32
    lo = grid["zero_point"] if relu else grid["qmin"]
    return Value(np.clip(grid["zero_point"] + np.rint(product).astype(np.int64), lo, grid["qmax"]), grid)


def windows(x, kernel, stride, pad, fill):
    """(n,H,W,C) -> (n,H',W',C,KH,KW)"""
    x = np.pad(x, ((0, 0), (pad[0], pad[0]), (pad[1], pad[1]), (0, 0)), constant_values=fill)
    return np.lib.stride_tricks.sliding_window_view(x, kernel, (1, 2))[:, ::stride[0], ::stride[1]]


def exact_product(a, b):
    """a (...,k) @ b (k,n) of integers, in double, which is fast and as exact as long as it stays below 2^53."""
    assert np.abs(a).max() * np.abs(b).sum(0).max() < 2**53
    return (a.astype(F64) @ b.astype(F64)).astype(np.int64)


def accumulate(node, x, codes):
    """sum (a - z) w, exact"""
    if node["op"] == "linear":
        return exact_product(x.shifted(), codes.T)
    groups = node.get("groups", 1)
    w = windows(x.shifted(), node["kernel"], node["stride"], node.get("pad", [0, 0]), 0)
    w = w.transpose(0, 1, 2, 4, 5, 3)  # (n,H',W',KH,KW,C)
    parts = [exact_product(a.reshape(*a.shape[:3], -1), b.reshape(len(b), -1).T)
             for a, b in zip(np.split(w, groups, 5), np.split(codes, groups, 0))]
    return np.concatenate(parts, 3)


def layer(node, x, weights, scales, grid, relu):
    s_a, s_w = scale(x.grid), scales[node["name"] + ".weight"].astype(F64)
    w = weights[node["name"] + ".weight"]
    s_w = np.broadcast_to(s_w, w.shape[:1])
    codes = np.rint(w / s_w.astype(F32).reshape(-1, *[1] * (w.ndim - 1))).astype(np.int64)
    s_o = F64(1) if grid is None else scale(grid)
    bias = weights[node["name"] + ".bias"].astype(F64) if node["bias"] else F64(0)
    y = accumulate(node, x, codes).astype(F32) * (s_a * s_w / s_o).astype(F32) + (bias / s_o).astype(F32)
    if grid is None:  # logits
        return Value(np.maximum(y, F32(0)) if relu else y)
    return store(y, grid, relu)


def add(a, b, grid, relu):
    terms = [v.shifted().astype(F32) * F32(scale(v.grid) / scale(grid)) for v in (a, b)]
    return store(terms[0] + terms[1], grid, relu)


def average(node, x, grid):
    if node["op"] == "global_avg_pool":
        acc, n = x.shifted().sum((1, 2)), x.data.shape[1] * x.data.shape[2]
    else:
        acc = windows(x.shifted(), node["kernel"], node["stride"], [0, 0], 0).sum((4, 5))
        n = node["kernel"][0] * node["kernel"][1]
    return store(acc.astype(F32) * F32(scale(x.grid) / (F64(n) * scale(grid))), grid, False)


def move(node, x):
    """The operators that keep codes as they are."""
    if node["op"] == "quantize":
        y = x.data
    elif node["op"] == "flatten":
        y = x.data.reshape(len(x.data), -1)
    elif node["op"] == "relu":
        y = np.maximum(x.data, x.grid["zero_point"])
    elif node["op"] == "max_pool":
        least = np.iinfo(np.int64).min
        y = windows(x.data, node["kernel"], node["stride"], node.get("pad", [0, 0]), least).max((4, 5))
    else:
        y = x.data[:, ::node["stride"][0], ::node["stride"][1]]
        before = (node["out_channels"] - y.shape[3]) // 2
        after = node["out_channels"] - y.shape[3] - before
        y = np.pad(y, ((0, 0),) * 3 + ((before, after),), constant_values=x.grid["zero_point"])
    return Value(y, x.grid)


def requantize(x, grid):
    if grid == x.grid:
        return x
    if grid["bits"] == 1:
        return Value(np.where(x.shifted() >= 0, 1, -1), grid)
    return store(x.shifted().astype(F32) * F32(scale(x.grid) / scale(grid)), grid, False)


def run(graph, weights, scales, images):
    nodes = graph["nodes"]
    readers = [[k for k, n in enumerate(nodes) if i in n.get("inputs", [])] for i in range(len(nodes))]
    values = [None] * len(nodes)
    for i, node in enumerate(nodes):
        grid = node.get("activation")
        if values[i] is not None:
            continue
        if node["op"] == "input":
            values[i] = store(images / F32(grid["scale"]), grid, False)
            continue
        x = [values[k] for k in node["inputs"]]
        end, relu = i, False
        if node["op"] in ("conv2d", "linear", "add") and len(readers[i]) == 1 and grid is None \
                and nodes[readers[i][0]]["op"] == "relu":
            end, relu = readers[i][0], True
            grid = nodes[end].get("activation")
        if node["op"] in ("conv2d", "linear"):
            values[end] = layer(node, x[0], weights, scales, grid, relu)
        elif node["op"] == "add":
            values[end] = add(*x, grid, relu)
        elif node["op"] in ("avg_pool", "global_avg_pool"):
            values[end] = average(node, x[0], grid)
        elif node["op"] in KEEPS_GRID:
            values[end] = requantize(move(node, x[0]), grid or x[0].grid)
        else:
            sys.exit(f"{node['name']}: {node['op']} has no integer form here")
    last = values[-1]
    return last.data if last.grid is None else last.shifted().astype(F32) * F32(last.grid["scale"])


def main():
    model, images, outputs = sys.argv[1:]
    graph, weights = read_safetensors.load(model)
    _, tensors = read_safetensors.read(model)
    scales = {name[:-len(".scale")]: t for name, t in tensors.items() if name.endswith(".scale")}
    x = np.fromfile(images, "<f4").reshape(-1, *graph["input"])
    wanted = np.fromfile(outputs, "<f4").reshape(len(x), -1)
    got = run(graph, weights, scales, x).astype("<f4")
    different = got.view(np.int32) != wanted.view(np.int32)
    if different.any():
        sys.exit(f"{different.sum()} of {different.size} outputs differ: {got[different][:5]} here, "
                 f"{wanted[different][:5]} there")
    print(f"{graph['name']}: {len(x)} images, {different.size} outputs, same bits")


if __name__ == "__main__":
    main()
