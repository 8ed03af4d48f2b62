"""Runs nanochat's own scripts as phases: training without the items of CORE, then the evaluation.

    python -m torch.distributed.run --standalone --nproc_per_node=8 recipe/phases.py train --seed 1
    python -m torch.distributed.run --standalone --nproc_per_node=8 recipe/phases.py predict
    python recipe/phases.py preflight

Every process has a base folder of its own in the temporary folder, with links to what its phase may
see. So processes do not race for it, and nothing in it outlives the phase but what is copied out.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import re
import runpy
import shutil
import sys
import tempfile
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

RECIPE = Path(__file__).resolve().parent
TAG, DEPTH = "d12", 12
UPSTREAM_SEED = 42
"""What nanochat's compute_init gives to torch.manual_seed."""

TRAIN = (
    f"--depth={DEPTH}",
    "--run=dummy",
    f"--model-tag={TAG}",
    "--core-metric-every=-1",
    "--sample-every=-1",
    "--save-every=-1",
)
EVALUATE = ("--eval=core", f"--model-tag={TAG}", "--max-per-task=-1")

CLIMBMIX, TOKENIZER, BUNDLE = "base_data_climbmix", "tokenizer", "eval_bundle"
CHECKPOINTS = "base_checkpoints"
NEEDED = {
    TOKENIZER: ("tokenizer.pkl", "token_bytes.pt"),
    BUNDLE: ("core.yaml", "eval_meta_data.csv", "eval_data"),
}
MODULES = ("torch", "pyarrow", "tiktoken", "rustbpe", "filelock", "requests", "jinja2", "yaml")
MODEL, META = re.compile(r"model_(\d{6})\.pt"), "meta_{}.json"


class PhaseError(Exception):
    """What is missing or wrong, in words."""


def folder(*candidates: str) -> Path:
    """The first of the folders that is there, with all that nanochat wants in it.

    Raises:
        PhaseError: None is there, or a file in it is missing.
    """
    found = next((Path(name) for name in candidates if Path(name).is_dir()), None)
    if found is None:
        raise PhaseError(f"no folder {' or '.join(candidates)}")
    for name in NEEDED.get(found.name, ()):
        if not (found / name).exists():
            raise PhaseError(f"no {found / name}")
    return found.resolve()


def shards() -> Path:
    """The folder of training texts; the last file is nanochat's validation, so two are the least.

    Raises:
        PhaseError: There are fewer.
    """
    found = folder(f"data/{CLIMBMIX}")
    if len(list(found.glob("*.parquet"))) < 2:
        raise PhaseError(f"data/{CLIMBMIX} holds fewer than two .parquet files")
    return found


def no_items() -> None:
    """Refuses to train where the items of CORE are in sight.

    Raises:
        PhaseError: They are.
    """
    for place in ("data", "inputs", "."):
        if (Path(place) / BUNDLE).exists():
            raise PhaseError(f"training must not see {Path(place) / BUNDLE}")


@contextlib.contextmanager
def base_folder(links: Mapping[str, Path]) -> Iterator[Path]:
    """Makes NANOCHAT_BASE_DIR for this process, with links by name, and removes it afterwards."""
    with tempfile.TemporaryDirectory(prefix="nanochat-") as name:
        base = Path(name)
        for at, target in links.items():
            (base / at).parent.mkdir(parents=True, exist_ok=True)
            (base / at).symlink_to(target, target_is_directory=True)
        os.environ["NANOCHAT_BASE_DIR"] = name
        yield base


def surroundings() -> None:
    """Sets what nanochat's README sets, and keeps libraries off the network.

    Caches have to be named: their defaults are in a home folder that may be missing or read-only.
    """
    caches = Path(tempfile.gettempdir())
    wanted = {
        "OMP_NUM_THREADS": "1",
        "WANDB_MODE": "disabled",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    os.environ.update(wanted)
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(caches / "inductor"))
    os.environ.setdefault("TRITON_CACHE_DIR", str(caches / "triton"))
    # base_train sets this before it imports torch; here torch comes first, for the seed.
    os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
    if importlib.util.find_spec("wandb") is None:
        # base_train imports it even where a dummy takes its place.
        sys.modules["wandb"] = types.ModuleType("wandb")
    sys.path.insert(0, str(RECIPE))


def use_seed(seed: int) -> None:
    """Lets the seed take the place of the one that is fixed in nanochat.

    It decides the first weights, on all processes alike. It does not decide the order of the data,
    which nanochat takes file by file, and GPU kernels add up in an order of their own: one seed
    gives results that are near each other, not the same. Recipes that want it for their own draws
    find it in the environment as NANOCHAT_SEED.
    """
    import torch

    def instead(original: Callable[[int], Any]) -> Callable[[int], Any]:
        return lambda value: original(seed if value == UPSTREAM_SEED else value)

    os.environ["NANOCHAT_SEED"] = str(seed)
    torch.manual_seed = instead(torch.manual_seed)
    torch.cuda.manual_seed = instead(torch.cuda.manual_seed)


