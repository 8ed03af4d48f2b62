"""Runs nanochat's own scripts as phases: training without the items of CORE, then the evaluation.

    python -m torch.distributed.run --standalone --nproc_per_node=8 recipe/phases.py train --seed 1
    python -m torch.distributed.run --standalone --nproc_per_node=8 recipe/phases.py predict
    python recipe/phases.py preflight --nproc_per_node=8 --seed 1

Preflight launches both as they are launched later, with a few steps and made-up items.
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
import resource
import runpy
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
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
EVALUATE = ("--eval=core", f"--model-tag={TAG}")
KERNELS = Path("/opt/recipelab/kernels")
"""Where an image has kernels that are else fetched from a hub; see sandbox.toml."""

STEPS, WARM_STEPS = 8, 4
"""Steps of preflight, of which the first ones compile and are not counted."""
SMALL = {"num_iterations": STEPS, "target_flops": -1.0, "eval_every": STEPS}
FORWARD = 1 / 3
"""An evaluation's share of the time that training takes for as many tokens: it goes one way."""
LOG, TOLD = "train.log", "told.json"
KINDS = {
    "multiple_choice": {"query": "One and one is", "choices": ["two", "three"], "gold": 0},
    "schema": {"context_options": ["It rained", "It shone"], "continuation": "all day", "gold": 0},
    "language_modeling": {"context": "The sun is", "continuation": "hot"},
}
"""An item of each type of task, for preflight."""

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


