"""Pretrains the model on plays and leaves its weights in out/.

The length is counted in steps, so that the same seed gives the same model on any machine.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import torch
from dataloader import batches, read
from gpt import Gpt
from optim import MuonAdam
from torch import Tensor, nn
from torch.nn import functional as F

STEPS = 320  # knob sched: 100 .. 1500 log
BATCH = 8  # knob sched: 2 .. 32 log
WARMUP = 0.0  # knob sched: 0.0 .. 0.3
COOLDOWN = 0.2  # knob sched: 0.0 .. 1.0
FINAL_RATE = 0.1  # knob sched: 0.0 .. 0.5
SHAPE = "linear"  # knob sched: "linear" | "cosine"
CLIP = 1.0  # knob opt: 0.0 .. 4.0
TAIL_AVERAGE = 0.0  # knob sched: 0.0 .. 0.5
MICRO_BATCH = 2  # knob sys: 1 .. 32 log
CHECK_EVERY = 10  # knob sys: 10 .. 400 log
STARTED = time.process_time()  # The imports of PyTorch, in this process or another, do not count.


def rate(progress: float) -> float:
    """The share of the rates at a point of the training, from 0 (start) to 1 (end)."""
    if progress < WARMUP:
        return progress / WARMUP
    if progress < 1.0 - COOLDOWN:
        return 1.0
    left = (1.0 - progress) / COOLDOWN
    if SHAPE == "cosine":
        left = 0.5 - 0.5 * math.cos(math.pi * left)
    return FINAL_RATE + (1.0 - FINAL_RATE) * left


def loss_of(model: Gpt, inputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of the next byte, in nats."""
    return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())


class TailAverage:
    """The mean of the weights over the last part of the training."""

    def __init__(self, model: nn.Module) -> None:
        """Starts empty."""
        self.parameters = list(model.parameters())
        self.sums = [torch.zeros_like(p) for p in self.parameters]
        self.count = 0

    @torch.no_grad()
    def add(self) -> None:
        """Takes the weights as they are now."""
        torch._foreach_add_(self.sums, [p.detach() for p in self.parameters])
        self.count += 1

    @torch.no_grad()
    def apply(self) -> None:
        """Puts the mean into the model, if there is one."""
        for p, total in zip(self.parameters, self.sums, strict=True):
            if self.count:
                p.copy_(total / self.count)


def train(
    model: Gpt, text: Tensor, steps: Sequence[int], chance: torch.Generator, curve: IO[str]
) -> None:
    """Makes some of STEPS steps, in place.

    What is written to the curve tells early that a training is hopeless, and nothing else.
    """
    optimizer, tail = MuonAdam(model), TailAverage(model)
    inspected = next(batches(text, 16, torch.Generator().manual_seed(0)))
    for step, (inputs, targets) in zip(steps, batches(text, BATCH, chance), strict=False):
        model.zero_grad(set_to_none=True)
        for part in zip(inputs.split(MICRO_BATCH), targets.split(MICRO_BATCH), strict=True):
            share = len(part[0]) / len(inputs)
            (loss_of(model, *part) * share).backward()
        if CLIP > 0.0:
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step(rate(step / STEPS))
        if step >= STEPS * (1.0 - TAIL_AVERAGE):
            tail.add()
        if step % CHECK_EVERY == 0:
            with torch.no_grad():
                loss = loss_of(model, *inspected)
            print(f"step {step:05d}/{STEPS:05d} | loss: {loss:.4f}")
            curve.write(f"{step},{loss:.5f}\n")
    tail.apply()


def main() -> None:
    """Reads the command line, trains, saves."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--smoke", action="store_true", help="make a few steps, project the rest")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    model = Gpt()
    chance = torch.Generator().manual_seed(args.seed)
    text, began = read(args.data), time.process_time()
    steps: Sequence[int] = range(STEPS)
    curve = (args.out / "curve.csv").open("w", buffering=1)
    if args.smoke:  # Steps from all over the training, after one that is slow as it is the first.
        train(model, text, steps[:1], chance, curve)
        picked = sorted(random.Random(1).sample(steps, min(20, STEPS)))
        steps, began = picked, time.process_time()
    train(model, text, steps, chance, curve)
    each = (time.process_time() - began) / len(steps)
    artifact = args.out / "model.pt"
    torch.save(model.state_dict(), artifact)
    if args.smoke:
        seconds = time.process_time() - STARTED + (STEPS - len(steps)) * each
        projection = {"train_cpu_seconds": seconds, "artifact_bytes": artifact.stat().st_size}
        (args.out / "projection.json").write_text(json.dumps(projection))


if __name__ == "__main__":
    main()
