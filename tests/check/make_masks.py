# SPDX-License-Identifier: MIT
"""make_masks.py FILE: a safetensors file with a mask for each layer of the models of `pare check`
(harness/src/check/life.c): every third weight pruned."""
import json
import struct
import sys

SHAPES = {
    "fc1": (24, 24), "fc2": (16, 24), "fc3": (5, 16),
    "conv1": (8, 3, 3, 3), "conv2": (8, 3, 3, 8), "conv3": (8, 3, 3, 4), "conv4": (12, 3, 3, 8), "fc": (5, 12),
}


def main():
    header, data = {}, b""
    for name, shape in SHAPES.items():
        n = 1
        for size in shape:
            n *= size
        header[name + ".weight"] = {"dtype": "U8", "shape": shape, "data_offsets": [len(data), len(data) + n]}
        data += bytes(int(k % 3 != 0) for k in range(n))
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(sys.argv[1], "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


main()
