#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Writes gradient.golden: scores by which SNIP, GraSP and SynFlow prune, computed by PyTorch in double
from their papers' equations, with exact second derivatives. tests/unit/test_experiment_gradients.c
holds our methods to them. Networks, weights and images are those of make_train_golden.py.

    /usr/bin/python3 tests/golden/make_gradient_golden.py
"""
import torch
import torch.nn.functional as F

import make_train_golden as base


class Doubles(base.Weights):
    """The same weights in double; `change` may replace one when it is made."""

    def __init__(self, prefix, change=None):
        super().__init__(prefix)
        self.change = change or (lambda key, value: value)

    def get(self, name, shape, scale, offset=0.0, learn=True):
        if name not in self.all:
            value = base.tensor(self.prefix + name, shape, scale, offset).double()
            self.all[name] = self.change(name, value).detach().requires_grad_(learn)
        return self.all[name]

    def prunable(self):
        return {k: v for k, v in self.all.items() if v.requires_grad and v.dim() > 1}


def snip_and_grasp(net):
    """Lee et al. 2018, eq. 6: |g w|. Wang et al. 2020, eq. 8: w (H g), with the loss of logits/200."""
    x, labels = base.images()
    for method, temperature in (("snip", 1.0), ("grasp", 200.0)):
        w = Doubles(net + "/")
        loss = F.cross_entropy(base.NETS[net](w, x.double(), True) / temperature, labels)
        weights = w.prunable()
        grads = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        if method == "snip":
            scores = [(g * v).abs() for g, v in zip(grads, weights.values())]
        else:
            product = sum((g * g.detach()).sum() for g in grads)
            hessian_g = torch.autograd.grad(product, list(weights.values()))
            scores = [h * v for h, v in zip(hessian_g, weights.values())]
        for key, score in zip(weights, scores):
            base.put(method + "/" + net + "/" + key, score)


def positive(key, value):
    if key.endswith("running_var"):
        return value
    is_factor = value.dim() > 1 or (key.endswith(".weight") and value.dim() == 1)
    return value.abs() if is_factor else torch.zeros_like(value)


def flow(net, masks):
    """Tanaka et al. 2020, eq. 5: |w| dR/d|w|."""
    def change(key, value):
        value = positive(key, value)
        return value * masks[key] if key in masks else value
    w = Doubles(net + "/", change)
    ones = torch.ones(1, 3, 12, 12, dtype=torch.float64)
    weights = None
    total = base.NETS[net](w, ones, False).sum()
    weights = w.prunable()
    grads = torch.autograd.grad(total, list(weights.values()))
    return {key: g * v for (key, v), g in zip(weights.items(), grads)}


def synflow(net, sparsity, passes):
    """Algorithm 1; the scores of the first pass, and how many weights are left of each layer."""
    first = scores = flow(net, {})
    masks = {key: torch.ones_like(v) for key, v in first.items()}
    n = sum(v.numel() for v in first.values())
    for k in range(1, passes + 1):
        if k > 1:
            scores = flow(net, masks)
        everything = torch.cat([torch.where(masks[key] > 0, v, -1.0).flatten()
                                for key, v in scores.items()])
        gone = round((1 - (1 - sparsity) ** (k / passes)) * n)
        cut = everything.sort().values[gone - 1] if gone > 0 else -1.0
        masks = {key: ((scores[key] > cut) & (masks[key] > 0)).double() for key in masks}
    for key in first:
        base.put("synflow/" + net + "/" + key, first[key])
        base.put("synflow-left/" + net + "/" + key, masks[key].sum().reshape(1))


for name in ("lenet", "resnet8a"):
    snip_and_grasp(name)
    synflow(name, 0.9, 100)
base.write_file("gradient.golden")
