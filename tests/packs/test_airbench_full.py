"""airbench96 at full scale: the two halves, the scorer and the rules, on what a CPU can run."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .scripts import SHIPPED, loaded, run_script, score_of

pytestmark = pytest.mark.slow

PACK = "airbench96"
rules = loaded(PACK, "rules")

# Of upstream's shape: the same names, and a network that knows the class of an image by its corner.
SCRIPT = """
import random, torch
from torch import nn
hyp = {"proxy": {}, "net": {}}
class InfiniteCifarLoader:
    def __init__(self, path, train=True, batch_size=500, **kwargs):
        table = torch.load(f"{path}/{'train' if train else 'test'}.pt")
        self.images, self.labels = table["images"].float(), table["labels"]
class Corner(nn.Module):
    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(1)); self.bias = nn.Parameter(torch.zeros(1))
    def forward(self, images): return nn.functional.one_hot(images[:, 0, 0, 0].long() % 10, 10)
def make_net(hyp): return nn.Sequential(nn.Conv2d(3, 1, 1), Corner())
def infer(model, loader, tta_level=0):
    return model[1](loader.images) if isinstance(model, nn.Sequential) else None
def evaluate(model, loader, tta_level=0): return 0.5
def main(run, hyp, proxy, with_bias, without):
    train, test = InfiniteCifarLoader("cifar10"), InfiniteCifarLoader("cifar10", train=False)
    assert torch.equal(test.images, train.images[:len(test.images)]), "test images in training"
    print("drawn", random.randint(0, 10**9))
    print("|  0  |   45  |  1.0  |  0.9  |  0.9  |         |  11.5     |")
    print("|     |  eval |  1.0  |  0.9  |  0.9  |  0.96   |  12.3456  |")
    evaluate(with_bias, test, tta_level=0)
    return evaluate(without, test, tta_level=2)
"""


def batch(path: Path, count: int, start: int) -> None:
    """Writes images of which the first byte is the class, as CIFAR-10's own files have them."""
    import numpy as np

    path.parent.mkdir(parents=True, exist_ok=True)
    labels = [(start + number) % 10 for number in range(count)]
    data = np.zeros((count, 3072), np.uint8)
    data[:, 0] = labels
    path.write_bytes(pickle.dumps({b"data": data, b"labels": labels}))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A phase root with the fixed files, and a script in the place of upstream's."""
    shutil.copytree(SHIPPED / PACK / "full" / "recipe", tmp_path / "recipe")
    (tmp_path / "recipe" / "airbench96_faster.py").write_text(SCRIPT)
    for name in ("out", "artifact", "inputs", "predictions/test"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def halved(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "recipe" / "phases.py"), *words]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=240)


@pytest.mark.torch
def test_what_is_trained_blind_is_asked_blind_and_scored(root: Path) -> None:
    for number in range(1, 6):
        batch(root / "data" / f"data_batch_{number}", 20, number)
    trained = halved(root, "train", "--seed", "5")
    assert trained.returncode == 0, trained.stderr
    again = halved(root, "train", "--seed", "5")
    assert again.stdout == trained.stdout != halved(root, "train", "--seed", "6").stdout
    shutil.copy(root / "out" / "network.pt", root / "artifact")
    batch(root / "hidden" / "test_batch", 50, 3)
    shutil.rmtree(root / "out")
    (root / "out").mkdir()
    prepared = run_script(PACK, "evaluator/prepare.py", "12345", root=root)
    assert prepared.returncode == 0, prepared.stderr
    shutil.move(root / "out" / "plan", root / "plan")
    shutil.copy(root / "out" / "rounds" / "test" / "images.npy", root / "inputs")
    predicted = halved(root, "predict")
    assert predicted.returncode == 0, predicted.stderr
    classes = root / "out" / "classes.txt"
    assert [int(line) for line in classes.read_text().split()] == json.loads(
        (root / "plan" / "labels.json").read_text()
    )
    for name in ("classes.txt", "script_seconds.txt"):
        shutil.move(root / "out" / name, root / "predictions" / "test" / name)
    assert run_script(PACK, "evaluator/score.py", root=root).returncode == 0
    assert score_of(root) == {"accuracy": 1.0, "script_seconds": 12.3456}


# A network that runs, compiled as the recipe wants it.
COMPILING = """
def compile_net(network): return torch.compile(network, dynamic=False)
def make_net(hyp): return nn.Sequential(nn.Conv2d(3, 1, 32), nn.Flatten())
def infer(model, loader, tta_level=0): return torch.zeros(len(loader.images), 10)
def main(run, hyp, proxy, with_bias, without):
    train = InfiniteCifarLoader("cifar10")
    with torch.no_grad():
        proxy(train.images[:20].permute(0, 3, 1, 2).contiguous())
    return evaluate(proxy, None)
"""


