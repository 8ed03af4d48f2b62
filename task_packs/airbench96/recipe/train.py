"""Trains the network on the first images of Fashion-MNIST and saves its weights.

The score is the CPU time of this whole process on one thread, from the first line of this file on:
PyTorch is imported before. The optimizers are written out, because making the first one of
`torch.optim` loads PyTorch's compiler, which takes a second and is not imported before.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import IO

import torch
from images import augment, load_images, load_labels
from model import Network
from torch import Tensor, nn
from torch.nn import functional as F

TRAIN_IMAGES = 24000  # knob aug: 1000 .. 50000 log
EPOCHS = 2  # knob opt: 1 .. 10
BATCH_SIZE = 64  # knob opt: 8 .. 512 log
OPTIMIZER = "sgd"  # knob opt: "sgd" | "adamw"
LEARNING_RATE = 0.1  # knob opt: 0.0005 .. 1.0 log
NEWTON_STEPS = 4  # knob opt: 0 .. 6
SCHEDULE = "cosine"  # knob opt: "constant" | "linear" | "cosine"
WARMUP = 0.1  # knob opt: 0.0 .. 0.5
LOSS = "cross_entropy"  # knob loss: "cross_entropy" | "mse" | "focal"
LABEL_SMOOTHING = 0.1  # knob loss: 0.0 .. 0.4
AUX_WEIGHT = 0.0  # knob loss: 0.0 .. 1.0
HARD_FRACTION = 1.0  # knob loss: 0.2 .. 1.0
WEIGHT_DECAY = 0.0005  # knob reg: 0.00001 .. 0.05 log
EMA_DECAY = 0.95  # knob reg: 0.0 .. 0.999
RECALIBRATE_IMAGES = 4000  # knob reg: 0 .. 8000

CURVE_STEPS = 25
MOMENTUM = 0.9
ADAM_BETA = 0.99
STARTED = time.process_time()  # The import of PyTorch, in this process or another, does not count.


class Optimizer:
    """SGD with Nesterov momentum, or AdamW; weight decay is decoupled and spares vectors."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        """Keeps the parameters and makes their state."""
        self.parameters = parameters
        self.matrices = [p for p in parameters if p.ndim > 1]
        self.first = [torch.zeros_like(p) for p in parameters]
        self.second = [torch.zeros_like(p) for p in parameters]
        self.steps = 0

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Makes one step against the gradients and clears them."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        self.steps += 1
        torch._foreach_mul_(self.matrices, 1 - rate * WEIGHT_DECAY)
        if OPTIMIZER == "adamw":
            self._adamw(gradients, rate)
        else:
            self._sgd(gradients, rate)
        for parameter in self.parameters:
            parameter.grad = None

    def _sgd(self, gradients: list[Tensor], rate: float) -> None:
        torch._foreach_mul_(self.first, MOMENTUM)
        torch._foreach_add_(self.first, gradients)
        torch._foreach_add_(gradients, self.first, alpha=MOMENTUM)
        for gradient in gradients:
            if gradient.ndim == 4 and NEWTON_STEPS:
                gradient.copy_(orthogonal(gradient.flatten(1)).view_as(gradient))
        torch._foreach_add_(self.parameters, gradients, alpha=-rate)

    def _adamw(self, gradients: list[Tensor], rate: float) -> None:
        torch._foreach_lerp_(self.first, gradients, 1 - MOMENTUM)
        torch._foreach_mul_(self.second, ADAM_BETA)
        torch._foreach_addcmul_(self.second, gradients, gradients, 1 - ADAM_BETA)
        scale = torch._foreach_div(self.second, 1 - ADAM_BETA**self.steps)
        torch._foreach_sqrt_(scale)
        torch._foreach_add_(scale, 1e-8)
        size = rate / (1 - MOMENTUM**self.steps)
        torch._foreach_addcdiv_(self.parameters, self.first, scale, -size)


def orthogonal(matrix: Tensor) -> Tensor:
    """Drives the singular values of a matrix toward 1, by the cubic Newton-Schulz iteration."""
    matrix = matrix / (matrix.norm() + 1e-7)
    for _ in range(NEWTON_STEPS):
        matrix = 1.5 * matrix - 0.5 * (matrix @ matrix.T) @ matrix
    return matrix


@torch.no_grad()
def whiten_stem(model: Network, images: Tensor) -> None:
    """Sets the stem's filters to whitened principal components of patches, and freezes them."""
    weight = model.stem.conv.weight
    patches = F.unfold(images[:400], weight.shape[-1], stride=3).transpose(1, 2).flatten(0, 1)
    patches = patches - patches.mean(0)
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    count = min(len(weight), len(values))
    filters = (vectors / (values + 0.01).sqrt()).T.flip(0)[:count]
    weight[:count] = filters.view(count, *weight.shape[1:])
    weight.requires_grad_(False)


