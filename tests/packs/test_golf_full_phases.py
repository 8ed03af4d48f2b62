"""parameter_golf at full scale: the two halves, driven with a script that needs no GPU."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .scripts import SHIPPED, run_script, score_of

PACK = "parameter_golf"
RECIPE = SHIPPED / PACK / "full" / "recipe"
VALIDATION = "data/datasets/fineweb_val_000000.bin"
HIDDEN = "the hidden text"

# A script of the contest's shape: its names and the order of its calls, and nothing of its code.
SCRIPT = """
import os, random
from pathlib import Path
class Hyperparameters:
    seed = int(os.environ["SEED"]); data_dir = os.environ["DATA_DIR"]
    run_id = os.environ["RUN_ID"]; gain = float(os.environ.get("QK_GAIN_INIT", 5.25))
    ttt_enabled = os.environ.get("TTT_ENABLED", "1") == "1"; sliding_window_enabled = True
    num_loops = 2; iterations = 20000; max_wallclock_seconds = 6e2; gptq_reserve_seconds = 12.
    rank = int(os.environ.get("RANK", 0)); is_main_process = rank == 0
    logfile = "logs/x.txt"; model_path = "a.pt"; quantized_model_path = "a.ptz"
_h = None
def log(msg):
    if _h.is_main_process:
        with open(_h.logfile, "a") as f: print(msg, file=f)
class ValidationData:
    def __init__(self, h, device):
        self.val_tokens = Path(h.data_dir, "datasets/fineweb_val_000000.bin").read_text()
class Model(str): looping_active = False
def train_model(h, device, val_data):
    log(f"steps: {h.iterations} clock: {h.max_wallclock_seconds}")
    log("4000/20000 val_loss: 2.8745 val_bpb: 1.1128")
    Path("scratch.txt").write_text("here I may write")
    return Model(f"{val_data.val_tokens}, {h.seed}, {random.random()}"), None
def serialize(h, model, code):
    if h.is_main_process:
        Path(h.model_path).write_text(model)
        Path(h.quantized_model_path).write_text(model)
def deserialize(h, device): return Model(Path(h.quantized_model_path).read_text())
def eval_val_ttt(h, device, val_data, model):
    assert model.looping_active and "the hidden text".startswith(val_data.val_tokens)
    return 2.79180191, 1.08079352
def eval_val_sliding(h, device, val_data, model): return 2.79676256, 1.08271394
def timed_eval(label, fn, *args):
    loss, bits = fn(*args)
    log(f"{label} val_loss:{loss:.8f} val_bpb:{bits:.8f} eval_time:366525ms")
def train_and_eval(h, device): raise SystemExit("the script's own is never called")
def main():
    global _h
    _h = Hyperparameters()
    os.makedirs("logs", exist_ok=True)
    log(f"  run_id: {_h.run_id}")
    log(f"  gain: {_h.gain}")
    train_and_eval(_h, "cpu")
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A phase root: the recipe, and data as the pack places it."""
    shutil.copytree(RECIPE, tmp_path / "recipe")
    (tmp_path / "recipe" / "train_gpt.py").write_text(SCRIPT)
    for name in ("out", "artifact", "data/datasets"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / VALIDATION).write_text("a stand-in")
    return tmp_path


def edited(root: Path, old: str, new: str) -> None:
    script = root / "recipe" / "train_gpt.py"
    assert old in script.read_text()
    script.write_text(script.read_text().replace(old, new))


def ran(root: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs a phase as one process of those that a launcher starts."""
    command = [sys.executable, "-B", str(root / "recipe" / "phases.py"), *words]
    scratch = root / "scratch"
    scratch.mkdir(exist_ok=True)
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(scratch), **settings}
    return subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, timeout=120
    )