def run(module: str, arguments: tuple[str, ...]) -> None:
    """Runs a script of nanochat as if by `python -m`.

    Raises:
        PhaseError: There is no such script, or it ended with a status of failure.
    """
    path = RECIPE.joinpath(*module.split(".")).with_suffix(".py")
    if not path.is_file():
        raise PhaseError(f"no {path.relative_to(RECIPE.parent)}")
    sys.argv = [str(path), *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code not in (None, 0):
            raise PhaseError(f"{module} ended with status {end.code}") from end


def first_process() -> bool:
    """Whether this is the process that writes the output."""
    return os.environ.get("RANK", "0") == "0"


def checkpoint(place: Path) -> tuple[Path, Path]:
    """The one checkpoint in a folder: its model and its meta file.

    Raises:
        PhaseError: There is none, more than one, or the meta file is missing.
    """
    models = sorted(path for path in place.glob("*.pt") if MODEL.fullmatch(path.name))
    if len(models) != 1:
        raise PhaseError(f"{len(models)} checkpoints instead of one: {[m.name for m in models]}")
    meta = place / META.format(models[0].stem.removeprefix("model_"))
    if not meta.is_file():
        raise PhaseError(f"a checkpoint without its {meta.name}")
    return models[0], meta


def demand_depth(meta: Path) -> None:
    """Sees in a meta file that a network of the right depth was asked for and made.

    It is written by the recipe, so this finds mistakes rather than tricks.

    Raises:
        PhaseError: It is not so, or the file does not say.
    """
    try:
        settings = json.loads(meta.read_text(encoding="utf-8"))
        depths = settings["user_config"]["depth"], settings["model_config"]["n_layer"]
    except (ValueError, KeyError, TypeError) as error:
        raise PhaseError(f"{meta.name} does not tell the depth: {error!r}") from error
    if depths != (DEPTH, DEPTH):
        raise PhaseError(f"{meta.name}: depth {depths[0]}, {depths[1]} layers instead of {DEPTH}")


def train(seed: int, out: Path) -> None:
    """Trains, and leaves the model and its meta file; the state of the optimizer is not kept."""
    no_items()
    links = {CLIMBMIX: shards(), TOKENIZER: folder(f"data/{TOKENIZER}")}
    surroundings()
    use_seed(seed)
    with base_folder(links) as base:
        run("scripts.base_train", TRAIN)
        if first_process():
            model, meta = checkpoint(base / CHECKPOINTS / TAG)
            demand_depth(meta)
            for path in (model, meta):
                shutil.copyfile(path, out / path.name)


class Both:
    """Standard output that is also written to a file."""

    def __init__(self, shown: TextIO, kept: TextIO) -> None:
        self._shown, self._kept = shown, kept

    def write(self, text: str) -> int:
        """Writes to both."""
        self._shown.write(text)
        return self._kept.write(text)

    def flush(self) -> None:
        """Flushes both."""
        self._shown.flush()
        self._kept.flush()


def predict(out: Path) -> None:
    """Evaluates the checkpoint on all items, and leaves log.txt and core.csv."""
    artifact = folder("artifact")
    demand_depth(checkpoint(artifact)[1])
    links = {
        TOKENIZER: folder(f"data/{TOKENIZER}"),
        BUNDLE: folder(f"inputs/{BUNDLE}", f"data/{BUNDLE}"),
        f"{CHECKPOINTS}/{TAG}": artifact,
    }
    surroundings()
    with base_folder(links) as base:
        if not first_process():
            run("scripts.base_eval", EVALUATE)
            return
        with contextlib.ExitStack() as stack:
            log = stack.enter_context((out / "log.txt").open("w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(Both(sys.stdout, log)))  # type: ignore
            run("scripts.base_eval", EVALUATE)
        tables = sorted((base / "base_eval").glob("*.csv"))
        if len(tables) != 1:
            raise PhaseError(f"base_eval left {len(tables)} tables instead of one")
        shutil.copyfile(tables[0], out / "core.csv")


def preflight() -> None:
    """Sees in seconds whether training could start: files, modules, and code that parses.

    Raises:
        PhaseError: It could not.
    """
    no_items()
    shards()
    folder(f"data/{TOKENIZER}")
    missing = [name for name in MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise PhaseError(f"the sandbox lacks Python modules: {', '.join(missing)}")
    for path in sorted(RECIPE.rglob("*.py")):
        try:
            compile(path.read_bytes(), str(path.relative_to(RECIPE.parent)), "exec")
        except (SyntaxError, ValueError) as error:
            raise PhaseError(
                f"{path.relative_to(RECIPE.parent)} does not parse: {error}"
            ) from error


def main() -> None:
    """Runs the phase that is named."""
    parser = argparse.ArgumentParser()
    parser.add_argument("phase", choices=("preflight", "train", "predict"))
    parser.add_argument("--seed", type=int, default=UPSTREAM_SEED)
    given = parser.parse_args()
    out = Path("out").resolve()
    try:
        if given.phase == "preflight":
            preflight()
        elif given.phase == "train":
            train(given.seed, out)
        else:
            predict(out)
    except PhaseError as error:
        sys.exit(f"phases.py {given.phase}: {error}")


if __name__ == "__main__":
    main()
