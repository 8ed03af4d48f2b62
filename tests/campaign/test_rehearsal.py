"""Rehearsals: a toy profile through all phases, and the shipped full profiles.

The full profiles are rehearsed on recipes of upstream's shape that are written here. Where
``RECIPELAB_UPSTREAM`` names a folder with clones, they are rehearsed on upstream's own too;
then the Python packages that a rehearsal asks for have to be there.
"""

from __future__ import annotations

import base64
import hashlib
import json
import lzma
import os
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recipelab.campaign.pack_runs import Level, PackFinding
from recipelab.campaign.rehearsal import rehearse, shrunk
from recipelab.cli.app import app
from recipelab.core.errors import PackError, RecipelabError
from recipelab.core.trial import Phase
from recipelab.packs.load import load_pack
from recipelab.packs.pack import Pack

TABLE = """
[profiles.big]
seeds = [1, 2]
budgets = { preflight = 900, train = 9000 }

[profiles.big.hardware]
gpus = 8
kind = "H100"

[profiles.big.phases.train]
command = ["python", "recipe/train.py", "--out", "out", "--seed", "{seed}", "--gpus", "8"]

[profiles.big.rehearsal]
folder = "rehearsal"
data = ["python", "rehearsal/make.py"]
files = ["inputs.txt", "answers.txt"]
budgets = { preflight = 10, train = 10, predict = 10, score = 10 }
limits = { memory_mb = 512, pids = 32, output_mb = 4, output_files = 4 }

[profiles.big.rehearsal.commands]
train = ["python", "recipe/train.py", "--out", "out", "--seed", "{seed}"]

[[profiles.big.rehearsal.replace]]
file = "recipe/train.py"
find = "X = 1.0"
replace = "X = 4.0"
why = "the real X"

[[profiles.big.rehearsal.expects]]
name = "near the made answer"
measure = "score.loss"
at_most = 0.01
"""
MAKE = """
from pathlib import Path
assert "X = 4.0" in Path("recipe/train.py").read_text(), "it sees the recipe as it is rehearsed"
Path("out/inputs.txt").write_text("none")
Path("out/answers.txt").write_text("4.0 2.0")
"""


@pytest.fixture
def big(project: Path) -> Path:
    """The toy pack's folder, with a profile that no machine of a developer can run."""
    folder = project / "task_packs" / "toy"
    (folder / "rehearsal").mkdir()
    (folder / "rehearsal" / "make.py").write_text(MAKE)
    with (folder / "pack.toml").open("a") as file:
        file.write(TABLE)
    return folder


