"""Runs the contest's script in two halves: train never holds the text that predict is scored on.

    python -m torch.distributed.run --standalone --nproc_per_node=8 phases.py train --seed 1
    python -m torch.distributed.run --standalone --nproc_per_node=8 phases.py predict

The script's own ``main`` sets up devices and calls ``train_and_eval``; each phase puts a half of
that in its place. In train a shard of training text stands where validation text is looked for.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path.cwd()
RECIPE = Path(__file__).resolve().parent
MODEL = "final_model.int6.ptz"
SETTINGS = {"QK_GAIN_INIT": "5.25", "TTT_ENABLED": "1", "TTT_LR": "0.005", "TTT_EPOCHS": "3"}
"""How the record was run, by its README."""
NEEDED = {
    "train": ("Hyperparameters", "ValidationData", "train_model", "serialize", "main"),
    "predict": ("Hyperparameters", "ValidationData", "deserialize", "timed_eval", "main"),
}


def opened(phase: str, seed: int) -> Any:
    """The recipe's module, imported with its settings in a folder that it may write to.

    Raises:
        SystemExit: It lacks something that the phase calls.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    os.environ |= {"SEED": str(seed), "DATA_DIR": str(ROOT / "data"), "RUN_ID": phase}
    os.chdir(tempfile.mkdtemp())
    sys.path.insert(0, str(RECIPE))
    recipe = importlib.import_module("train_gpt")
    missing = [name for name in NEEDED[phase] if not hasattr(recipe, name)]
    if missing:
        raise SystemExit(f"train_gpt.py has to keep: {', '.join(missing)}")
    settings = recipe.Hyperparameters
    settings.model_path = str(Path.cwd() / "final_model.pt")
    folder = ROOT / ("out" if phase == "train" else "artifact")
    settings.quantized_model_path = str(folder / MODEL)
    settings.logfile = str(ROOT / "out" / "log.txt") if phase == "predict" else "log.txt"
    return recipe


def seeded(h: Any) -> None:
    """Seeds all generators, as the script does."""
    import numpy as np
    import torch

    random.seed(h.seed)
    np.random.seed(h.seed)
    torch.manual_seed(h.seed)
    torch.cuda.manual_seed_all(h.seed)


def train(recipe: Any) -> None:
    """Trains and leaves the compressed weights."""

    def half(h: Any, device: Any) -> None:
        seeded(h)
        stand_in = recipe.ValidationData(h, device)
        base, _ = recipe.train_model(h, device, stand_in)
        # What it calls code is counted by the evaluator, from the recipe itself.
        recipe.serialize(h, base, "")

    recipe.train_and_eval = half
    recipe.main()


def predict(recipe: Any) -> None:
    """Scores the artifact on the hidden text, once."""

    def half(h: Any, device: Any) -> None:
        seeded(h)
        text = recipe.ValidationData(h, device)
        model = recipe.deserialize(h, device)
        if h.num_loops > 0:
            model.looping_active = True
        way = "ttt" if h.ttt_enabled and h.sliding_window_enabled else "sliding_window"
        function = recipe.eval_val_ttt if way == "ttt" else recipe.eval_val_sliding
        recipe.timed_eval(f"quantized_{way}", function, h, device, text, model)

    recipe.train_and_eval = half
    recipe.main()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("phase", choices=sorted(NEEDED))
    parser.add_argument("--seed", type=int, default=1337)
    args = parser.parse_args()
    module = opened(args.phase, args.seed)
    train(module) if args.phase == "train" else predict(module)
