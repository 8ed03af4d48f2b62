"""Runs upstream's recipe in two halves: train never holds a test image, predict never a label.

    python phases.py preflight --seed 1
    python phases.py train --seed 1
    python phases.py predict

The recipe evaluates itself on test images during training. Here it does so on training images that
stand in for them; they decide nothing. Who trains which network is the recipe's own affair: the
network that it evaluates last is the one that is saved.

Preflight is a warm-up too. It runs the whole recipe, all of its epochs, on few images that are
noise; what was compiled stays in ``out/cache``, and train begins with a copy of that. So nothing
can be learned in a warm-up, and a timed seed does not wait for compilers.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import math
import os
import pickle
import random
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path.cwd()
RECIPE = Path(__file__).resolve().parent
NEEDED = ("hyp", "make_net", "main", "evaluate", "infer", "InfiniteCifarLoader")
STAND_IN = 10_000
CLASSES = 10
IMAGES, WARM_IMAGES = 50_000, 10_240
"""Training images of CIFAR-10, and of a warm-up: ten batches of upstream's an epoch."""
WARM_TESTS = 2_000
"""One batch of upstream's evaluation."""
COMPILED = "compiled.tar"
CACHES = {"TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton"}
"""Where compilers keep what they made, below one folder; else a folder of the user's own."""
SECONDS = "script_seconds.txt"


def use_compiled(packed: Path) -> Path:
    """Points the compilers to a folder of their own, filled with what was compiled before.

    It has to be called before anything is compiled. Without a packed file the folder is empty.
    """
    place = Path(tempfile.mkdtemp())
    if packed.is_file():
        # Pythons of 3.11 up to 3.11.3, as Debian 12 has, know no filter; what is in it is our own.
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        with tarfile.open(packed) as opened:
            opened.extractall(place, **safely)  # type: ignore[arg-type]
    for variable, name in CACHES.items():
        (place / name).mkdir(exist_ok=True)
        os.environ[variable] = str(place / name)
    return place


def cache_counts() -> tuple[int, int]:
    """How many compiled graphs came out of the cache, and how many did not."""
    if "torch._dynamo.utils" not in sys.modules:
        return 0, 0  # Nothing was compiled, and the import would be on the clock.
    counts = sys.modules["torch._dynamo.utils"].counters["inductor"]
    bypassed = counts["fxgraph_cache_bypass"]
    return counts["fxgraph_cache_hit"], counts["fxgraph_cache_miss"] + bypassed


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


def compiled(recipe: Any, network: torch.nn.Module, frozen: bool) -> Any:
    """A network as the recipe compiles it, else as upstream; ``frozen`` holds its first bias.

    A recipe that defines ``compile_net(network)`` decides. Upstream compiles below ``if __name__``,
    which does not run here.
    """
    if frozen:
        network[0].bias.requires_grad = False  # type: ignore[index, union-attr]
    if hasattr(recipe, "compile_net"):
        return recipe.compile_net(network)
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


class OwnClock:
    """Standard output that remembers the time that the script printed last.

    Upstream prints a table; in its last row the epoch is ``eval`` and the last cell the seconds by
    the script's own clock, which leaves imports, compilation and evaluations out.
    """

    def __init__(self, shown: Any) -> None:
        """Takes where the text goes on to."""
        self.shown, self.line = shown, ""
        self.seconds: float | None = None

    def write(self, text: str) -> int:
        """Passes text on, and reads it line by line."""
        *whole, self.line = (self.line + text).split("\n")
        for line in whole:
            cells = [cell.strip() for cell in line.split("|")]
            if "eval" in cells:
                with contextlib.suppress(ValueError):
                    self.seconds = float(cells[-2])
        return self.shown.write(text)

    def flush(self) -> None:
        """Passes on."""
        self.shown.flush()


def run(seed: int, images: torch.Tensor, labels: torch.Tensor, stand_in: int) -> dict[str, Any]:
    """Runs the recipe once and returns what predict needs, and the times of the two clocks.

    Raises:
        SystemExit: The recipe lacks a function, or evaluated nothing.
    """
    random.seed(seed)
    torch.manual_seed(seed)
    recipe = opened()
    store("train.pt", images, labels)
    store("test.pt", images[:stand_in], labels[:stand_in])
    recipe.evaluate = last = LastEvaluated(recipe.evaluate)
    proxy = compiled(recipe, recipe.make_net(recipe.hyp["proxy"]), frozen=True)
    with_bias = compiled(recipe, recipe.make_net(recipe.hyp["net"]), frozen=False)
    without = compiled(recipe, recipe.make_net(recipe.hyp["net"]), frozen=True)
    clock, start = OwnClock(sys.stdout), time.perf_counter()
    with contextlib.redirect_stdout(clock):  # type: ignore[type-var]
        recipe.main(0, recipe.hyp, proxy, with_bias, without)
    if last.network is None:
        raise SystemExit("the recipe evaluated nothing, so nobody knows which network it made")
    network = getattr(last.network, "_orig_mod", last.network)
    hits, misses = cache_counts()
    print(f"compiled graphs: {hits} out of the cache, {misses} made anew")
    return {
        "weights": network.state_dict(),
        "level": last.level,
        "script_seconds": clock.seconds,
        "main_seconds": time.perf_counter() - start,
    }


