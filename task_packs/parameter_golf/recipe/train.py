"""Trains the model on the plays and leaves its quantized weights in out/.

The budget is in steps, so that the same seed gives the same model on any machine.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import torch
from gpt import Gpt
from quantize import save
from torch import Tensor, nn
from torch.nn import functional as F

STEPS = 700  # knob opt: 200 .. 2500 log
BATCH = 8  # knob opt: 2 .. 32 log
CONTEXT = 64  # knob curr: 16 .. 128
START_CONTEXT = 64  # knob curr: 16 .. 128
GROW_UNTIL = 0.5  # knob curr: 0.0 .. 1.0
OPTIMIZER = "adamw"  # knob opt: "adamw" | "muon"
LEARNING_RATE = 0.002  # knob opt: 0.0002 .. 0.02 log
MATRIX_RATE = 0.02  # knob opt: 0.002 .. 0.1 log
WARMUP = 0.05  # knob opt: 0.0 .. 0.3
COOLDOWN = 0.1  # knob opt: 0.0 .. 1.0
WEIGHT_DECAY = 0.1  # knob reg: 0.0 .. 1.0
EMA_DECAY = 0.0  # knob reg: 0.0 .. 0.999
LABEL_SMOOTHING = 0.0  # knob loss: 0.0 .. 0.1
Z_LOSS = 0.0  # knob loss: 0.0 .. 0.01
CLIP = 1.0  # knob opt: 0.1 .. 10.0 log

CURVE_STEPS = 20
BETAS = (0.9, 0.95)
MOMENTUM = 0.95
STARTED = time.process_time()  # The imports of PyTorch, in this process or another, do not count.


class Optimizer:
    """AdamW for all weights, or Muon for the matrices inside the blocks and AdamW for the rest."""

    def __init__(self, model: nn.Module) -> None:
        """Sorts the weights."""
        inner = [p for n, p in model.named_parameters() if "blocks" in n and p.ndim == 2]
        self.matrices = inner if OPTIMIZER == "muon" else []
        chosen = {id(p) for p in self.matrices}
        self.others = [p for p in model.parameters() if id(p) not in chosen]
        self.velocity = [torch.zeros_like(p) for p in self.matrices]
        self.first = [torch.zeros_like(p) for p in self.others]
        self.second = [torch.zeros_like(p) for p in self.others]
        self.steps = 0

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """Makes one step against the gradients, at a share of the rates."""
        self.steps += 1
        for parameter, velocity in zip(self.matrices, self.velocity, strict=True):
            velocity.mul_(MOMENTUM).add_(parameter.grad)
            update = orthogonal(parameter.grad + MOMENTUM * velocity)
            size = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
            parameter.mul_(1 - scale * MATRIX_RATE * WEIGHT_DECAY)
            parameter.add_(update, alpha=-scale * MATRIX_RATE * size)
        for parameter, first, second in zip(self.others, self.first, self.second, strict=True):
            first.lerp_(parameter.grad, 1 - BETAS[0])
            second.lerp_(parameter.grad.square(), 1 - BETAS[1])
            mean = first / (1 - BETAS[0] ** self.steps)
            spread = (second / (1 - BETAS[1] ** self.steps)).sqrt().add_(1e-8)
            parameter.mul_(1 - scale * LEARNING_RATE * WEIGHT_DECAY)
            parameter.add_(mean / spread, alpha=-scale * LEARNING_RATE)


def orthogonal(update: Tensor) -> Tensor:
    """The nearest matrix with orthogonal rows or columns, by five Newton-Schulz steps."""
    x = update / (update.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.T if tall else x


def rate(progress: float) -> float:
    """The share of the rates at a point of the training, from 0 (start) to 1 (end)."""
    if progress < WARMUP:
        return progress / WARMUP
    left = 1.0 - progress
    return left / COOLDOWN if left < COOLDOWN else 1.0


def context(progress: float) -> int:
    """The length of the training windows at a point of the training."""
    share = min(1.0, progress / GROW_UNTIL) if GROW_UNTIL > 0.0 else 1.0
    return round(START_CONTEXT + share * (CONTEXT - START_CONTEXT))


def batch(text: Tensor, length: int, chance: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random windows and what comes after each of their bytes."""
    starts = torch.randint(len(text) - length - 1, (BATCH,), generator=chance)
    rows = text[starts[:, None] + torch.arange(length + 1)].long()
    return rows[:, :-1], rows[:, 1:]


def loss_of(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy, and what keeps the logits small."""
    flat = logits.flatten(0, 1)
    loss = F.cross_entropy(flat, targets.flatten(), label_smoothing=LABEL_SMOOTHING)
    return loss + Z_LOSS * torch.logsumexp(flat, 1).square().mean() if Z_LOSS > 0.0 else loss


def train(
    model: Gpt, text: Tensor, steps: Sequence[int], chance: torch.Generator, curve: IO[str]
) -> None:
    """Makes some of STEPS steps, and leaves the average of the weights if there is one.

    What is written to the curve tells early that a training is hopeless, and nothing else.
    """
    losses: list[float] = []
    optimizer, parameters = Optimizer(model), list(model.parameters())
    average = [p.detach().clone() for p in parameters]
    for step in steps:
        progress = step / STEPS
        inputs, targets = batch(text, context(progress), chance)
        model.zero_grad(set_to_none=True)
        logits = model(inputs)
        loss_of(logits, targets).backward()
        losses.append(F.cross_entropy(logits.detach().flatten(0, 1), targets.flatten()).item())
        if len(losses) == CURVE_STEPS:
            curve.write(f"{step + 1},{sum(losses) / CURVE_STEPS:.5f}\n")
            losses.clear()
        nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step(rate(progress))
        if EMA_DECAY > 0.0:
            torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - EMA_DECAY)
    if EMA_DECAY > 0.0:
        for parameter, mean in zip(parameters, average, strict=True):
            parameter.data.copy_(mean)


def noise_bytes(path: Path) -> int:
    """The size of an artifact of noise: trained weights pack as badly, those of first steps not."""
    model = Gpt()
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    save(model, path)
    return path.stat().st_size


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
    chance = torch.Generator().manual_seed(args.seed)
    raw = b"\n\n".join(path.read_bytes() for path in sorted(args.data.glob("*.txt")))
    text = torch.frombuffer(bytearray(raw), dtype=torch.uint8)
    model, curve = Gpt(), (args.out / "curve.csv").open("w", buffering=1)
    steps, began = range(STEPS), time.process_time()
    if args.smoke:  # Steps from all over the training, after one that is slow as it is the first.
        train(model, text, steps[:1], chance, curve)
        steps, began = steps[:: max(1, STEPS // 12)], time.process_time()
    train(model, text, steps, chance, curve)
    each = (time.process_time() - began) / len(steps)
    artifact = args.out / "model.bin"
    save(model, artifact)
    if args.smoke:
        seconds = time.process_time() - STARTED + (STEPS - len(steps)) * each
        projection = {"train_cpu_seconds": seconds, "artifact_bytes": noise_bytes(artifact)}
        (args.out / "projection.json").write_text(json.dumps(projection))
        save(model, artifact)


if __name__ == "__main__":
    main()
