"""Runs the contest's script in two halves: train never holds the text that predict is scored on.

    python -m torch.distributed.run --standalone --nproc_per_node=8 phases.py train --seed 1
    python -m torch.distributed.run --standalone --nproc_per_node=8 phases.py predict --seed 1
    python phases.py preflight --nproc_per_node=8 --seed 1

The script's own ``main`` sets up devices and calls ``train_and_eval``; each phase puts a half of
that in its place. In train a shard of training text stands where validation text is looked for.
Preflight runs both, one after the other as they are run later, with two steps and little text.
Nothing is used here but what the script brings along, so that all of this runs without a GPU too.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path.cwd()
RECIPE = Path(__file__).resolve().parent
MODEL = "final_model.int6.ptz"
CLOCK_SECONDS = 600.0
"""The contest's limit on training, by the script's own clock: no setting makes it longer."""
STAND_IN_TOKENS, FEW_TOKENS = 40_540_160, 65_536
"""Tokens of the contest's validation text, which the stand-in has too; and those of preflight."""
SMALL = {"iterations": 2, "warmup_steps": 1, "val_loss_every": 0, "gptq_calibration_batches": 1}
"""Settings of preflight: the networks, batches and windows are those of the run."""
TOLD = "settings.json"
ALWAYS = ("Hyperparameters", "ValidationData", "train_and_eval", "main")
NEEDED = {
    "train": (*ALWAYS, "train_model", "serialize"),
    "predict": (*ALWAYS, "deserialize", "timed_eval", "eval_val_ttt", "eval_val_sliding"),
}
"""What a phase takes from the script; ``main`` has to call ``train_and_eval`` by its name."""


def prepare_environment(phase: str, seed: int) -> None:
    """Sets what the script reads as it is imported, and goes where it may write."""
    os.environ |= {"SEED": str(seed), "DATA_DIR": str(ROOT / "data"), "RUN_ID": phase}
    # Else its name is made from that of the user, who may have none in a container.
    compiled = Path(tempfile.gettempdir()) / "compiled"
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(compiled))
    os.chdir(tempfile.mkdtemp())


def opened(phase: str, small: bool) -> Any:
    """The recipe's module, with the settings that are not its own to choose.

    All paths that it writes to are made absolute.

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
    clock = getattr(settings, "max_wallclock_seconds", CLOCK_SECONDS)
    # To the script, a clock of zero is none.
    settings.max_wallclock_seconds = min(clock, CLOCK_SECONDS) if clock > 0 else CLOCK_SECONDS
    if small:
        for name, value in SMALL.items():
            setattr(settings, name, value)
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


def cut(text: Any, tokens: int) -> Any:
    """A text without what is behind some tokens, and the one that they predict."""
    text.val_tokens = text.val_tokens[: tokens + 1]
    return text


def train(recipe: Any, h: Any, device: Any, small: bool) -> None:
    """Trains and leaves the compressed weights; the script lets only rank 0 write them."""
    stand_in = cut(recipe.ValidationData(h, device), FEW_TOKENS if small else STAND_IN_TOKENS)
    base, _ = recipe.train_model(h, device, stand_in)
    # What it calls code is counted by the evaluator, from the recipe itself.
    recipe.serialize(h, base, "")
    if small and h.is_main_process:
        reserved = getattr(h, "gptq_reserve_seconds", 0.0)
        told = {"clock": max(h.max_wallclock_seconds - reserved, 0.0)}
        (ROOT / "out" / TOLD).write_text(json.dumps(told))


def predict(recipe: Any, h: Any, device: Any, small: bool) -> None:
    """Scores the artifact on the hidden text, once."""
    # Before the text is there, so that what makes the model cannot have been shown it.
    model = recipe.deserialize(h, device)
    if h.num_loops > 0:
        model.looping_active = True
    text = recipe.ValidationData(h, device)
    if small:
        text = cut(text, FEW_TOKENS)
    if h.ttt_enabled and h.sliding_window_enabled:
        label, function = "quantized_ttt", recipe.eval_val_ttt
    else:
        label, function = "quantized_sliding_window", recipe.eval_val_sliding
    recipe.timed_eval(label, function, h, device, text, model)


HALVES = {"train": train, "predict": predict}


def run(phase: str, seed: int, small: bool) -> None:
    """Runs the script's ``main`` with one half in place of ``train_and_eval``.

    Raises:
        SystemExit: The script lacks something, or its ``main`` never came to the half.
    """
    prepare_environment(phase, seed)
    recipe = opened(phase, small)
    came = []

    def half(h: Any, device: Any) -> None:
        came.append(phase)
        seeded(h)
        HALVES[phase](recipe, h, device, small)

    recipe.train_and_eval = half
    recipe.main()
    if len(came) != 1:
        raise SystemExit(f"main() of train_gpt.py has to call train_and_eval once: {len(came)}")


def launched(phase: str, seed: int, processes: int, place: Path) -> float:
    """Runs a phase small, in a folder of its own, as it is launched later; returns its seconds.

    Raises:
        SystemExit: It failed; its own words are above.
    """
    (place / "out").mkdir(parents=True)
    (place / "data").symlink_to(ROOT / "data")
    launcher = ("-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}")
    words = (*launcher, __file__, phase, "--seed", str(seed), "--small")
    start = time.perf_counter()
    status = subprocess.run([sys.executable, *words], cwd=place, check=False).returncode
    if status != 0:
        raise SystemExit(status if status > 0 else 128 - status)
    return time.perf_counter() - start


def preflight(seed: int, processes: int) -> None:
    """Trains two steps, saves, loads and scores a little text, and projects from that.

    The weights of two steps are nearly those that training starts from. They take about as many
    bytes as trained ones, as each row is cut into steps of a share of its own spread.
    """
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        seconds = launched("train", seed, processes, place / "train")
        left = place / "train" / "out"
        (place / "predict").mkdir()
        (place / "predict" / "artifact").symlink_to(left)
        launched("predict", seed, processes, place / "predict")
        largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        projection = {
            "artifact_bytes": (left / MODEL).stat().st_size,
            "train_seconds": seconds + json.loads((left / TOLD).read_text())["clock"],
            "peak_memory_mb": largest * processes,
        }
    (ROOT / "out" / "projection.json").write_text(json.dumps(projection))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("phase", choices=["preflight", *sorted(HALVES)])
    parser.add_argument("--seed", type=int, default=1337)
    parser.add_argument("--nproc_per_node", type=int, default=1)
    parser.add_argument("--small", action="store_true")
    args = parser.parse_args()
    if args.phase == "preflight":
        preflight(args.seed, args.nproc_per_node)
    else:
        run(args.phase, args.seed, args.small)