def train_then_predict(root: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    done = ran(root, "train", "--seed", "7", **settings)
    assert done.returncode == 0, done.stderr
    (root / "out" / "final_model.int6.ptz").rename(root / "artifact" / "final_model.int6.ptz")
    (root / VALIDATION).write_text(HIDDEN)
    return ran(root, "predict", "--seed", "7", **settings)


def test_train_sees_the_stand_in_and_leaves_the_artifact_alone(root: Path) -> None:
    done = ran(root, "train", "--seed", "7")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (root / "out").iterdir()] == ["final_model.int6.ptz"]
    model = (root / "out" / "final_model.int6.ptz").read_text()
    assert model.startswith("a stand-in, 7, ") and HIDDEN not in model


def test_train_does_not_run_without_a_stand_in_nor_look_elsewhere(root: Path) -> None:
    (root / VALIDATION).rename(root / "data" / "fineweb_val_000000.bin")
    done = ran(root, "train")
    assert done.returncode == 1 and "FileNotFoundError" in done.stderr


def test_nothing_is_written_outside_of_out_and_scratch(root: Path) -> None:
    def files() -> dict[str, bytes]:
        inside = ("out", "scratch")
        found = (path for path in root.rglob("*") if path.is_file())
        return {
            str(path): path.read_bytes()
            for path in found
            if path.relative_to(root).parts[0] not in inside
        }

    before = files()
    assert ran(root, "train").returncode == 0
    assert files() == before


def test_predict_leaves_a_log_that_the_scorer_reads(root: Path) -> None:
    done = train_then_predict(root)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (root / "out").iterdir()] == ["log.txt"]
    told = (root / "out" / "log.txt").read_text().splitlines()
    assert told[:2] == ["  run_id: predict", "  gain: 5.25"] and len(told) == 3
    (root / "out").rename(root / "predictions")
    (root / "out").mkdir()
    scored = run_script(PACK, "evaluator/score.py", root=root)
    assert scored.returncode == 0, scored.stderr
    assert score_of(root)["bits_per_byte"] == 1.08079352


@pytest.mark.parametrize(
    ("settings", "label", "bits"),
    [
        ({}, "quantized_ttt", "1.08079352"),
        ({"TTT_ENABLED": "0"}, "quantized_sliding_window", "1.08271394"),
    ],
)
def test_predict_scores_once(root: Path, settings: dict[str, str], label: str, bits: str) -> None:
    assert train_then_predict(root, **settings).returncode == 0
    (line,) = [x for x in (root / "out" / "log.txt").read_text().splitlines() if "val_" in x]
    assert line.startswith(f"{label} val_loss:") and f"val_bpb:{bits} " in line


def test_predict_makes_the_model_before_the_text_is_read(root: Path) -> None:
    assert train_then_predict(root).returncode == 0
    (root / "artifact" / "final_model.int6.ptz").unlink()
    (root / VALIDATION).unlink()
    assert "final_model.int6.ptz" in ran(root, "predict").stderr


def test_the_same_seed_is_the_same_and_another_is_not(root: Path) -> None:
    models = []
    for seed in ("7", "7", "8"):
        assert ran(root, "train", "--seed", seed).returncode == 0
        models.append((root / "out" / "final_model.int6.ptz").read_text())
    assert models[0] == models[1] and models[0].split(", ")[2] != models[2].split(", ")[2]


def test_a_seed_that_a_script_picks_is_of_no_use(root: Path) -> None:
    edited(root, 'int(os.environ["SEED"])', "42")
    assert ran(root, "train", "--seed", "7").returncode == 0
    assert (root / "out" / "final_model.int6.ptz").read_text().startswith("a stand-in, 7, ")


def test_only_the_first_rank_writes(root: Path) -> None:
    assert ran(root, "train", RANK="3").returncode == 0
    assert list((root / "out").iterdir()) == []
    assert train_then_predict(root).returncode == 0
    (root / "out" / "log.txt").unlink()
    assert ran(root, "predict", RANK="3").returncode == 0
    assert list((root / "out").iterdir()) == []


def test_a_default_that_is_edited_is_what_runs(root: Path) -> None:
    """Settings come out of the recipe; the phases put none of them into the environment."""
    edited(root, '"QK_GAIN_INIT", 5.25', '"QK_GAIN_INIT", 4.0')
    edited(root, '"TTT_ENABLED", "1"', '"TTT_ENABLED", "0"')
    assert train_then_predict(root).returncode == 0
    told = (root / "out" / "log.txt").read_text()
    assert "  gain: 4.0\n" in told and "quantized_sliding_window" in told


