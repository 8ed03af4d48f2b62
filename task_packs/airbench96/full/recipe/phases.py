"""Runs upstream's recipe in two halves: train never holds a test image, predict never a label.

The recipe evaluates itself on test images during training. Here it does so on training images that
stand in for them; they decide nothing. Who trains which network is the recipe's own affair: the
network that it evaluates last is the one that is saved.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pickle
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path.cwd()
RECIPE = Path(__file__).resolve().parent
NEEDED = ("hyp", "make_net", "main", "evaluate", "infer", "InfiniteCifarLoader")
STAND_IN = 10_000
CLASSES = 10


def batches(paths: list[Path]) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (N, 32, 32, 3) of 8 bits and labels (N,) out of CIFAR-10's own files."""
    tables = [pickle.loads(path.read_bytes(), encoding="bytes") for path in paths]
    images = np.concatenate([table[b"data"] for table in tables]).reshape(-1, 3, 32, 32)
    labels = np.concatenate([np.array(table[b"labels"]) for table in tables])
    return torch.from_numpy(images.transpose(0, 2, 3, 1).copy()), torch.from_numpy(labels)


def store(name: str, images: torch.Tensor, labels: torch.Tensor) -> None:
    """Writes a data set as the recipe's loader reads it."""
    classes = [str(number) for number in range(CLASSES)]
    table = {"images": images, "labels": labels, "classes": classes}
    torch.save(table, Path("cifar10") / name)


def opened() -> Any:
    """The recipe's module, imported in a folder that it may write to.

    Raises:
        SystemExit: It lacks a function that the phases call.
    """
    os.chdir(tempfile.mkdtemp())
    Path("cifar10").mkdir()
    sys.path.insert(0, str(RECIPE))
    module = importlib.import_module("airbench96_faster")
    missing = [name for name in NEEDED if not hasattr(module, name)]
    if missing:
        raise SystemExit(f"airbench96_faster.py has to keep: {', '.join(missing)}")
    return module


def compiled(network: torch.nn.Module, frozen: bool) -> Any:
    """A network as upstream compiles it; ``frozen`` holds the bias of its first layer."""
    if frozen:
        network[0].bias.requires_grad = False  # type: ignore[index, union-attr]
    return torch.compile(network, mode="max-autotune")


class LastEvaluated:
    """Stands in for the recipe's ``evaluate``, and remembers what was evaluated last."""

    def __init__(self, evaluate: Any) -> None:
        """Takes the recipe's own."""
        self.evaluate = evaluate
        self.network: Any = None
        self.level = 0

    def __call__(self, model: Any, loader: Any, tta_level: int = 0) -> Any:
        """Evaluates as the recipe does."""
        self.network, self.level = model, tta_level
        return self.evaluate(model, loader, tta_level)


def train(seed: int) -> None:
    """Trains once and saves the network and how it wants to be asked."""
    random.seed(seed)
    torch.manual_seed(seed)
    images, labels = batches(sorted((ROOT / "data").glob("data_batch_*")))
    recipe = opened()
    store("train.pt", images, labels)
    store("test.pt", images[:STAND_IN], labels[:STAND_IN])
    recipe.evaluate = last = LastEvaluated(recipe.evaluate)
    proxy = compiled(recipe.make_net(recipe.hyp["proxy"]), frozen=True)
    with_bias = compiled(recipe.make_net(recipe.hyp["net"]), frozen=False)
    without = compiled(recipe.make_net(recipe.hyp["net"]), frozen=True)
    recipe.main(0, recipe.hyp, proxy, with_bias, without)
    if last.network is None:
        raise SystemExit("the recipe evaluated nothing, so nobody knows which network it made")
    network = getattr(last.network, "_orig_mod", last.network)
    saved = {"weights": network.state_dict(), "level": last.level}
    torch.save(saved, ROOT / "out" / "network.pt")


def predict() -> None:
    """Writes the class of each hidden image, a number a line."""
    saved = torch.load(ROOT / "artifact" / "network.pt", weights_only=True)
    images = torch.from_numpy(np.load(ROOT / "inputs" / "images.npy"))
    recipe = opened()
    store("test.pt", images, torch.zeros(len(images), dtype=torch.long))
    network = recipe.make_net(recipe.hyp["net"])
    network.load_state_dict(saved["weights"])
    loader = recipe.InfiniteCifarLoader("cifar10", train=False, batch_size=2000)
    classes = recipe.infer(network, loader, saved["level"]).argmax(1).tolist()
    lines = "".join(f"{number}\n" for number in classes)
    (ROOT / "out" / "classes.txt").write_text(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("phase", choices=["train", "predict"])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    train(args.seed) if args.phase == "train" else predict()
