"""Muon for the matrices of the layers, Adam for the rest."""

from __future__ import annotations

import torch
from torch import Tensor, nn

MATRIX_RATE = 0.006  # knob opt: 0.001 .. 0.1 log
EMBEDDING_RATE = 0.02  # knob opt: 0.001 .. 0.3 log
HEAD_RATE = 0.002  # knob opt: 0.0002 .. 0.05 log
MOMENTUM = 0.95  # knob opt: 0.8 .. 0.98
BETA1 = 0.8  # knob opt: 0.5 .. 0.95
BETA2 = 0.95  # knob opt: 0.8 .. 0.999
WEIGHT_DECAY = 0.0  # knob opt: 0.0 .. 0.5
NEWTON_STEPS = 5  # knob sys: 2 .. 8


def orthogonal(x: Tensor) -> Tensor:
    """Moves the singular values of a matrix close to one, by Newton-Schulz steps."""
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(NEWTON_STEPS):
        square = x @ x.T
        x = 3.4445 * x + (2.0315 * square @ square - 4.7750 * square) @ x
    return x.T if tall else x


class MuonAdam:
    """One optimizer with two rules."""

    def __init__(self, model: nn.Module) -> None:
        """Sorts the weights by rule."""
        named = dict(model.named_parameters())
        self.matrices = [p for name, p in named.items() if name.startswith("layers")]
        self.others = [
            (p, HEAD_RATE if name == "head" else EMBEDDING_RATE)
            for name, p in named.items()
            if not name.startswith("layers")
        ]
        self.velocity = [torch.zeros_like(p) for p in self.matrices]
        self.means = [torch.zeros_like(p) for p, _ in self.others]
        self.squares = [torch.zeros_like(p) for p, _ in self.others]
        self.steps = 0

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """Moves all weights by their gradients, at a share ``scale`` of the rates."""
        self.steps += 1
        for p, velocity in zip(self.matrices, self.velocity, strict=True):
            velocity.lerp_(p.grad, 1 - MOMENTUM)
            update = orthogonal(p.grad.lerp(velocity, MOMENTUM))
            p.mul_(1 - scale * MATRIX_RATE * WEIGHT_DECAY)
            p.add_(update, alpha=-scale * MATRIX_RATE * max(1.0, p.shape[0] / p.shape[1]) ** 0.5)
        for (p, rate), mean, square in zip(self.others, self.means, self.squares, strict=True):
            mean.lerp_(p.grad, 1 - BETA1)
            square.lerp_(p.grad.square(), 1 - BETA2)
            spread = (square / (1 - BETA2**self.steps)).sqrt().add_(1e-10)
            p.addcdiv_(mean, spread, value=-scale * rate / (1 - BETA1**self.steps))