def surroundings(kernels: bool = True) -> None:
    """Sets what nanochat's README sets, and keeps libraries off the network.

    Caches have to be named: their defaults are in a home folder that may be missing or read-only.
    Without ``kernels`` nanochat finds none, and takes PyTorch's attention.
    """
    caches = Path(tempfile.gettempdir())
    wanted = {
        "OMP_NUM_THREADS": "1",
        "WANDB_MODE": "disabled",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    os.environ.update(wanted)
    if kernels and KERNELS.is_dir():
        os.environ["KERNELS_CACHE"] = str(KERNELS)
    else:
        os.environ["KERNELS_CACHE"] = str(caches / "kernels")
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


@contextlib.contextmanager
def also_written(path: Path) -> Iterator[None]:
    """Writes what is printed to a file too."""
    with path.open("w", encoding="utf-8") as kept:
        both = Both(sys.stdout, kept)
        with contextlib.redirect_stdout(both):  # type: ignore[type-var]
            yield


@contextlib.contextmanager
def small(told: dict[str, Any]) -> Iterator[None]:
    """Lets whatever parses the command line get a few steps, and notes what it would have got."""
    original = argparse.ArgumentParser.parse_args

    def parse_args(parser: Any, *words: Any, **named: Any) -> Any:
        found = original(parser, *words, **named)
        told.update(vars(found))
        for name in SMALL.keys() & vars(found).keys():
            setattr(found, name, SMALL[name])
        if {"device_batch_size", "max_seq_len"} <= vars(found).keys():
            # One batch for each process, which is the least that can be evaluated.
            batch = found.device_batch_size * found.max_seq_len
            found.eval_tokens = batch * int(os.environ.get("WORLD_SIZE", "1"))
        return found

    argparse.ArgumentParser.parse_args = parse_args  # type: ignore[method-assign]
    try:
        yield
    finally:
        argparse.ArgumentParser.parse_args = original  # type: ignore[method-assign]


def train(seed: int, out: Path, kernels: bool, few: bool) -> None:
    """Trains, and leaves the model and its meta file; the state of the optimizer is not kept.

    With ``few`` it trains a few steps, and leaves what preflight projects from too.
    """
    no_items()
    links = {CLIMBMIX: shards(), TOKENIZER: folder(f"data/{TOKENIZER}")}
    surroundings(kernels)
    use_seed(seed)
    with base_folder(links) as base, contextlib.ExitStack() as stack:
        told: dict[str, Any] = {}
        if few:
            stack.enter_context(small(told))
            if first_process():
                stack.enter_context(also_written(out / LOG))
        run("scripts.base_train", TRAIN)
        if first_process():
            model, meta = checkpoint(base / CHECKPOINTS / TAG)
            demand_depth(meta)
            for path in (model, meta):
                shutil.copyfile(path, out / path.name)
            if few:
                (out / TOLD).write_text(json.dumps(told), encoding="utf-8")


def predict(out: Path, items: int, kernels: bool) -> None:
    """Evaluates the checkpoint, on all items of a task or on so many, and leaves log and table."""
    artifact = folder("artifact")
    demand_depth(checkpoint(artifact)[1])
    links = {
        TOKENIZER: folder(f"data/{TOKENIZER}"),
        BUNDLE: folder(f"inputs/{BUNDLE}", f"data/{BUNDLE}"),
        f"{CHECKPOINTS}/{TAG}": artifact,
    }
    surroundings(kernels)
    words = (*EVALUATE, f"--max-per-task={items}")
    with base_folder(links) as base:
        if not first_process():
            run("scripts.base_eval", words)
            return
        with also_written(out / "log.txt"):
            run("scripts.base_eval", words)
        tables = sorted((base / "base_eval").glob("*.csv"))
        if len(tables) != 1:
            raise PhaseError(f"base_eval left {len(tables)} tables instead of one")
        shutil.copyfile(tables[0], out / "core.csv")


def demand_parts() -> None:
    """Sees in a second whether training could start: files, modules, and code that parses.

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


def make_items(place: Path, count: int) -> None:
    """Makes a bundle in CORE's format that has a task of each type, of made-up items."""
    (place / "eval_data").mkdir(parents=True)
    settings, rows = ["icl_tasks:"], ["Eval Task,Random baseline"]
    for kind, item in KINDS.items():
        lines = "".join(f"{json.dumps(item)}\n" for _ in range(count))
        (place / "eval_data" / f"{kind}.jsonl").write_text(lines.rstrip(), encoding="utf-8")
        settings += ["-", f"  label: {kind}", f"  dataset_uri: {kind}.jsonl"]
        settings += ["  num_fewshot: [1]", f"  icl_task_type: {kind}"]
        rows.append(f"{kind},0")
    (place / "core.yaml").write_text("\n".join([*settings, ""]), encoding="utf-8")
    (place / "eval_meta_data.csv").write_text("\n".join([*rows, ""]), encoding="utf-8")


def launched(phase: str, place: Path, data: Path, processes: int, words: list[str]) -> float:
    """Runs a phase in a folder of its own, as it is launched later; returns its seconds.

    Raises:
        SystemExit: It failed; its own words are above.
    """
    (place / "out").mkdir(parents=True, exist_ok=True)
    (place / "data").symlink_to(data)
    launcher = ("-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}")
    start = time.perf_counter()
    command = [sys.executable, *launcher, __file__, phase, *words]
    status = subprocess.run(command, cwd=place, check=False).returncode
    if status != 0:
        raise SystemExit(status if status > 0 else 128 - status)
    return time.perf_counter() - start


def figure(log: str, name: str) -> float:
    """The last figure that stands behind a name and a colon in a log.

    Raises:
        ValueError: There is none.
    """
    found = re.findall(rf"(?m)^{name} *: ([0-9][0-9,.e+]*)", log)
    if not found:
        raise ValueError(f"no {name}")
    return float(found[-1].replace(",", ""))


def iterations(told: Mapping[str, Any], batch: int, log: str) -> int:
    """How many steps the recipe's own settings ask for, by nanochat's order of precedence.

    Raises:
        ValueError, KeyError: The settings or the log do not tell.
    """
    if told["num_iterations"] > 0:
        return int(told["num_iterations"])
    if told["target_flops"] > 0:
        return round(told["target_flops"] / (figure(log, "Estimated FLOPs per token") * batch))
    weights = figure(log, "transformer_matrices") + figure(log, "lm_head")
    return int(told["target_param_data_ratio"] * weights) // batch


def train_seconds(whole: float, left: Path) -> float:
    """Projects the time of training from that of a few steps.

    A recipe that words its log or its settings in another way is held to the few steps alone: it
    is not to fail for that, and what it trains is timed all the same.

    Args:
        whole: Seconds that the few steps took, with start, compilation and end.
        left: What training left.
    """
    log = (left / LOG).read_text(encoding="utf-8")
    steps = [float(ms) / 1000 for ms in re.findall(r"(?m)^step \d+/.*\bdt: ([0-9.]+)ms", log)]
    try:
        told = json.loads((left / TOLD).read_text(encoding="utf-8"))
        meta = json.loads(checkpoint(left)[1].read_text(encoding="utf-8"))
        batch = int(meta["total_batch_size"])
        wanted = iterations(told, batch, log)
        every, tokens = int(told["eval_every"]), float(told["eval_tokens"])
        step = statistics.median(steps[WARM_STEPS:])
    except (ValueError, KeyError, TypeError, statistics.StatisticsError) as error:
        print(f"log and settings do not tell how long training will be: {error!r}")
        return whole
    evaluations = wanted // every + 1 if every > 0 else 0
    return whole + step * (wanted - len(steps) + evaluations * FORWARD * tokens / batch)


def preflight(seed: int, processes: int, kernels: bool, out: Path) -> None:
    """Trains a few steps, saves, loads and evaluates made-up items, and projects from that.

    Raises:
        PhaseError: A file or a module is missing, or a file does not parse.
    """
    demand_parts()
    data = Path("data").resolve()
    also = [] if kernels else ["--no-kernels"]
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        words = ["--seed", str(seed), "--few", *also]
        seconds = launched("train", place / "train", data, processes, words)
        left = place / "train" / "out"
        make_items(place / "predict" / "inputs" / BUNDLE, 2 * processes)
        (place / "predict" / "artifact").symlink_to(left)
        launched("predict", place / "predict", data, processes, also)
        largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        projection = {
            "train_seconds": train_seconds(seconds, left),
            "peak_memory_mb": largest * processes,
        }
        flash = "Using Flash Attention 3" in (left / LOG).read_text(encoding="utf-8")
    print(f"attention: {'FlashAttention 3' if flash else 'that of PyTorch (SDPA)'}")
    (out / "projection.json").write_text(json.dumps(projection), encoding="utf-8")


def main() -> None:
    """Runs the phase that is named."""
    parser = argparse.ArgumentParser()
    parser.add_argument("phase", choices=("preflight", "train", "predict"))
    parser.add_argument("--seed", type=int, default=UPSTREAM_SEED)
    parser.add_argument("--nproc_per_node", type=int, default=1, help="processes of preflight")
    parser.add_argument("--items", type=int, default=-1, help="of a task at most; -1 for all")
    parser.add_argument("--no-kernels", action="store_true", help="PyTorch's own attention")
    parser.add_argument("--few", action="store_true", help="train a few steps")
    given = parser.parse_args()
    out, kernels = Path("out").resolve(), not given.no_kernels
    try:
        if given.phase == "preflight":
            preflight(given.seed, given.nproc_per_node, kernels, out)
        elif given.phase == "train":
            train(given.seed, out, kernels, given.few)
        else:
            predict(out, given.items, kernels)
    except PhaseError as error:
        sys.exit(f"phases.py {given.phase}: {error}")


if __name__ == "__main__":
    main()
