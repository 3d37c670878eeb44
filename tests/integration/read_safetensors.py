# SPDX-License-Identifier: MIT
"""An independent reader of pare's model files: numpy and zlib only, written from harness/src/model/README.md.

    read(path) -> (metadata, tensors as stored)      load(path) -> (graph, weights as fp32 arrays)

As a program: read_safetensors.py FILE DUMP compares every weight with DUMP/<name>.f32, bit for bit.
"""
import json
import os
import sys
import zlib

import numpy as np

DTYPES = {"F32": np.dtype("<f4"), "U8": np.dtype("u1")}


def read(path):
    with open(path, "rb") as file:
        metadata, tensors = parse(file.read())
    if "pare.header" in metadata:  # the file within the file
        outer = tensors["pare.model"].tobytes()
        deflated, n = (int.from_bytes(outer[k:k + 8], "little") for k in (0, 8))
        header = zlib.decompress(outer[16:16 + deflated])
        assert len(header) == n
        metadata, tensors = parse(n.to_bytes(8, "little") + header + outer[16 + deflated:])
    return metadata, tensors


def parse(blob):
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


def bits_of(data, n):
    """Number i of n bits each: (len // n)."""
    flat = np.unpackbits(data, bitorder="little")
    flat = flat[:len(flat) // n * n].reshape(-1, n).astype(np.int64)
    return (flat << np.arange(n)).sum(axis=1)


class Coded:
    """A coded row: next() gives its numbers one by one."""

    def __init__(self, data):
        self.raw = int(data[0])
        first, n = int(data[1]) + 256 * int(data[2]), int(data[3]) + 256 * int(data[4]) + 1
        lengths = [int(data[5 + i // 2]) >> (i % 2 * 4) & 15 for i in range(n)]
        self.symbols, code = {}, 0
        for bits in range(1, 16):
            code <<= 1
            for i in range(n):
                if lengths[i] == bits:
                    self.symbols[bits, code] = first + i
                    code += 1
        if n == 1 and lengths[0] == 0:
            self.symbols[0, 0] = first
        self.bits = iter(np.unpackbits(data[5 + (n + 1) // 2:], bitorder="little").tolist())

    def next(self):
        n = code = 0
        while (n, code) not in self.symbols:
            n, code = n + 1, 2 * code + next(self.bits)
        return self.symbols[n, code] << self.raw | sum(next(self.bits) << k for k in range(self.raw))


def kept_places(name, n, storage, tensors):
    """Which of n elements have a value in the file: (n) bool."""
    encoding, kept = storage["encoding"], np.zeros(n, bool)
    if encoding == "bitmap":
        return np.unpackbits(tensors[name + ".mask"], bitorder="little")[:n].astype(bool)
    if encoding == "2:4":
        digits = tensors[name + ".pairs"][:, None] // 6 ** np.arange(3) % 6
        pairs = np.array([0x3, 0x5, 0x9, 0x6, 0xa, 0xc])[digits.reshape(-1)[:n // 4]]
        return (pairs[:, None] >> np.arange(4) & 1).astype(bool).reshape(-1)
    if encoding == "relative":
        bits, at = storage["gap_bits"], 0
        filler, gaps = 2 ** bits - 1, tensors[name + ".gaps"]
        if "gaps" in storage:
            coded = Coded(gaps)
            numbers = iter(coded.next, None)
        else:
            numbers = iter(bits_of(gaps, bits).tolist())
        while kept.sum() < storage["kept"]:
            gap = next(numbers)
            at += gap
            if gap != filler:
                kept[at] = True
                at += 1
        return kept
    return ~kept


def stored_values(name, m, storage, tensors):
    """The m values, fp32, or codes, that the file has."""
    coded = Coded(tensors[name + ".coded"]) if "values" in storage else None
    numbers = np.array([coded.next() for _ in range(m)], np.uint64) if coded else None
    if "codebook" in storage:
        size = storage["codebook"]
        if numbers is None:
            width = (size - 1).bit_length()
            numbers = bits_of(tensors[name + ".index"], width)[:m] if width else np.zeros(m, int)
        return tensors[name + ".codebook"][numbers.astype(np.int64)]
    if "bits" in storage:
        bits, qmax = storage["bits"], storage["qmax"]
        if numbers is None:
            return unpack(tensors[name + ".packed"], bits, qmax, m)
        return 2 * numbers.astype(np.int64) - 1 if bits == 1 else numbers.astype(np.int64) - qmax
    if numbers is not None:  # exponent, sign, mantissa
        words = (numbers >> 23 & 1) << 31 | numbers >> 24 << 23 | numbers & 0x7fffff
        return words.astype(np.uint32).view(np.float32)
    dense = storage["encoding"] in ("dense", "zeros")
    return tensors[name if dense else name + ".values"].reshape(-1)


def weight(name, shape, storage, tensors):
    """One weight as the fp32 array that a float execution uses."""
    if storage is None:
        return tensors[name]
    n = int(np.prod(shape))
    kept = kept_places(name, n, storage, tensors)
    flat = np.zeros(n, np.float32)
    flat[kept] = stored_values(name, int(kept.sum()), storage, tensors)
    if "bits" not in storage:
        return flat.reshape(shape)
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
