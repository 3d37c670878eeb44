# SPDX-License-Identifier: MIT
"""An independent reader of pare's model files: numpy only, written from harness/src/model/README.md.

    read(path) -> (metadata, tensors as stored)      load(path) -> (graph, weights as fp32 arrays)

As a program: read_safetensors.py FILE DUMP compares every weight with DUMP/<name>.f32, bit for bit.
"""
import json
import os
import sys

import numpy as np

DTYPES = {"F32": np.dtype("<f4"), "U8": np.dtype("u1")}


def read(path):
    with open(path, "rb") as file:
        blob = file.read()
    n = int.from_bytes(blob[:8], "little")
    header = json.loads(blob[8:8 + n])
    metadata = header.pop("__metadata__")
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        data = np.frombuffer(blob[8 + n + begin:8 + n + end], DTYPES[entry["dtype"]])
        tensors[name] = data.reshape(entry["shape"])
    return metadata, tensors


def unpack(packed, bits, qmax, n):
    """Codes (n) from packed bytes."""
    if bits == 2:  # 5 codes per byte, base 3
        digits = packed[:, None] // 3 ** np.arange(5) % 3
        return digits.reshape(-1)[:n].astype(np.int64) - 1
    flat = np.unpackbits(packed, bitorder="little")[:n * bits].reshape(n, bits)
    value = (flat.astype(np.int64) << np.arange(bits)).sum(axis=1)
    return 2 * value - 1 if bits == 1 else value - qmax


def weight(name, shape, storage, tensors):
    """One weight as the fp32 array that a float execution uses."""
    if storage is None or ("bits" not in storage and storage["encoding"] != "bitmap"):
        return tensors[name]
    n = int(np.prod(shape))
    kept = np.ones(n, bool)
    if storage["encoding"] == "bitmap":
        kept = np.unpackbits(tensors[name + ".mask"], bitorder="little")[:n].astype(bool)
    flat = np.zeros(n, np.float32)
    if "bits" not in storage:
        flat[kept] = tensors[name + ".values"]
        return flat.reshape(shape)
    flat[kept] = unpack(tensors[name + ".packed"], storage["bits"], storage["qmax"], kept.sum())
    scale = np.repeat(tensors[name + ".scale"], n // len(tensors[name + ".scale"]))
    return (scale * flat).reshape(shape)


def shapes(graph):
    """name -> shape of every weight, from the graph alone."""
    out, values = {}, [tuple(graph["input"])]
    for node in graph["nodes"][1:]:
        shape = values[node["inputs"][0]]
        op, name = node["op"], node["name"]
        if op == "batch_norm":
            for suffix in ("weight", "bias", "running_mean", "running_var"):
                out[f"{name}.{suffix}"] = (shape[-1],)
        if op in ("conv2d", "linear"):
            oc, groups = node["out_channels"], node.get("groups", 1)
            window = (*node["kernel"], shape[-1] // groups) if op == "conv2d" else shape
            out[f"{name}.weight"] = (oc, *window)
            if node["bias"]:
                out[f"{name}.bias"] = (oc,)
        if "kernel" in node:
            pad = node.get("pad", [0, 0])
            shape = (*[(shape[i] + 2 * pad[i] - node["kernel"][i]) // node["stride"][i] + 1 for i in (0, 1)],
                     shape[2])
        if op == "shortcut_a":
            shape = (*[(shape[i] - 1) // node["stride"][i] + 1 for i in (0, 1)], shape[2])
        if op == "linear":
            shape = ()
        if "out_channels" in node:
            shape = (*shape[:2], node["out_channels"])
        if op == "global_avg_pool":
            shape = shape[2:]
        if op == "flatten":
            shape = (int(np.prod(shape)),)
        values.append(shape)
    return out


def load(path):
    metadata, tensors = read(path)
    graph = json.loads(metadata["pare.graph"])
    storage = {f"{node['name']}.{role}": entry for node in graph["nodes"]
               for role, entry in node.get("storage", {}).items()}
    return graph, {name: weight(name, shape, storage.get(name), tensors)
                   for name, shape in shapes(graph).items()}


def main():
    path, dump = sys.argv[1:]
    _, weights = load(path)
    assert sorted(weights) == sorted(f[:-4] for f in os.listdir(dump)), "other names than in the dump"
    for name, value in weights.items():
        wanted = np.fromfile(os.path.join(dump, name + ".f32"), "<f4").reshape(value.shape)
        assert value.tobytes() == wanted.tobytes(), f"{name}: differs from the dump"
        print(f"{name} {value.shape}: same bits")


if __name__ == "__main__":
    main()
