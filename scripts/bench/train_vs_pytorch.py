#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""ResNet20 (option A, 3x32x32): images per second of pare's trainer and of PyTorch, side by side.

Both do whole training steps: drawing a shuffled batch, pad-and-crop and flip, forward, backward,
SGD with Nesterov and weight decay. They take turns in blocks on the same cores; a pair of
neighbouring blocks gives one ratio. Called by train_vs_pytorch.sh.
"""
import argparse
import statistics
import subprocess
import time

import torch
import torch.nn as nn
import torch.nn.functional as F


class Block(nn.Module):
    def __init__(self, c_in, c, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c)
        self.conv2 = nn.Conv2d(c, c, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c)
        self.stride, self.pad = stride, (c - c_in) // 2

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        if self.stride != 1:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(y + x, inplace=True)


class ResNet20(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        blocks, c_in = [], 16
        for c in (16, 32, 64):
            for i in range(3):
                blocks.append(Block(c_in, c, 2 if i == 0 and c > 16 else 1))
                c_in = c
        self.layers = nn.Sequential(*blocks)
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return self.fc(self.layers(x).mean((2, 3)))


class PyTorch:
    """A plain training loop, in the default memory layout or channels_last."""

    def __init__(self, batch, channels_last):
        torch.manual_seed(1)
        self.name = "PyTorch " + ("channels_last" if channels_last else "default layout")
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.model = ResNet20().to(memory_format=self.format)
        pixels = torch.randint(0, 256, (2560, 3, 32, 32), dtype=torch.uint8)
        self.images = F.pad(pixels, (4, 4, 4, 4))
        self.labels = torch.randint(0, 10, (2560,))
        weights = [p for p in self.model.parameters() if p.dim() > 1]
        others = [p for p in self.model.parameters() if p.dim() == 1]
        self.optimizer = torch.optim.SGD([{"params": weights, "weight_decay": 5e-4},
                                          {"params": others}], lr=1e-3, momentum=0.9, nesterov=True)
        self.batch, self.order = batch, torch.empty(0, dtype=torch.long)

    def draw(self):
        if len(self.order) < self.batch:
            self.order = torch.randperm(2560)
        items, self.order = self.order[:self.batch], self.order[self.batch:]
        n = len(items)
        rows = torch.randint(0, 9, (n, 1)) + torch.arange(32)
        columns = torch.randint(0, 9, (n, 1)) + torch.arange(32)
        flip = torch.rand(n) < 0.5
        columns[flip] = columns[flip].flip(1)
        x = self.images[items[:, None, None, None], torch.arange(3)[:, None, None],
                        rows[:, None, :, None], columns[:, None, None, :]]
        x = x.float().div_(255.0).sub_(0.5).div_(0.25)
        return x.contiguous(memory_format=self.format), self.labels[items]

    def run(self, steps):
        start = time.perf_counter()
        for _ in range(steps):
            x, labels = self.draw()
            self.optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(self.model(x), labels).backward()
            self.optimizer.step()
        return steps * self.batch / (time.perf_counter() - start)


class Pare:
    def __init__(self, program, threads, batch):
        self.batch = batch
        self.process = subprocess.Popen([program, "resnet20", str(threads), str(batch)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, steps):
        self.process.stdin.write("%d\n" % steps)
        self.process.stdin.flush()
        return steps * self.batch / float(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        return self.process.stdout.readline().strip()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--blocks", type=int, default=7)
    parser.add_argument("--steps", type=int, default=10)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    ours = Pare(a.program, a.threads, a.batch)
    layouts = [PyTorch(a.batch, False), PyTorch(a.batch, True)]
    ours.run(3)
    for torch_side in layouts:
        torch_side.run(3)
    first = [max(side.run(a.steps) for _ in range(2)) for side in layouts]
    other = layouts[first[1] > first[0]]
    for side, rate in zip(layouts, first):
        print("%-24s %7.0f images/s in the trial run" % (side.name, rate))
    mine, theirs = [], []
    for _ in range(a.blocks):
        mine.append(ours.run(a.steps))
        theirs.append(other.run(a.steps))
    ratios = sorted(m / t for m, t in zip(mine, theirs))
    for name, rates in (("pare", mine), (other.name, theirs)):
        print("%-24s %7.0f images/s, median of %d blocks of %d steps (%.0f..%.0f)" %
              (name, statistics.median(rates), a.blocks, a.steps, min(rates), max(rates)))
    print("ratio                    %7.2f          median of neighbouring blocks (%.2f..%.2f)" %
          (statistics.median(ratios), ratios[0], ratios[-1]))
    print("pare's memory            %s" % ours.end())


main()