@pytest.mark.torch
def test_a_timed_seed_takes_what_the_warm_up_compiled(root: Path) -> None:
    """The warm-up sees no data; what it packs is there in train, as the engine stages it."""
    with (root / "recipe" / "airbench96_faster.py").open("a") as script:
        script.write(COMPILING)
    warmed = halved(root, "preflight", "--seed", "5")
    assert warmed.returncode == 0, warmed.stderr
    cold, warm = [x for x in warmed.stdout.splitlines() if x.startswith("compiled graphs")]
    assert cold == "compiled graphs: 0 out of the cache, 1 made anew"
    assert warm == "compiled graphs: 1 out of the cache, 0 made anew"
    projection = json.loads((root / "out" / "projection.json").read_text())
    assert projection.keys() == {"train_seconds", "peak_memory_mb"}
    assert min(projection.values()) > 0
    (root / "out" / "cache").rename(root / "cache")
    batch(root / "data" / "data_batch_1", 20, 1)
    trained = halved(root, "train", "--seed", "6")
    assert trained.returncode == 0, trained.stderr
    assert "compiled graphs: 1 out of the cache, 0 made anew" in trained.stdout


@pytest.mark.torch
def test_a_warm_up_tells_of_a_recipe_that_fails(root: Path) -> None:
    script = root / "recipe" / "airbench96_faster.py"
    script.write_text(SCRIPT.replace("def main(run", "def main(run, other"))
    done = halved(root, "preflight")
    assert done.returncode == 1 and "TypeError: main() missing 1 required" in done.stderr
    # The cause is the last word, not the process that was started for it.
    assert "CalledProcessError" not in done.stderr and done.stderr.count("Traceback") == 1
    assert not list((root / "out").iterdir())


@pytest.mark.parametrize("text", ["nan\n", "x\n", "1\n2\n"])
def test_a_time_that_is_none_is_malformed(text: str, root: Path) -> None:
    (root / "plan").mkdir()
    (root / "plan" / "labels.json").write_text("[1]")
    (root / "predictions" / "test" / "classes.txt").write_text("1\n")
    (root / "predictions" / "test" / "script_seconds.txt").write_text(text)
    done = run_script(PACK, "evaluator/score.py", root=root)
    assert done.returncode == 3 and "script_seconds.txt" in done.stderr


@pytest.mark.torch
def test_a_script_that_lacks_a_function_is_told_which(root: Path) -> None:
    script = root / "recipe" / "airbench96_faster.py"
    script.write_text(SCRIPT.replace("def infer", "def guess"))
    batch(root / "data" / "data_batch_1", 20, 0)
    done = halved(root, "train")
    assert done.returncode == 1 and "has to keep: infer" in done.stderr


def test_the_order_of_the_test_images_is_new_for_each_number(root: Path) -> None:
    pytest.importorskip("numpy")
    batch(root / "hidden" / "test_batch", 50, 0)
    orders = []
    for nonce in ("1", "2", "1"):
        shutil.rmtree(root / "out")
        (root / "out").mkdir()
        assert run_script(PACK, "evaluator/prepare.py", nonce, root=root).returncode == 0
        orders.append((root / "out" / "plan" / "labels.json").read_text())
    assert orders[0] == orders[2] != orders[1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "is missing"),
        ("1\n2\n", "has 2 lines, expected 3"),
        ("1\n2\n3\n4\n", "has 4 lines, expected 3"),
        ("1\n2\nx\n", "line 3: 'x' is no class"),
        ("1\n2\n10\n", "line 3: '10' is no class"),
        ("1\n2\n²\n", "line 3"),
    ],
)
def test_malformed_classes_are_refused(text: str | None, words: str, root: Path) -> None:
    (root / "plan").mkdir()
    (root / "plan" / "labels.json").write_text("[1, 2, 3]")
    if text is not None:
        (root / "predictions" / "test" / "classes.txt").write_text(text)
    done = run_script(PACK, "evaluator/score.py", root=root)
    assert done.returncode == 3 and words in done.stderr


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ("weights_in_code", f"W = '{'7' * 3000}'"),
        ("pretrained_or_fetched", "import urllib.request"),
        ("pretrained_or_fetched", "from torch.hub import load"),
        ("fixed_seed", "torch.manual_seed(3)"),
        ("fixed_seed", "random.seed(3)"),
    ],
)
def test_what_breaks_a_rule_is_found(rule: str, code: str) -> None:
    assert rules.broken_rules({"a.py": SCRIPT}) == []
    assert [found[0] for found in rules.broken_rules({"a.py": f"{SCRIPT}\n{code}\n"})] == [rule]


def test_a_seed_that_is_computed_is_no_seed_of_ones_own() -> None:
    assert rules.broken_rules({"a.py": "torch.manual_seed(random.randint(0, 2**63))"}) == []