def train(seed: int) -> None:
    """Trains once and saves the network and how it wants to be asked."""
    use_compiled(ROOT / "cache" / COMPILED)
    images, labels = batches(sorted((ROOT / "data").glob("data_batch_*")))
    torch.save(run(seed, images, labels, STAND_IN), ROOT / "out" / "network.pt")


def warm(seed: int, work: Path) -> None:
    """Runs the whole recipe on noise, asks the network that it made, and packs what it compiled."""
    place = use_compiled(work / COMPILED)
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (WARM_IMAGES, 32, 32, 3), dtype=torch.uint8, generator=draw)
    labels = torch.randint(0, CLASSES, (WARM_IMAGES,), generator=draw)
    saved = run(seed, images, labels, WARM_TESTS)
    torch.save(saved, work / "network.pt")
    again = torch.load(work / "network.pt", weights_only=True)
    answers(again, images[:WARM_TESTS])
    with tarfile.open(work / COMPILED, "w") as packed:
        for name in CACHES.values():
            packed.add(place / name, name)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    measured = {"main_seconds": saved["main_seconds"], "peak_memory_mb": memory}
    (work / "measured.json").write_text(json.dumps(measured))


def preflight(seed: int) -> None:
    """Warms up in two processes, cold and then as train will begin, and projects from the second.

    Raises:
        SystemExit: The recipe failed; its own words are above.
    """
    with tempfile.TemporaryDirectory() as name:
        seconds = []
        for _ in range(2):
            start = time.perf_counter()
            command = [sys.executable, __file__, "warm", "--seed", str(seed), "--work", name]
            if (status := subprocess.run(command, check=False).returncode) != 0:
                raise SystemExit(status if status > 0 else 128 - status)
            seconds.append(time.perf_counter() - start)
        print(f"warm-up: {seconds[0]:.1f} s cold, {seconds[1]:.1f} s with what was compiled")
        measured = json.loads(Path(name, "measured.json").read_text())
        (ROOT / "out" / "cache").mkdir()
        packed = Path(name, COMPILED).read_bytes()
        (ROOT / "out" / "cache" / COMPILED).write_bytes(packed)
    # Steps are in proportion to images; the rest of the process is not.
    rest = seconds[1] - measured["main_seconds"]
    projection = {
        "train_seconds": rest + measured["main_seconds"] * IMAGES / WARM_IMAGES,
        "peak_memory_mb": measured["peak_memory_mb"],
    }
    (ROOT / "out" / "projection.json").write_text(json.dumps(projection))


def answers(saved: dict[str, Any], images: torch.Tensor) -> list[int]:
    """The class of each image by a network that was saved.

    Raises:
        SystemExit: There are more or fewer classes than images.
    """
    recipe = opened()
    store("test.pt", images, torch.zeros(len(images), dtype=torch.long))
    network = recipe.make_net(recipe.hyp["net"])
    network.load_state_dict(saved["weights"])
    loader = recipe.InfiniteCifarLoader("cifar10", train=False, batch_size=2000)
    classes: list[int] = recipe.infer(network, loader, saved["level"]).argmax(1).tolist()
    if len(classes) != len(images):
        raise SystemExit(f"infer() gave {len(classes)} classes for {len(images)} images")
    return classes


def predict() -> None:
    """Writes the class of each hidden image, a number a line, and the time by the script's clock.

    The time is for people to see beside that of the sandbox. It is the script's word.
    """
    saved = torch.load(ROOT / "artifact" / "network.pt", weights_only=True)
    images = torch.from_numpy(np.load(ROOT / "inputs" / "images.npy"))
    lines = "".join(f"{number}\n" for number in answers(saved, images))
    (ROOT / "out" / "classes.txt").write_text(lines)
    seconds = saved.get("script_seconds")
    if isinstance(seconds, float) and math.isfinite(seconds):
        (ROOT / "out" / SECONDS).write_text(f"{seconds}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("phase", choices=["preflight", "warm", "train", "predict"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path)
    args = parser.parse_args()
    if args.phase == "preflight":
        preflight(args.seed)
    elif args.phase == "warm":
        warm(args.seed, args.work)
    elif args.phase == "train":
        train(args.seed)
    else:
        predict()
