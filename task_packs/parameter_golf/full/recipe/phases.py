"""Runs the contest's script in two halves: train never holds the text that predict is scored on.

    python -m torch.distributed.run --standalone --nproc_per_node=8 phases.py train --seed 1
    python -m torch.distributed.run --standalone --nproc_per_node=8 phases.py predict --seed 1

The script's own ``main`` sets up devices and calls ``train_and_eval``; each phase puts a half of
that in its place. In train a shard of training text stands where validation text is looked for.
Nothing is used here but what the script brings along, so that all of this runs without a GPU too.
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
ALWAYS = ("Hyperparameters", "ValidationData", "train_and_eval", "main")
NEEDED = {
    "train": (*ALWAYS, "train_model", "serialize"),
    "predict": (*ALWAYS, "deserialize", "timed_eval", "eval_val_ttt", "eval_val_sliding"),
}
"""What a phase takes from the script; ``main`` has to call ``train_and_eval`` by its name."""


def prepare_environment(phase: str, seed: int) -> None:
    """Sets what the script reads as it is imported, and goes where it may write."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    os.environ |= {"SEED": str(seed), "DATA_DIR": str(ROOT / "data"), "RUN_ID": phase}
    # Else its name is made from that of the user, who may have none in a container.
    compiled = Path(tempfile.gettempdir()) / "compiled"
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(compiled))
    os.chdir(tempfile.mkdtemp())


def opened(phase: str) -> Any:
    """The recipe's module, with all paths that it writes to made absolute.

    Raises:
        SystemExit: It lacks something that the phase calls.
    """
    sys.path.insert(0, str(RECIPE))
    recipe = importlib.import_module("train_gpt")
    missing = [name for name in NEEDED[phase] if not callable(getattr(recipe, name, None))]
    if missing:
        raise SystemExit(f"train_gpt.py has to keep: {', '.join(missing)} ({phase} calls it)")
    settings = recipe.Hyperparameters
    # Whatever the script makes of SEED: no seed is picked by hand.
    settings.seed = int(os.environ["SEED"])
    settings.model_path = str(Path.cwd() / "final_model.pt")
    folder = ROOT / ("out" if phase == "train" else "artifact")
    settings.quantized_model_path = str(folder / MODEL)
    # Of train only the artifact is kept; the log of predict is what is scored.
    settings.logfile = str(ROOT / "out" / "log.txt" if phase == "predict" else Path.cwd() / "log")
    return recipe


def seeded(h: Any) -> None:
    """Seeds the generators that the script has imported, as it does itself."""
    random.seed(h.seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(h.seed)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(h.seed)
        sys.modules["torch"].cuda.manual_seed_all(h.seed)


def train(recipe: Any, h: Any, device: Any) -> None:
    """Trains and leaves the compressed weights; the script lets only rank 0 write them."""
    stand_in = recipe.ValidationData(h, device)
    base, _ = recipe.train_model(h, device, stand_in)
    # What it calls code is counted by the evaluator, from the recipe itself.
    recipe.serialize(h, base, "")


def predict(recipe: Any, h: Any, device: Any) -> None:
    """Scores the artifact on the hidden text, once."""
    # Before the text is there, so that what makes the model cannot have been shown it.
    model = recipe.deserialize(h, device)
    if h.num_loops > 0:
        model.looping_active = True
    text = recipe.ValidationData(h, device)
    if h.ttt_enabled and h.sliding_window_enabled:
        label, function = "quantized_ttt", recipe.eval_val_ttt
    else:
        label, function = "quantized_sliding_window", recipe.eval_val_sliding
    recipe.timed_eval(label, function, h, device, text, model)


HALVES = {"train": train, "predict": predict}


def run(phase: str, seed: int) -> None:
    """Runs the script's ``main`` with one half in place of ``train_and_eval``.

    Raises:
        SystemExit: The script lacks something, or its ``main`` never came to the half.
    """
    prepare_environment(phase, seed)
    recipe = opened(phase)
    came = []

    def half(h: Any, device: Any) -> None:
        came.append(phase)
        seeded(h)
        HALVES[phase](recipe, h, device)

    recipe.train_and_eval = half
    recipe.main()
    if len(came) != 1:
        raise SystemExit(f"main() of train_gpt.py has to call train_and_eval once: {len(came)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("phase", choices=sorted(HALVES))
    parser.add_argument("--seed", type=int, default=1337)
    args = parser.parse_args()
    run(args.phase, args.seed)
