#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Writes train.golden: what PyTorch computes for the operators, networks and training steps that
tests/unit/test_train_golden.c runs. See README.md beside this file for the format.

Made with Debian 12's python3-torch 1.13.1 on the CPU, one thread, float32:
    /usr/bin/python3 tests/golden/make_train_golden.py
Inputs and weights are not stored: both sides make them by the same hash (function `values`).
"""
import os
import struct
import zlib

import numpy as np
import torch
import torch.nn.functional as F

torch.set_num_threads(1)
torch.manual_seed(0)
OUT = []


def put(name, tensor):
    OUT.append((name, np.ascontiguousarray(tensor.detach().numpy(), dtype=np.float32)))


def values(name, n, scale=1.0, offset=0.0):
    """offset + scale * u, u in [-1,1) by hashing (crc32(name), index)."""
    x = (np.arange(n, dtype=np.uint64) * 2654435761 + zlib.crc32(name.encode())) & 0xFFFFFFFF
    for mul in (0x7FEB352D, 0x846CA68B):
        x ^= x >> np.uint64(16)
        x = (x * mul) & 0xFFFFFFFF
    x ^= x >> np.uint64(15)
    u = (x >> np.uint64(8)).astype(np.float64) / 2**23 - 1.0
    return torch.from_numpy((offset + scale * u).astype(np.float32))


def tensor(name, shape, scale=1.0, offset=0.0):
    return values(name, int(np.prod(shape)), scale, offset).reshape(shape)


class Weights:
    """The weights of one graph by our names, in our layouts; leaves of autograd."""

    def __init__(self, prefix):
        self.prefix, self.all = prefix, {}

    def get(self, name, shape, scale, offset=0.0, learn=True):
        if name not in self.all:
            w = tensor(self.prefix + name, shape, scale, offset)
            self.all[name] = w.requires_grad_(learn)
        return self.all[name]

    def conv(self, x, name, oc, kh, kw, stride=(1, 1), pad=(0, 0), groups=1, bias=False):
        """x (N,C,H,W); the weight is (OC,KH,KW,IC/groups)."""
        shape = (oc, kh, kw, x.shape[1] // groups)
        w = self.get(name + ".weight", shape, (2.0 / (kh * kw * shape[3])) ** 0.5)
        b = self.get(name + ".bias", (oc,), 0.2) if bias else None
        return F.conv2d(x, w.permute(0, 3, 1, 2), b, stride, pad, 1, groups)

    def linear(self, x, name, out):
        w = self.get(name + ".weight", (out, x.shape[1]), (2.0 / x.shape[1]) ** 0.5)
        return F.linear(x, w, self.get(name + ".bias", (out,), 0.2))

    def norm(self, x, name, train):
        c = (x.shape[1],)
        gamma = self.get(name + ".weight", c, 0.3, 1.0)
        beta = self.get(name + ".bias", c, 0.2)
        mean = self.get(name + ".running_mean", c, 0.1, 0.0, False)
        var = self.get(name + ".running_var", c, 0.5, 1.0, False)
        return F.batch_norm(x, mean, var, gamma, beta, train, 0.1, 1e-5)

    def learned(self):
        return {k: v for k, v in self.all.items() if v.requires_grad}


def flat(x):
    """(N,C,H,W) -> (N,H*W*C), or (N,C) as it is."""
    return x.permute(0, 2, 3, 1).flatten(1) if x.dim() == 4 else x


def shortcut_a(x, oc, sh, sw):
    before = (oc - x.shape[1]) // 2
    x = x[:, :, ::sh, ::sw]
    return F.pad(x, (0, 0, 0, 0, before, oc - x.shape[1] - before))


# ---- operators: name, (N,H,W,C), function of (weights, x) ----

def conv(oc, kh, kw, stride=(1, 1), pad=(0, 0), groups=1, bias=False):
    return lambda w, x: w.conv(x, "op", oc, kh, kw, stride, pad, groups, bias)


OPS = [
    ("conv_odd", (3, 6, 5, 5), conv(7, 3, 3, (1, 1), (1, 1), 1, True)),
    ("conv_stride2", (3, 9, 8, 8), conv(16, 3, 3, (2, 2), (1, 1))),
    ("conv_5x5", (2, 9, 9, 1), conv(20, 5, 5, bias=True)),
    ("conv_1x1_stride2", (3, 7, 6, 6), conv(12, 1, 1, (2, 2))),
    ("conv_groups", (3, 7, 6, 6), conv(4, 3, 3, (2, 2), (1, 1), 2, True)),
    ("conv_depthwise", (2, 6, 5, 9), conv(9, 3, 3, (1, 1), (1, 1), 9)),
    ("conv_uneven", (2, 8, 7, 3), conv(5, 3, 2, (2, 1), (0, 1))),
    ("conv_wide_pad", (2, 4, 5, 2), conv(3, 2, 2, (1, 1), (3, 3), 1, True)),
    ("conv_stride3", (2, 11, 10, 4), conv(6, 2, 2, (3, 3))),
    ("conv_16", (2, 10, 10, 16), conv(16, 3, 3, (1, 1), (1, 1))),
    ("conv_33_65", (1, 5, 6, 33), conv(65, 3, 3, (1, 1), (1, 1))),
    ("conv_17_images", (17, 5, 5, 4), conv(8, 3, 3, (1, 1), (1, 1), 1, True)),
    ("conv_winograd", (2, 14, 12, 16), conv(32, 3, 3, (1, 1), (1, 1))),
    ("conv_winograd_pads", (1, 8, 10, 32), conv(16, 3, 3, (1, 1), (0, 2))),
    ("linear", (17, 1, 1, 37), lambda w, x: w.linear(flat(x), "op", 29)),
    ("relu", (3, 4, 5, 7), lambda w, x: F.relu(x)),
    ("max_pool", (3, 6, 8, 5), lambda w, x: F.max_pool2d(x, 2, 2)),
    ("max_pool_pad", (3, 7, 8, 5), lambda w, x: F.max_pool2d(x, 3, 2, 1)),
    ("avg_pool", (3, 7, 8, 5), lambda w, x: F.avg_pool2d(x, (3, 2), (2, 1))),
    ("global_avg_pool", (3, 7, 5, 9), lambda w, x: x.mean((2, 3))),
    ("shortcut_a", (3, 7, 6, 5), lambda w, x: shortcut_a(x, 12, 2, 2)),
    ("norm", (11, 4, 5, 5), lambda w, x: w.norm(x, "op", True)),
    ("norm_rank1", (11, 1, 1, 23), lambda w, x: w.norm(flat(x), "op", True)),
    ("norm_eval", (3, 4, 5, 5), lambda w, x: w.norm(x, "op", False)),
    ("softmax", (3, 1, 1, 7), lambda w, x: F.softmax(flat(x), 1)),
]


def write_ops():
    for name, (n, h, width, c), function in OPS:
        w = Weights(name + "/")
        x = tensor(name + "/x", (n, h, width, c)).requires_grad_()
        y = flat(function(w, x.permute(0, 3, 1, 2)))
        put(name + "/y", y)
        if name in ("softmax", "norm_eval"):
            continue
        y.backward(tensor(name + "/gy", y.shape))
        put(name + "/gx", x.grad)
        for key, value in w.all.items():
            if value.requires_grad:
                put(name + "/g/" + key, value.grad)
            elif "running" in key:
                put(name + "/" + key, value)


# ---- networks ----

def resnet8(w, x, option, train):
    """3 stages of one block, 6-12-24 channels, 12x12x3."""
    x = F.relu(w.norm(w.conv(x, "conv1", 6, 3, 3, pad=(1, 1)), "bn1", train))
    for i, c in enumerate((6, 12, 24)):
        name, s = "layer%d" % (i + 1), 1 if i == 0 else 2
        y = w.conv(x, name + ".conv1", c, 3, 3, (s, s), (1, 1))
        y = F.relu(w.norm(y, name + ".bn1", train))
        y = w.norm(w.conv(y, name + ".conv2", c, 3, 3, pad=(1, 1)), name + ".bn2", train)
        if i > 0 and option == "A":
            x = shortcut_a(x, c, 2, 2)
        elif i > 0:
            x = w.norm(w.conv(x, name + ".down", c, 1, 1, (2, 2)), name + ".downbn", train)
        x = F.relu(x + y)
    return w.linear(x.mean((2, 3)), "fc", 10)


def lenet(w, x, train):
    """LeNet-5 with 6-10-30-10 on 12x12x3."""
    x = F.max_pool2d(F.relu(w.conv(x, "conv1", 6, 3, 3, bias=True)), 2, 2)
    x = F.max_pool2d(F.relu(w.conv(x, "conv2", 10, 2, 2, bias=True)), 2, 2)
    return w.linear(F.relu(w.linear(flat(x), "fc1", 30)), "fc2", 10)


NETS = {
    "resnet8a": lambda w, x, train: resnet8(w, x, "A", train),
    "resnet8b": lambda w, x, train: resnet8(w, x, "B", train),
    "lenet": lenet,
}
N_IMAGES = 20


def images():
    """uint8 (N,12,12,3) and labels, normalised as pixel/255 - 0.5 over 0.25: (N,3,12,12)."""
    pixels = (tensor("images", (N_IMAGES, 12, 12, 3), 127.5, 127.5)).floor().numpy().astype(np.uint8)
    x = (torch.from_numpy(pixels).float() / 255.0 - 0.5) / 0.25
    labels = (values("labels", N_IMAGES, 5.0, 5.0)).floor().long().clamp(0, 9)
    return x.permute(0, 3, 1, 2).contiguous(), labels


def write_nets():
    x, labels = images()
    for name, net in NETS.items():
        w = Weights(name + "/")
        put(name + "/eval", net(w, x, False))
        logits = net(w, x, True)
        put(name + "/logits", logits)
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        put(name + "/loss", loss.reshape(1))
        for key, value in w.all.items():
            put(name + ("/g/" + key if value.requires_grad else "/" + key),
                value.grad if value.requires_grad else value)


# ---- ten training steps, the whole data set each ----

def schedule(step, n, lr, warmup, cosine):
    first = int(warmup * n + 0.5)
    if step < first:
        return lr * (step + 1) / (first + 1)
    done = (step - first) / (n - first)
    return lr * (0.5 * (1 + np.cos(np.pi * done)) if cosine else 1 - done)


def train(case, name, lr, smoothing=0.0, cosine=False, clip=0.0, teacher=None):
    x, labels = images()
    w = Weights(name + "/")
    net = NETS[name]
    net(w, x, False)
    decayed = [v for k, v in w.learned().items() if v.dim() > 1]
    plain = [v for k, v in w.learned().items() if v.dim() == 1]
    opt = torch.optim.SGD([{"params": decayed, "weight_decay": 5e-4}, {"params": plain}], lr=lr,
                          momentum=0.9, nesterov=True)
    losses = []
    soft = None
    if teacher:
        with torch.no_grad():
            soft = NETS[teacher](Weights(teacher + "/"), x, False)
    for step in range(10):
        for group in opt.param_groups:
            group["lr"] = schedule(step, 10, lr, 0.2, cosine)
        logits = net(w, x, True)
        loss = F.cross_entropy(logits, labels, label_smoothing=smoothing)
        if teacher:
            share, t = 0.6, 4.0
            kl = F.kl_div(F.log_softmax(logits / t, 1), F.softmax(soft / t, 1), reduction="batchmean")
            loss = (1 - share) * loss + share * t * t * kl
        opt.zero_grad()
        loss.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(list(w.learned().values()), clip)
        opt.step()
        losses.append(loss.detach())
    put(case + "/losses", torch.stack(losses))
    for key in ("conv1.weight", [k for k in w.all if k.startswith("fc")][-1]):
        put(case + "/" + key, w.all[key])


def write_file(name):
    """What was put so far."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name)
    with open(path, "wb") as f:
        f.write(b"PAREGOLD" + struct.pack("<I", len(OUT)))
        for key, data in OUT:
            raw = key.encode()
            f.write(struct.pack("<II", len(raw), data.size) + raw + data.astype("<f4").tobytes())
    print("%d tensors, %d bytes" % (len(OUT), os.path.getsize(path)))


def main():
    write_ops()
    write_nets()
    train("sgd", "resnet8a", 0.05)
    train("sgd_b", "resnet8b", 0.05)
    train("smooth", "lenet", 0.02, smoothing=0.1, cosine=True, clip=1.5)
    train("distill", "lenet", 0.02, teacher="resnet8a")
    write_file("train.golden")


if __name__ == "__main__":
    main()
