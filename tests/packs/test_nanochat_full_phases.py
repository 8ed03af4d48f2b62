"""nanochat_d12 at full scale: what each phase shows to nanochat's scripts, and what it keeps.

Scripts of a few lines take nanochat's place, so no GPU and no PyTorch are needed.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from recipelab.core import content

from .scripts import as_scripts_in

FULL = content.shipped_root() / content.TASK_PACKS / "nanochat_d12" / "full"
with as_scripts_in(FULL / "recipe"):
    phases = importlib.import_module("phases")

TORCH = """
from types import SimpleNamespace
SEEDS = []
manual_seed = SEEDS.append
cuda = SimpleNamespace(manual_seed=SEEDS.append)
"""
TRAIN = """
import json, os, sys
import torch, wandb
from nanochat import helper
torch.manual_seed(42)
torch.cuda.manual_seed(42)
torch.manual_seed(5)
base = os.environ["NANOCHAT_BASE_DIR"]
place = os.path.join(base, "base_checkpoints", "d12")
os.makedirs(place)
rank = os.environ.get("RANK", "0")
open(os.path.join(place, f"optim_002520_rank{rank}.pt"), "w").write("o")
if rank == "0":
    open(os.path.join(place, "model_002520.pt"), "w").write("weights")
    names = ("OMP_NUM_THREADS", "WANDB_MODE", "HF_HUB_OFFLINE", "NANOCHAT_SEED")
    told = {
        "user_config": {"depth": 12},
        "model_config": {"n_layer": 12},
        "argv": sys.argv[1:],
        "seen": sorted(os.listdir(base)),
        "texts": sorted(os.listdir(os.path.join(base, "base_data_climbmix"))),
        "tokenizer": sorted(os.listdir(os.path.join(base, "tokenizer"))),
        "seeds": torch.SEEDS,
        "environment": {name: os.environ.get(name) for name in names},
    }
    json.dump(told, open(os.path.join(place, "meta_002520.json"), "w"))
"""
EVAL = """
import json, os, sys
def main():
    base = os.environ["NANOCHAT_BASE_DIR"]
    if os.environ.get("RANK", "0") == "0":
        print(json.dumps({"argv": sys.argv[1:], "seen": sorted(os.listdir(base))}))
        print("model:", open(os.path.join(base, "base_checkpoints/d12/model_002520.pt")).read())
        print("items:", open(os.path.join(base, "eval_bundle/core.yaml")).read())
        print("to stderr", file=sys.stderr)
        os.makedirs(os.path.join(base, "base_eval"))
        with open(os.path.join(base, "base_eval/base_model_002520.csv"), "w") as f:
            f.write("the table")
