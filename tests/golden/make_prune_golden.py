#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Writes prune.golden.json: the masks that torch.nn.utils.prune makes, on tensors with ties, zeros
and odd shapes. tests/plugins/test_method_parity.c asks our methods for the same.

Made with Debian 12's python3-torch 1.13.1 on the CPU:
    /usr/bin/python3 tests/golden/make_prune_golden.py
Values are whole numbers times 2^exponent, exact in float32; tensors and masks are in our layout,
(OC,KH,KW,IC). Of random methods only the number of zeros is kept.
"""
import json
import os
import random

import torch
import torch.nn.utils.prune as prune

torch.set_num_threads(1)
torch.manual_seed(1)
RNG = random.Random(1)
CASES = []


def ours(tensor):
    return tensor.permute(0, 2, 3, 1) if tensor.dim() == 4 else tensor


def numbers(tensor, exponent):
    return [int(v) for v in (ours(tensor).contiguous().view(-1) * 2.0 ** -exponent).tolist()]


def ints(shape, most, exponent=-3, zeros=0.0):
    """Few different values, so many ties."""
    n = 1
    for d in shape:
        n *= d
    values = [0 if RNG.random() < zeros else RNG.randint(-most, most) for _ in range(n)]
    return torch.tensor(values, dtype=torch.float32).view(shape) * 2.0 ** exponent


class Case:
    """Layers by name; each step is done by PyTorch and written down in our words."""

    def __init__(self, name, tensors, exponent=-3):
        self.exponent, self.layers, self.steps = exponent, {}, []
        for layer, value in tensors.items():
            o, i = value.shape[:2]
            module = torch.nn.Conv2d(i, o, tuple(value.shape[2:]), bias=False) \
                if value.dim() == 4 else torch.nn.Linear(i, o, bias=False)
            module.weight.data = value.clone()
            self.layers[layer] = module
        CASES.append({
            "name": name, "steps": self.steps,
            "tensors": [{"name": k, "dims": list(ours(v).shape), "exponent": exponent,
                         "values": numbers(v, exponent)} for k, v in tensors.items()]})

    def note(self, method, settings, files=None, only_counts=False):
        masks = {}
        for name, module in self.layers.items():
            mask = getattr(module, "weight_mask", None)
            if mask is None:
                masks[name] = None
            elif only_counts:
                masks[name] = int((mask == 0).sum())
            else:
                masks[name] = "".join(str(int(v)) for v in ours(mask).contiguous().view(-1))
        self.steps.append({"method": method, "settings": settings, "files": files, "masks": masks})

    def each(self, call, method, settings, **note):
        for module in self.layers.values():
            call(module)
        self.note(method, settings, **note)
        return self

    def scores(self, exponent=-3, most=4):
        torch_scores = {n: ints(m.weight.shape, most, exponent) for n, m in self.layers.items()}
        ours_scores = [{"name": n, "exponent": exponent, "values": numbers(v, exponent)}
                       for n, v in torch_scores.items()]
        return torch_scores, ours_scores


def amount_text(amount):
    return f"count={amount}" if isinstance(amount, int) else f"amount={amount!r}"


def l1(case, amount, extra=""):
    return case.each(lambda m: prune.l1_unstructured(m, "weight", amount), "magnitude",
                     f"ties=pytorch {amount_text(amount)}{extra}")


AXES = {4: ["output", "input", "row", "column"], 2: ["output", "input"]}


def ln(case, amount, n, dim):
    rank = next(iter(case.layers.values())).weight.dim()
    norm = {float("inf"): "linf", float("-inf"): "l-inf", "fro": "l2"}.get(n, f"l{n}")
    return case.each(lambda m: prune.ln_structured(m, "weight", amount, n, dim), "magnitude",
                     f"ties=pytorch {amount_text(amount)} norm={norm} "
                     f"structure={AXES[rank][dim]}")


def everywhere(case, amount, scores=None):
    parameters = [(m, "weight") for m in case.layers.values()]
    torch_scores, files = scores or (None, None)
    by_module = {(case.layers[k], "weight"): v for k, v in (torch_scores or {}).items()}
    prune.global_unstructured(parameters, prune.L1Unstructured, importance_scores=by_module,
                              amount=amount)
    case.note("magnitude", f"ties=pytorch scope=global {amount_text(amount)}"
              + (" importance=FILE" if scores else ""), files)
    return case


CONV = (7, 3, 5, 3)


def unstructured():
    for most in (1, 3, 40):
        for amount in (0.1, 0.5, 0.93, 1, 17, 300):
            l1(Case(f"l1 most={most} {amount}", {"conv": ints(CONV, most)}), amount)
    for n in range(1, 24):  # every branch for few elements, and fractions that end in a half
        l1(Case(f"l1 of {n}", {"fc": ints((1, n), 1)}), 0.5, " allow_empty=true")
    l1(Case("l1 zeros", {"fc": torch.zeros(5, 9)}), 0.4)
    l1(Case("l1 all", {"fc": ints((5, 9), 2)}), 1.0, " allow_empty=true")
    l1(Case("l1 none", {"fc": ints((5, 9), 2)}), 0.0)
    l1(Case("l1 many, few of them", {"fc": ints((37, 41), 2)}), 20)
    l1(Case("l1 many", {"fc": ints((37, 41), 6, zeros=0.5)}), 0.7)
    smooth = torch.round(torch.randn(CONV) * 2.0 ** 20) * 2.0 ** -20
    l1(Case("l1 smooth", {"conv": smooth}, -20), 0.6)
    case = l1(Case("l1 three times", {"conv": ints(CONV, 4, zeros=0.2)}), 0.3)
    l1(l1(case, 0.5), 31)


def killer(n, k):
    """Values that make every pivot of a selection a bad one (McIlroy 1999): an adversary answers
    the comparisons of the same algorithm, and fixes a value only when it has to."""
    gas, solid, candidate = n, [0], [None]
    value = [gas] * n
    items = list(range(n))

    def less(a, b):
        x, y = items[a], items[b]
        if value[x] == gas and value[y] == gas:
            frozen = x if x == candidate[0] else y
            value[frozen] = solid[0]
            solid[0] += 1
        if value[x] == gas:
            candidate[0] = x
        elif value[y] == gas:
            candidate[0] = y
        return value[x] < value[y]

    def swap(a, b):
        items[a], items[b] = items[b], items[a]

    first, last = 0, n
    for _ in range(2 * (n.bit_length() - 1)):
        if last - first <= 3:
            break
        a, b, c = first + 1, first + (last - first) // 2, last - 1
        if less(a, b):
            swap(first, b if less(b, c) else c if less(a, c) else a)
        else:
            swap(first, a if less(a, c) else c if less(b, c) else b)
        low, high = first + 1, last
        while True:
            while less(low, first):
                low += 1
            high -= 1
            while less(first, high):
                high -= 1
            if low >= high:
                break
            swap(low, high)
            low += 1
        if low <= k - 1:
            first = low
        else:
            last = low
    return [min(v, solid[0]) for v in value]


def bad_pivots():
    for n, k in ((600, 560), (600, 500)):
        values = torch.tensor([killer(n, k)], dtype=torch.float32) * 2.0 ** -3
        l1(Case(f"l1 bad pivots {k}", {"fc": values}), k)


def structured():
    norms = (0, 1, 2, 3, float("inf"), float("-inf"))
    for dim in (0, 1, 2, 3, -1):
        for n in norms:
            ln(Case(f"ln {n} dim={dim}", {"conv": ints((9, 6, 3, 4), 2, zeros=0.3)}), 0.5, n, dim)
    for dim in (0, 1, -1):
        for n in norms + ("fro",):
            ln(Case(f"ln {n} of linear dim={dim}", {"fc": ints((11, 13), 1, zeros=0.5)}), 4, n, dim)
    ln(Case("ln keeps few", {"fc": ints((200, 2), 2)}), 197, 1, 0)
    case = Case("ln after l1", {"conv": ints((8, 5, 3, 3), 3)})
    l1(ln(ln(l1(case, 0.6), 0.4, 2, 0), 2, 1, 1), 0.25)
    case = Case("ln, then ln along the same axis", {"conv": ints((9, 4, 3, 3), 2)})
    ln(ln(ln(case, 0.3, 1, 0), 0.5, 1, 0), 1, float("inf"), 0)


THREE = {"conv1": (6, 2, 3, 3), "conv2": (5, 6, 1, 1), "fc": (7, 5)}


def across():
    def three(name, most):
        return Case(name, {k: ints(shape, most) for k, shape in THREE.items()})

    everywhere(everywhere(three("global", 5), 0.3), 0.5)
    everywhere(l1(three("global after local", 9), 0.2), 40)
    case = three("global by scores", 3)
    everywhere(case, 0.4, case.scores())
    case = three("local by scores", 3)
    torch_scores, files = case.scores(most=2)
    for name, module in case.layers.items():
        prune.l1_unstructured(module, "weight", 0.5, importance_scores=torch_scores[name])
    case.note("magnitude", "ties=pytorch amount=0.5 importance=FILE", files)
    torch_scores, files = case.scores(most=2)
    for name, module in case.layers.items():
        prune.ln_structured(module, "weight", 0.4, 1, 0, importance_scores=torch_scores[name])
    case.note("magnitude", "ties=pytorch amount=0.4 structure=output importance=FILE", files)
    case = three("by a map", 4)
    for name, amount in (("conv1", 0.3), ("conv2", 0.3), ("fc", 9)):
        prune.l1_unstructured(case.layers[name], "weight", amount)
    case.note("magnitude", "ties=pytorch amounts=conv*=0.3,fc=9")


def by_hand():
    case = l1(Case("identity, mask, remove", {"conv": ints((4, 3, 3, 2), 3)}), 0.3)
    case.each(lambda m: prune.identity(m, "weight"), "magnitude", "amounts=*=0")
    masks = {n: (torch.rand(m.weight.shape) < 0.7).float() for n, m in case.layers.items()}
    for name, module in case.layers.items():
        prune.custom_from_mask(module, "weight", masks[name])
    case.note("mask", "file=FILE", [{"name": n, "exponent": 0, "values": numbers(v, 0)}
                                    for n, v in masks.items()])
    assert prune.is_pruned(case.layers["conv"])
    case.each(lambda m: prune.remove(m, "weight"), "permanent", "")
    assert not prune.is_pruned(case.layers["conv"])
    l1(case, 0.5)  # counts the zeros as weights


def at_random():
    case = Case("random", {"conv": ints(CONV, 3), "conv2": ints((5, 7, 1, 1), 3)})
    case.each(lambda m: prune.random_unstructured(m, "weight", 0.3), "random", "amount=0.3",
              only_counts=True)
    case.each(lambda m: prune.random_unstructured(m, "weight", 11), "random", "count=11",
              only_counts=True)
    for dim in range(4):
        axis = AXES[4][dim]
        case = Case(f"random dim={dim}", {"conv": ints((6, 5, 4, 3), 3)})
        for amount in (0.3, 1):
            case.each(lambda m, a=amount, d=dim: prune.random_structured(m, "weight", a, d),
                      "random", f"{amount_text(amount)} structure={axis}", only_counts=True)


unstructured()
bad_pivots()
structured()
across()
by_hand()
at_random()
PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "prune.golden.json")
with open(PATH, "w", encoding="ascii") as out:
    out.write("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in CASES) + "\n]\n")
print(f"{len(CASES)} cases, {os.path.getsize(PATH)} bytes")