def changed(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


async def found(pack: Pack, **more: object) -> list[PackFinding]:
    findings: list[PackFinding] = []
    options: dict[str, object] = {"sandbox": "local", **more}
    await rehearse(pack, found=findings.append, **options)  # type: ignore[arg-type]
    return findings


def texts(findings: list[PackFinding], what: str) -> list[str]:
    return [item.text for item in findings if item.what == what]


def errors(findings: list[PackFinding]) -> str:
    return "\n".join(f"{f.what}: {f.text}" for f in findings if f.level is Level.ERROR)


@pytest.mark.usefixtures("big")
def test_a_check_rehearses_if_asked_and_says_so_if_not() -> None:
    words = ["packs", "check", "toy", "--profile", "big", "--sandbox", "local", "--json"]
    plain = CliRunner().invoke(app, words)
    told = [item["told"] for item in json.loads(plain.stdout) if item["what"] == "left to prove"]
    command = "recipelab packs rehearse toy --profile big"
    assert any(text.startswith(f"phases, on data made on the spot: {command}") for text in told)
    both = CliRunner().invoke(app, [*words, "--rehearse"])
    assert both.exit_code == 0, both.output
    found = json.loads(both.stdout)
    assert any(item["what"] == "proven" for item in found)
    left = [item["told"] for item in found if item["what"] == "left to prove"]
    assert not any(text.startswith("phases") for text in left)
    assert any("needs 8 x H100" in text for text in left)
    none = CliRunner().invoke(app, ["packs", "check", "toy", "--rehearse"])
    assert none.exit_code == 2 and "has no [rehearsal]" in none.output


async def test_a_profile_for_gpus_runs_whole_on_made_data(big: Path) -> None:
    changed(big / "pack.toml", "at_least = 0.2", "at_least = 2.0")
    findings = await found(load_pack("toy", "big"))
    assert errors(findings) == ""
    told = [item.what for item in findings]
    assert told[:5] == ["data", "preflight", "train", "predict", "score"]
    assert all(re.match(r"\d+\.\d s, ", texts(findings, phase)[0]) for phase in told[1:5])
    gates = texts(findings, "gate, not decisive")
    assert gates[1].startswith("fit: 1, ") and gates[1].endswith("at least 2: would miss")
    assert texts(findings, "expected")[0].startswith("near the made answer: ")
    assert "1 replacements" in texts(findings, "proven")[0]
    left = texts(findings, "left to prove")
    assert left[:2] == ["the real X", "the profile's own commands of train"]
    assert "anything of 8 x H100" in left[2]


async def test_what_the_made_data_make_certain_does_decide(big: Path) -> None:
    changed(big / "pack.toml", 'replace = "X = 4.0"', 'replace = "X = 7.0"')
    changed(big / "rehearsal" / "make.py", "assert", "#")
    findings = await found(load_pack("toy", "big"))
    assert "expected: near the made answer: 9." in errors(findings)
    assert texts(findings, "proven") == []


async def test_a_failing_phase_is_told_with_its_log_though_it_saw_hidden_text(big: Path) -> None:
    prepare = """
[profiles.big.phases.prepare]
command = ["sh", "-c", "mkdir -p out/rounds/one out/plan; echo hidden > out/rounds/one/text"]

[profiles.big.phases.predict]
data = { "data/inputs.txt" = "inputs.txt" }
"""
    with (big / "pack.toml").open("a") as file:
        file.write(prepare)
    predict = big / "recipe" / "predict.py"
    predict.write_text("raise SystemExit(open('inputs/text').read())\n")
    findings = await found(load_pack("toy", "big"))
    assert "crashed: predict" in errors(findings)
    assert errors(findings).endswith("hidden")
    assert texts(findings, "train") and not texts(findings, "score")


async def test_data_that_are_not_made_are_named(big: Path) -> None:
    changed(big / "rehearsal" / "make.py", "out/answers.txt", "out/other.txt")
    assert "data: it left no answers.txt" in errors(await found(load_pack("toy", "big")))
    (big / "rehearsal" / "make.py").write_text("raise SystemExit('no disk')")
    findings = await found(load_pack("toy", "big"))
    assert "data: exit status 1" in errors(findings) and "no disk" in errors(findings)
    assert not texts(findings, "preflight")


async def test_packages_that_the_sandbox_lacks_are_named_with_the_way_to_get_them(
    big: Path,
) -> None:
    changed(
        big / "pack.toml",
        'folder = "rehearsal"',
        'folder = "rehearsal"\npackages = ["pydantic", "no-such-package"]',
    )
    with pytest.raises(RecipelabError, match=r"lacks .*: no-such-package; .*pip inst"):
        await found(load_pack("toy", "big"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('find = "X = 1.0"', 'find = "X = 9"', "number 1: 'X = 9' is 0 times in recipe/train.py"),
        ('find = "X = 1.0"', 'find = "smoke"', "'smoke' is 2 times in recipe/train.py, and should"),
        ('file = "recipe/train.py"', 'file = "recipe/b.py"', "no file 'recipe/b.py'; valid: rec"),
        ('replace = "X = 4.0"', 'replace = "X ="', "does not parse with rehearsal.replace: reci"),
    ],
)
def test_a_replacement_that_does_not_fit_is_refused(
    big: Path, old: str, new: str, message: str
) -> None:
    changed(big / "pack.toml", old, new)
    with pytest.raises(PackError, match=re.escape(message)):
        shrunk(load_pack("toy", "big"))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ('["inputs.txt", "b.txt"]', "rehearsal.files: no data file 'b.txt'; valid: answers.txt, "),
        ('["inputs.txt"]', "rehearsal.files: score would see no data; it sees: answers.txt"),
    ],
)
def test_files_of_a_rehearsal_are_those_of_the_pack(big: Path, files: str, message: str) -> None:
    changed(big / "pack.toml", 'files = ["inputs.txt", "answers.txt"]', f"files = {files}")
    with pytest.raises(PackError, match=re.escape(message)):
        load_pack("toy", "big")


def test_on_the_command_line(big: Path) -> None:
    def ran(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["packs", "rehearse", "toy", "--sandbox", "local", *words])
        return done.exit_code, done.output

    code, text = ran("--profile", "mini")
    assert code == 2 and "profile mini has no [rehearsal]" in text
    (big / "recipe" / "predict.py").write_text("raise ValueError('no such class')\n")
    code, text = ran("--profile", "big", "--json")
    assert code == 1
    told = json.loads(text[text.index("[\n") :])
    (error,) = [item for item in told if item["level"] == "error"]
    assert error["what"] == "evaluation" and "no such class" in error["told"]


# The shipped full profiles, on recipes of upstream's shape: its names, and nothing of its code.