if __name__ == "__main__":
    main()
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of a phase, with data for training."""
    folder = tmp_path / "phase"
    files = {
        "recipe/torch.py": TORCH,
        "recipe/scripts/base_train.py": TRAIN,
        "recipe/scripts/base_eval.py": EVAL,
        "recipe/nanochat/__init__.py": "",
        "recipe/nanochat/helper.py": "",
        "data/base_data_climbmix/shard_00000.parquet": "",
        "data/base_data_climbmix/shard_06542.parquet": "",
        "data/tokenizer/tokenizer.pkl": "",
        "data/tokenizer/token_bytes.pt": "",
    }
    for name, text in files.items():
        put(folder, name, text)
    shutil.copy(FULL / "recipe" / "phases.py", folder / "recipe" / "phases.py")
    (folder / "out").mkdir()
    (tmp_path / "scratch").mkdir()
    return folder


@pytest.fixture
def trained(root: Path) -> Path:
    """The folder of a phase, with what predict sees."""
    meta = {"user_config": {"depth": 12}, "model_config": {"n_layer": 12}}
    put(root, "artifact/model_002520.pt", "weights")
    put(root, "artifact/meta_002520.json", json.dumps(meta))
    put(root, "inputs/eval_bundle/core.yaml", "hidden")
    put(root, "inputs/eval_bundle/eval_meta_data.csv", "")
    put(root, "inputs/eval_bundle/eval_data/x.jsonl", "")
    shutil.rmtree(root / "data" / "base_data_climbmix")
    return root


def put(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def phase(root: Path, *arguments: str, rank: int = 0) -> subprocess.CompletedProcess[str]:
    """Runs a phase as one process of torch.distributed.run does."""
    environment = {
        "PATH": os.environ["PATH"],
        "TMPDIR": str(root.parent / "scratch"),
        "RANK": str(rank),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "recipe/phases.py", *arguments]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)


def left(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "out").iterdir())


def test_training_sees_texts_and_tokenizer_and_leaves_the_model(root: Path) -> None:
    result = phase(root, "train", "--seed", "7")
    assert result.returncode == 0, result.stderr
    assert left(root) == ["meta_002520.json", "model_002520.pt"]
    told = json.loads((root / "out" / "meta_002520.json").read_text())
    assert told["seen"] == ["base_checkpoints", "base_data_climbmix", "tokenizer"]
    assert told["texts"] == ["shard_00000.parquet", "shard_06542.parquet"]
    assert told["tokenizer"] == ["token_bytes.pt", "tokenizer.pkl"]
    assert told["argv"] == [
        "--depth=12",
        "--run=dummy",
        "--model-tag=d12",
        "--core-metric-every=-1",
        "--sample-every=-1",
        "--save-every=-1",
    ]
    assert told["environment"] == {
        "OMP_NUM_THREADS": "1",
        "WANDB_MODE": "disabled",
        "HF_HUB_OFFLINE": "1",
        "NANOCHAT_SEED": "7",
    }


def test_the_seed_takes_the_place_of_nanochats_and_of_no_other(root: Path) -> None:
    phase(root, "train", "--seed", "7")
    assert json.loads((root / "out" / "meta_002520.json").read_text())["seeds"] == [7, 7, 5]


def test_other_processes_leave_nothing(root: Path) -> None:
    assert phase(root, "train", "--seed", "7", rank=3).returncode == 0
    assert left(root) == []


def test_predict_sees_the_items_and_leaves_log_and_table(trained: Path) -> None:
    result = phase(trained, "predict")
    assert result.returncode == 0, result.stderr
    assert left(trained) == ["core.csv", "log.txt"]
    assert (trained / "out" / "core.csv").read_text() == "the table"
    first, model, items = (trained / "out" / "log.txt").read_text().splitlines()
    told = json.loads(first)
    assert told["seen"] == ["base_checkpoints", "eval_bundle", "tokenizer"]
    assert told["argv"] == ["--eval=core", "--model-tag=d12", "--max-per-task=-1"]
    assert (model, items) == ("model: weights", "items: hidden")
    assert result.stdout == (trained / "out" / "log.txt").read_text()


def test_predict_may_be_held_to_some_items_of_a_task(trained: Path) -> None:
    assert "--max-per-task=500" in phase(trained, "predict", "--items", "500").stdout


def test_predict_takes_the_items_from_data_too(trained: Path) -> None:
    shutil.move(trained / "inputs" / "eval_bundle", trained / "data" / "eval_bundle")
    assert phase(trained, "predict").returncode == 0


def test_other_processes_of_predict_leave_nothing(trained: Path) -> None:
    assert phase(trained, "predict", rank=1).returncode == 0
    assert left(trained) == []


@pytest.mark.parametrize("arguments", [("train", "--seed", "1"), ("predict",)])
def test_nothing_stays_in_the_temporary_folder(trained: Path, arguments: tuple[str, ...]) -> None:
    if arguments[0] == "train":
        shutil.rmtree(trained / "inputs")
        put(trained, "data/base_data_climbmix/a.parquet", "")
        put(trained, "data/base_data_climbmix/b.parquet", "")
    assert phase(trained, *arguments).returncode == 0
    assert list((trained.parent / "scratch").iterdir()) == []


@pytest.mark.parametrize("place", ["data", "inputs", "."])
def test_training_refuses_to_see_the_items(root: Path, place: str) -> None:
    put(root, f"{place}/eval_bundle/core.yaml", "")
    result = phase(root, "train", "--seed", "1")
    assert (result.returncode, "training must not see" in result.stderr) == (1, True)


WRONG = "recipe/scripts/base_train.py"


@pytest.mark.parametrize(
    ("gone", "told"),
    [
        ("data/tokenizer/token_bytes.pt", "no data/tokenizer/token_bytes.pt"),
        ("data/base_data_climbmix/shard_00000.parquet", "fewer than two .parquet"),
        (WRONG, "no recipe/scripts/base_train.py"),
    ],
)
def test_what_training_lacks_is_named(root: Path, gone: str, told: str) -> None:
    (root / gone).unlink()
    result = phase(root, "train", "--seed", "1")
    assert (result.returncode, told in result.stderr) == (1, True), result.stderr


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("model_002520.pt", "weights.pt", "0 checkpoints instead of one"),
        ("meta_002520.json", "meta.json", "without its meta_002520.json"),
        ('"depth": 12', '"depth": 20', "depth 20, 12 layers instead of 12"),
        ('"n_layer": 12', '"n_layer": 24', "depth 12, 24 layers instead of 12"),
        ('"model_config"', '"config"', "does not tell the depth"),
        ("place = ", "sys.exit(3)\nplace = ", "scripts.base_train ended with status 3"),
        ("place = ", "sys.exit(0)\nplace = ", "0 checkpoints instead of one"),
        ("place = ", "raise ValueError('too hot')\nplace = ", "ValueError: too hot"),
    ],
)
def test_what_a_recipe_does_wrong_is_told(root: Path, old: str, new: str, told: str) -> None:
    put(root, WRONG, TRAIN.replace(old, new))
    result = phase(root, "train", "--seed", "1")
    assert (result.returncode, told in result.stderr) == (1, True), result.stderr
    assert left(root) == []


@pytest.mark.parametrize(
    ("gone", "told"),
    [
        ("artifact", "no folder artifact"),
        ("inputs", "no folder inputs/eval_bundle or data/eval_bundle"),
        ("inputs/eval_bundle/eval_data", "no inputs/eval_bundle/eval_data"),
    ],
)
def test_what_predict_lacks_is_named(trained: Path, gone: str, told: str) -> None:
    shutil.rmtree(trained / gone)
    result = phase(trained, "predict")
    assert (result.returncode, told in result.stderr) == (1, True), result.stderr


def test_two_checkpoints_are_one_too_many(trained: Path) -> None:
    put(trained, "artifact/model_009999.pt", "other weights")
    result = phase(trained, "predict")
    assert (result.returncode, "2 checkpoints" in result.stderr) == (1, True)


# What base_train has besides: options, and what it prints and saves of a few steps.
STEPPING = """
import argparse, os
parser = argparse.ArgumentParser()
parser.add_argument("--num-iterations", type=int, default=-1)
parser.add_argument("--target-flops", type=float, default=-1.0)
parser.add_argument("--target-param-data-ratio", type=float, default=12)
parser.add_argument("--device-batch-size", type=int, default=32)
parser.add_argument("--max-seq-len", type=int, default=2048)
parser.add_argument("--eval-every", type=int, default=250)
parser.add_argument("--eval-tokens", type=int, default=41943040)
args = parser.parse_args([])
if os.environ.get("RANK", "0") == "0":
    print("Using Flash Attention 3")
    print("transformer_matrices    : 84,934,656")
    print("lm_head                 : 25,165,824")
    print("Estimated FLOPs per token: 7.500000e+08")
    print("evaluates", args.eval_tokens, "tokens")
    for step in range(args.num_iterations):
        dt = 9000 if step < 4 else 100
        print(f"step {step:05d}/{args.num_iterations:05d} (1.0%) | loss: 1.0 | dt: {dt:.2f}ms | x")