def learning_rate(progress: float) -> float:
    """The rate at a point of the training, from 0 (start) to 1 (end)."""
    if progress < WARMUP:
        return LEARNING_RATE * progress / WARMUP
    rest = (progress - WARMUP) / (1 - WARMUP)
    shapes = {"constant": 1.0, "linear": 1 - rest, "cosine": (1 + math.cos(math.pi * rest)) / 2}
    return LEARNING_RATE * shapes[SCHEDULE]


def image_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """The loss of each image, (batch,)."""
    if LOSS == "mse":
        targets = F.one_hot(labels, logits.shape[1]) * (1 - LABEL_SMOOTHING)
        return (logits - targets).square().sum(1)
    losses = F.cross_entropy(logits, labels, reduction="none", label_smoothing=LABEL_SMOOTHING)
    return losses * (1 - torch.exp(-losses)) ** 2 if LOSS == "focal" else losses


def batch_loss(model: Network, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The mean loss of a batch, with the auxiliary loss; and what the network says of it."""
    logits, aux_logits = model(images)
    loss = image_losses(logits, labels).mean()
    if aux_logits is not None:
        loss = loss + AUX_WEIGHT * image_losses(aux_logits, labels).mean()
    return loss, logits.detach()


@torch.no_grad()
def hardest(model: Network, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The images of a batch that have the largest losses, and their labels."""
    losses = image_losses(model(images)[0], labels)
    picked = losses.topk(max(2, round(len(losses) * HARD_FRACTION))).indices
    return images[picked], labels[picked]


def train(model: Network, images: Tensor, labels: Tensor, *, epochs: int, curve: IO[str]) -> None:
    """Trains the network, and leaves the moving average of its weights in it.

    What is written to the curve tells early that a training is hopeless, and nothing else.
    """
    wrong: list[Tensor] = []
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = Optimizer(parameters)
    average = [p.detach().clone() for p in parameters]
    steps = epochs * math.ceil(len(images) / BATCH_SIZE)
    for _ in range(epochs):
        for picked in torch.randperm(len(images)).split(BATCH_SIZE):
            batch, targets = augment(images[picked]), labels[picked]
            if HARD_FRACTION < 1:
                batch, targets = hardest(model, batch, targets)
            loss, logits = batch_loss(model, batch, targets)
            loss.backward()
            optimizer.step(learning_rate(optimizer.steps / steps))
            wrong.append(logits.argmax(1) != targets)
            if len(wrong) == CURVE_STEPS:
                seen = min(optimizer.steps * BATCH_SIZE, epochs * len(images))
                curve.write(f"{seen},{torch.cat(wrong).float().mean().item():.5f}\n")
                wrong.clear()
            torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - EMA_DECAY)
        print(f"step {optimizer.steps} of {steps}: loss {loss.item():.4f}", flush=True)
    torch._foreach_copy_([p.detach() for p in parameters], average)


@torch.no_grad()
def recalibrate(model: Network, images: Tensor) -> None:
    """Estimates the statistics of batch normalization anew, for the averaged weights."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # A plain average over the batches below.
    for batch in images.split(250):
        model(batch)


def main() -> None:
    """Reads the command line, trains, and saves the weights."""
    parser = argparse.ArgumentParser(description="Train the network.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--smoke", action="store_true", help="make a few steps, project the rest")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    images = load_images(args.data / "train-images-idx3-ubyte.gz", TRAIN_IMAGES)
    labels = load_labels(args.data / "train-labels-idx1-ubyte.gz", TRAIN_IMAGES)
    count, curve = len(images), (args.out / "curve.csv").open("w", buffering=1)
    model = Network(aux=AUX_WEIGHT > 0).to(memory_format=torch.channels_last)
    whiten_stem(model, images)
    if args.smoke:  # After a step that is slow as it is the first.
        train(model, images[:BATCH_SIZE], labels[:BATCH_SIZE], epochs=1, curve=curve)
        count = min(count, BATCH_SIZE * max(1, 16 // EPOCHS))
    began = time.process_time()
    train(model, images[:count], labels[:count], epochs=EPOCHS, curve=curve)
    trained = time.process_time() - began
    if RECALIBRATE_IMAGES:
        recalibrate(model, images[:RECALIBRATE_IMAGES])
    model.aux = None  # Only training needs it.
    artifact = args.out / "model.pt"
    torch.save(model.state_dict(), artifact)
    if args.smoke:
        seconds = time.process_time() - STARTED + trained * (len(images) / count - 1)
        projection = {"train_cpu_seconds": seconds, "artifact_bytes": artifact.stat().st_size}
        (args.out / "projection.json").write_text(json.dumps(projection))


if __name__ == "__main__":
    main()