CIFAR = """
import torch
from torch import nn

hyp = {"proxy": {}, "net": {}}


class InfiniteCifarLoader:
    def __init__(self, path, train=True, batch_size=500, **kwargs):
        table = torch.load(f"{path}/{'train' if train else 'test'}.pt")
        self.images, self.labels = table["images"].float(), table["labels"]


class Nearest(nn.Module):
    def __init__(self):
        super().__init__()
        self.means = nn.Parameter(torch.zeros(10, 3072))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, images):
        return -torch.cdist(images.reshape(len(images), -1), self.means)


def make_net(hyp):
    return nn.Sequential(Nearest())


def compile_net(network):
    return network


def infer(model, loader, tta_level=0):
    with torch.no_grad():
        return model(loader.images)


def evaluate(model, loader, tta_level=0):
    return (infer(model, loader, tta_level).argmax(1) == loader.labels).float().mean().item()


def main(run, hyp, proxy, with_bias, without):
    train, test = InfiniteCifarLoader("cifar10"), InfiniteCifarLoader("cifar10", train=False)
    rows = train.images.reshape(len(train.images), -1)
    with torch.no_grad():
        for label in range(10):
            without[0].means[label] = rows[train.labels == label].mean(0)
    return evaluate(without, test)
"""
GOLF = """
import os
from pathlib import Path


class Hyperparameters:
    seed = int(os.environ.get("SEED", 1337))
    datasets_dir = os.path.join(os.environ.get("DATA_DIR", "data"), "datasets/fineweb10B_sp8192")
    val_files = os.path.join(datasets_dir, "fineweb_val_000000.bin")
    ttt_enabled, sliding_window_enabled, num_loops, is_main_process = True, True, 2, True
    logfile, model_path, quantized_model_path = "a.txt", "a.pt", "a.ptz"
    iterations, max_wallclock_seconds, gptq_reserve_seconds = 20000, 600.0, 12.0


class Model(str):
    looping_active = False


class ValidationData:
    def __init__(self, h, device):
        self.val_tokens = Path(h.val_files).read_text()


def log(msg):
    with open(Hyperparameters.logfile, "a") as file:
        file.write(msg + "\\n")


def train_model(h, device, val_data):
    return Model("weights"), None


def serialize(h, model, code):
    Path(h.quantized_model_path).write_text(model)


def deserialize(h, device):
    return Model(Path(h.quantized_model_path).read_text())


def eval_val_sliding(h, device, val_data, model):
    return 2.8, 1.1


def eval_val_ttt(h, device, val_data, model):
    assert model.looping_active and val_data.val_tokens == "hidden"
    return 2.79180191, 1.08079352


def timed_eval(label, fn, *args):
    loss, bits = fn(*args)
    log(f"{label} val_loss:{loss:.8f} val_bpb:{bits:.8f} eval_time:366525ms")


def train_and_eval(h, device):
    raise NotImplementedError


def main():
    train_and_eval(Hyperparameters(), "cpu")
"""
NANOCHAT = {
    "nanochat/common.py": "import torch\n\ntorch.manual_seed(42)\n",
    "scripts/base_train.py": """
import json
import os
from pathlib import Path

import nanochat.common

place = Path(os.environ["NANOCHAT_BASE_DIR"], "base_checkpoints", "d12")
place.mkdir(parents=True)
place.joinpath("model_000003.pt").write_text("weights")
told = {"user_config": {"depth": 12}, "model_config": {"n_layer": 12}}
place.joinpath("meta_000003.json").write_text(json.dumps(told))
""",
    "scripts/base_eval.py": """
import csv
import os
from pathlib import Path

base = Path(os.environ["NANOCHAT_BASE_DIR"])
assert (base / "base_checkpoints" / "d12" / "model_000003.pt").read_text() == "weights"
rows = list(csv.DictReader((base / "eval_bundle" / "eval_meta_data.csv").open()))
(base / "base_eval").mkdir()
with (base / "base_eval" / "base_model_000003.csv").open("w") as table:
    table.write(f"{'Task':<35}, {'Accuracy':<10}, {'Centered':<10}\\n")
    for row in rows:
        label = row["Eval Task"]
        print(f"Evaluating: {label} (2-shot, type: schema)... ", end="")
        print("accuracy: 0.7500 | centered: 0.5000 | time: 0.01s")
        table.write(f"{label:<35}, {0.75:<10.6f}, {0.5:<10.6f}\\n")
    table.write(f"{'CORE':<35}, {'':<10}, {0.5:<10.6f}\\n")
print(f"CORE metric: {0.5:.4f}")
""",
}
# The driver seeds PyTorch; nothing else of it is needed.
TORCH = """
from types import SimpleNamespace

manual_seed = print
cuda = SimpleNamespace(manual_seed=print)
"""
FILES = """
import zipfile
from pathlib import Path

out = Path("out")
for name in NAMES:
    (out / name).write_text("hidden" if "fineweb_val" in name else "seen")
if "eval_bundle.zip" in NAMES:
    labels = [f"task_{number}" for number in range(22)]
    with zipfile.ZipFile(out / "eval_bundle.zip", "w") as bundle:
        bundle.writestr("eval_bundle/eval_data/made.jsonl", "")
        tasks = "".join(f"-\\n  label: {label}\\n" for label in labels)
        bundle.writestr("eval_bundle/core.yaml", "icl_tasks:\\n" + tasks)
        table = "".join(f"{label},50\\n" for label in labels)
        bundle.writestr("eval_bundle/eval_meta_data.csv", "Eval Task,Random baseline\\n" + table)
"""