"""
MODULES = ("pyarrow", "tiktoken", "rustbpe", "filelock", "requests", "jinja2", "yaml")


@pytest.fixture
def stepping(root: Path) -> Path:
    """The folder of a phase whose script takes steps and tells of them."""
    batch = '"model_config": {"n_layer": 12}, "total_batch_size": 524288,'
    put(root, WRONG, STEPPING + TRAIN.replace('"model_config": {"n_layer": 12},', batch))
    for name in MODULES:
        put(root, f"recipe/{name}.py", "")
    return root


@pytest.mark.slow
@pytest.mark.torch
def test_preflight_trains_saves_loads_and_evaluates_by_two_processes(stepping: Path) -> None:
    result = phase(stepping, "preflight", "--nproc_per_node", "2", "--seed", "7")
    assert result.returncode == 0, result.stderr
    assert left(stepping) == ["projection.json"]
    told = result.stdout.splitlines()
    assert "evaluates 131072 tokens" in told and "attention: FlashAttention 3" in told
    assert "step 00007/00008 (1.0%)" in result.stdout and "step 00008/" not in result.stdout
    # What was saved was loaded, beside made-up items and nothing of CORE's.
    assert "model: weights" in told and "items: icl_tasks:" in told
    projection = json.loads((stepping / "out" / "projection.json").read_text())
    steps = 12 * (84_934_656 + 25_165_824) // 524_288
    whole = steps - 8 + (steps // 250 + 1) * 80 / 3
    assert 0 < projection["train_seconds"] - 0.1 * whole < 60
    assert projection["peak_memory_mb"] > 0


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (WRONG, "torch.manual_seed(5)", "raise ValueError('too hot')"),
        ("recipe/scripts/base_eval.py", "base = os", "raise ValueError('too hot'); base = os"),
    ],
)
def test_preflight_fails_where_a_phase_would(stepping: Path, file: str, old: str, new: str) -> None:
    path = stepping / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    result = phase(stepping, "preflight", "--nproc_per_node", "2")
    assert result.returncode == 1
    assert "ValueError: too hot" in result.stderr, result.stderr
    assert left(stepping) == []


@pytest.mark.parametrize(
    ("told", "steps"),
    [
        ({}, 2520),
        ({"num_iterations": 3000}, 3000),
        ({"target_flops": 7.5e8 * 524288 * 50}, 50),
        ({"target_param_data_ratio": 24, "eval_every": -1}, 5040),
    ],
)
def test_steps_are_those_that_the_settings_ask_for(told: dict[str, float], steps: int) -> None:
    defaults = {"num_iterations": -1, "target_flops": -1.0, "target_param_data_ratio": 12}
    log = "transformer_matrices    : 84,934,656\nlm_head                 : 25,165,824\n"
    log += "Estimated FLOPs per token: 7.500000e+08\n"
    assert phases.iterations({**defaults, **told}, 524_288, log) == steps


@pytest.mark.parametrize("gone", ["train.log", "told.json", "meta_000008.json"])
def test_what_does_not_tell_its_steps_is_held_to_the_few(gone: str, tmp_path: Path) -> None:
    put(tmp_path, "train.log", "".join(f"step {n}/8 | dt: 100.00ms\n" for n in range(8)))
    put(tmp_path, "told.json", '{"num_iterations": 1008, "eval_every": -1, "eval_tokens": 1}')
    put(tmp_path, "model_000008.pt", "")
    put(tmp_path, "meta_000008.json", '{"total_batch_size": 524288}')
    assert phases.train_seconds(30.0, tmp_path) == pytest.approx(130.0)
    put(tmp_path, gone, "{}")
    assert phases.train_seconds(30.0, tmp_path) == 30.0


def test_preflight_tells_of_code_that_does_not_parse(root: Path) -> None:
    for name in MODULES:
        put(root, f"recipe/{name}.py", "")
    put(root, "recipe/nanochat/helper.py", "def")
    result = phase(root, "preflight")
    assert (result.returncode, "helper.py does not parse" in result.stderr) == (1, True)


def test_preflight_tells_of_modules_that_the_sandbox_lacks(root: Path) -> None:
    driver = root / "recipe" / "phases.py"
    driver.write_text(driver.read_text().replace('"rustbpe"', '"no_such_module"'))
    result = phase(root, "preflight")
    assert (result.returncode, "no_such_module" in result.stderr) == (1, True)