def test_the_stand_in_has_as_many_tokens_as_the_validation_text(root: Path) -> None:
    edited(root, 'f"{val_data.val_tokens}, {h.seed}', 'f"{len(val_data.val_tokens)}, {h.seed}')
    (root / VALIDATION).write_text("x" * 50_000_000)
    assert ran(root, "train").returncode == 0
    model = (root / "out" / "final_model.int6.ptz").read_text()
    # One token more than are predicted, as in the contest's log: val_tokens: 40540160.
    assert model.startswith("40540161, ")


@pytest.mark.parametrize(("asked", "granted"), [("6e2", 600), ("1200", 600), ("0", 600), ("9", 9)])
def test_no_recipe_has_a_longer_clock_than_the_contest(
    root: Path, asked: str, granted: int
) -> None:
    edited(root, "max_wallclock_seconds = 6e2", f"max_wallclock_seconds = {asked}")
    edited(root, "{val_data.val_tokens}, {h.seed}", "{h.max_wallclock_seconds:.0f}, {h.seed}")
    assert ran(root, "train").returncode == 0
    assert (root / "out" / "final_model.int6.ptz").read_text().startswith(f"{granted}, ")


@pytest.mark.slow
@pytest.mark.torch
def test_preflight_trains_saves_loads_and_scores_by_two_processes(root: Path) -> None:
    edited(root, "{val_data.val_tokens}, {h.seed}", "{h.iterations}, {os.environ['WORLD_SIZE']}")
    (root / VALIDATION).write_text(HIDDEN)
    edited(root, "    assert model.looping_active", "    print('scored', model); assert True")
    done = ran(root, "preflight", "--nproc_per_node", "2", "--seed", "7")
    assert done.returncode == 0, done.stderr
    # Two steps by two processes, and what they saved was scored by two again.
    scored = [line for line in done.stdout.splitlines() if line.startswith("scored 2, 2, ")]
    assert len(scored) == 2
    assert [path.name for path in (root / "out").iterdir()] == ["projection.json"]
    projection = json.loads((root / "out" / "projection.json").read_text())
    assert projection["artifact_bytes"] == len(scored[0].removeprefix("scored "))
    # The clock without its reserve, and what else train took.
    assert 588 < projection["train_seconds"] < 588 + 100
    assert projection["peak_memory_mb"] > 0


@pytest.mark.slow
@pytest.mark.torch
def test_preflight_fails_where_predict_would(root: Path) -> None:
    """Such a fault cost two whole trainings before it showed."""
    edited(
        root, "def deserialize(h, device): ", "def deserialize(h, device): raise OSError('cut')\n#"
    )
    done = ran(root, "preflight", "--nproc_per_node", "2")
    assert done.returncode == 1 and "OSError: cut" in done.stderr
    assert list((root / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("phase", "name"),
    [
        ("train", "train_model"),
        ("train", "serialize"),
        ("train", "train_and_eval"),
        ("predict", "deserialize"),
        ("predict", "timed_eval"),
        ("predict", "eval_val_ttt"),
        ("predict", "eval_val_sliding"),
    ],
)
def test_a_script_that_lacks_a_function_is_told_which(root: Path, phase: str, name: str) -> None:
    edited(root, f"def {name}(", f"def other_{name}(")
    done = ran(root, phase)
    assert done.returncode == 1
    assert done.stderr.strip() == f"train_gpt.py has to keep: {name} ({phase} calls it)"


def test_a_class_that_is_missing_is_named_too(root: Path) -> None:
    edited(root, "class ValidationData", "class Text")
    assert "has to keep: ValidationData (train" in ran(root, "train").stderr


def test_a_main_that_never_trains_is_told(root: Path) -> None:
    edited(root, '    train_and_eval(_h, "cpu")\n', "")
    done = ran(root, "train")
    assert done.returncode == 1 and "has to call train_and_eval once" in done.stderr