def packed(text: str) -> str:
    """A Python file that unpacks itself, as the contest's authors write it."""
    filters = [{"id": lzma.FILTER_LZMA2}]
    raw = lzma.compress(text.encode(), format=lzma.FORMAT_RAW, filters=filters)
    return f'exec(lzma.decompress(b85decode("{base64.b85encode(raw).decode()}")))'


def stand_in(name: str, place: Path, files: dict[str, str], made: str | None) -> tuple[Pack, Path]:
    """A shipped pack with another upstream, and that upstream's clone.

    Its drivers, rules and scorers are those of the pack. Preflight and the launcher of several
    processes do not run; they have tests of their own.
    """
    pack = load_pack(name, "full")
    assert pack.upstream is not None and pack.rehearsal is not None
    root, clone = place / name, place / "clone"
    shutil.copytree(pack.root, root)
    if made is not None:
        script = f"NAMES = {pack.rehearsal.files!r}\n{made}"
        (root / "full" / "rehearsal" / "make_data.py").write_text(script)
    taken = []
    for item in pack.upstream.files:
        text = files.get(item.target, "")
        raw = (packed(text) if item.unpack else text).encode()
        (clone / item.path).parent.mkdir(parents=True, exist_ok=True)
        (clone / item.path).write_bytes(raw)
        own = {"sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw), "replace": ()}
        taken.append(item.model_copy(update=own))
    train = ("python", "full/recipe/phases.py", "train", "--seed", "{seed}")
    commands = {
        **pack.rehearsal.commands,
        Phase.PREFLIGHT: ("true",),
        Phase.TRAIN: train,
        Phase.PREDICT: ("python", "full/recipe/phases.py", "predict"),
    }
    spec = {"replace": (), "sandbox": "cpu", "packages": (), "commands": commands}
    changes = {
        "root": root,
        "upstream": pack.upstream.model_copy(update={"files": tuple(taken)}),
        "rehearsal": pack.rehearsal.model_copy(update=spec),
    }
    return pack.model_copy(update=changes), clone


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "files", "made", "score"),
    [
        pytest.param(
            *("airbench96", {"airbench96_faster.py": CIFAR}, None, "seconds "),
            marks=pytest.mark.torch,
        ),
        ("parameter_golf", {"train_gpt.py": GOLF}, FILES, "bits_per_byte 1.0808 bits"),
        ("nanochat_d12", NANOCHAT, FILES, "core 0.5, "),
    ],
)
async def test_a_full_profile_is_rehearsed_on_a_recipe_of_its_shape(
    name: str,
    files: dict[str, str],
    made: str | None,
    score: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    pack, clone = stand_in(name, tmp_path, files, made)
    if name == "nanochat_d12":
        (pack.root / "full" / "recipe" / "torch.py").write_text(TORCH)
    findings = await found(pack, source=clone)
    assert errors(findings) == ""
    assert texts(findings, "metric")[0].startswith(score)
    assert texts(findings, "proven")


# And on upstream's own.

UPSTREAM = os.environ.get("RECIPELAB_UPSTREAM")
CLONES = {
    "airbench96": "cifar10-airbench",
    "parameter_golf": "parameter-golf",
    "nanochat_d12": "nanochat",
}
needs_clones = pytest.mark.skipif(not UPSTREAM, reason="RECIPELAB_UPSTREAM names no clones")


@needs_clones
@pytest.mark.torch
@pytest.mark.parametrize("name", CLONES)
@pytest.mark.parametrize("kind", ["local", pytest.param("docker", marks=pytest.mark.docker)])
async def test_the_recipe_of_upstream_is_rehearsed(
    name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = Path(UPSTREAM or "") / CLONES[name]
    findings = await found(load_pack(name, "full"), source=source, sandbox=kind)
    assert errors(findings) == ""
    assert texts(findings, "proven")


@needs_clones
@pytest.mark.parametrize("name", CLONES)
async def test_a_clone_that_differs_is_refused_before_anything_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    pack = load_pack(name, "full")
    assert pack.upstream is not None
    for item in pack.upstream.files:
        file = tmp_path / "clone" / item.path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes((Path(UPSTREAM or "") / CLONES[name] / item.path).read_bytes() + b"\n")
    with pytest.raises(RecipelabError, match="is another file"):
        await found(pack, source=tmp_path / "clone")
