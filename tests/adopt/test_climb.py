"""An adopted pack climbs: functions held fixed, then predictions scored apart."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from recipelab.adopt.climb import KINDS, isolate
from recipelab.adopt.draft import Draft
from recipelab.adopt.files import read_repository
from recipelab.adopt.look import look
from recipelab.adopt.writing import write_draft
from recipelab.core.errors import RecipelabError
from recipelab.core.trial import Trust
from recipelab.packs.load import load_pack

from .conftest import LOCAL, Adopt, Cli

pytestmark = pytest.mark.slow

TRAIN = """
import json, random
from pathlib import Path

RATE = 0.05
EPOCHS = 20

def evaluate(weight, rows):
    return sum((weight * x - y) ** 2 for x, y in rows) / len(rows)

def main():
    random.seed(7)
    rows = [tuple(map(float, line.split(","))) for line in open("data/points.csv")]
    weight = random.random()
    for _ in range(EPOCHS):
        random.shuffle(rows)
        for x, y in rows[10:]:
            weight -= RATE * (weight * x - y) * x
    out = Path("../out")
    if out.is_dir():
        (out / "model.json").write_text(json.dumps(weight))
    print("val_loss:", evaluate(weight, rows[:10]))

if __name__ == "__main__":
    main()
"""

COMPLETED = {
    "1": "return json.loads((artifact / 'model.json').read_text())",
    "2": "return [float(x) for x in (folder / 'inputs.txt').read_text().split()]",
    "3": "return [str(model * x) for x in inputs]",
}
"""What stands in the places of the script that are left to the user."""


@pytest.fixture
def line(repository: Callable[..., Path], tmp_path: Path) -> Path:
    """A repository that fits a line, with hidden inputs and answers beside it."""
    draw = random.Random(1)

    def points(count: int) -> list[tuple[float, float]]:
        return [(x, 2.0 * x + draw.gauss(0, 0.1)) for x in (draw.random() for _ in range(count))]

    hidden = points(40)
    (tmp_path / "inputs.txt").write_text("".join(f"{x}\n" for x, _ in hidden))
    (tmp_path / "answers.txt").write_text("".join(f"{y}\n" for _, y in hidden))
    data = "".join(f"{x},{y}\n" for x, y in points(40))
    return repository("line", {"train.py": TRAIN, "data/points.csv": data})


def complete(code: dict[str, str]) -> None:
    """Complete the script that predicts, as a user would."""
    script = Path("task_packs/line/recipe/predict.py")
    text = script.read_text()
    for place, line in code.items():
        text, count = re.subn(rf'raise NotImplementedError\(f?"{place}: .*', line, text)
        assert count == 1
    script.write_text(text.replace("from pathlib", "import json\nfrom pathlib", 1))


@pytest.fixture
def drafted(cli: Cli, line: Path) -> Path:
    """The pack of that repository, as it is written before anything has run."""
    survey = look(read_repository(line))
    draft = Draft("line", survey, survey.entries[0], list(survey.repository.data), "val_loss")
    draft.editable = ("train.py",)
    write_draft(draft, Path("task_packs/line"))
    return Path("task_packs/line")


NAMES = [f"shelf{number}" for number in range(5)]
GUESSES: dict[str, str] = {
    "classes": "'high' if model * x > 1.2 else 'low'",
    "ranking": "' '.join(sorted(NAMES, key=lambda name: abs(int(name[-1]) - 2 * model * x)))",
}
"""A line of predictions of each kind, by the line that was fitted."""


@pytest.mark.campaign
@pytest.mark.parametrize("kind", GUESSES)
def test_a_kind_of_predictions_is_scored_apart(
    cli: Cli, drafted: Path, tmp_path: Path, kind: str
) -> None:
    """Answers are those of the true line, and some of them of chance."""
    draw = random.Random(2)
    inputs = [round(draw.random(), 4) for _ in range(60)]
    true = GUESSES[kind].replace("NAMES", repr(NAMES))
    told = [
        str(eval(true, {"model": 2.0, "x": draw.random() if place % 9 == 0 else x})).split()[0]
        for place, x in enumerate(inputs)
    ]
    (tmp_path / "inputs.txt").write_text("".join(f"{x}\n" for x in inputs))
    (tmp_path / "answers.txt").write_text("".join(f"{answer}\n" for answer in told))
    words = ("--hidden", tmp_path / "inputs.txt", "--answers", tmp_path / "answers.txt")
    done = cli("packs", "adopt", "line", "--to", "isolated", "--kind", kind, *words)
    assert done.exit_code == 0, done.output
    complete(COMPLETED | {"3": f"return [{true} for x in inputs]"})
    checked = cli("packs", "check", "line", "--profile", "isolated", "--json", *LOCAL)
    assert checked.exit_code == 0, checked.output
    found = {item["what"]: item for item in json.loads(checked.stdout)}
    assert f"60, their mean is score.{KINDS[kind].measure}" in found["items"]["told"]
    assert found["goal"]["level"] == "ok", "the answers as predictions win"
    score = float(found["baseline"]["told"].split()[1])
    assert score < 0.3 if kind == "classes" else 0.7 < score < 1.0


NEXT_BYTE = """for place in range(len(window)):
        row = [0.2 / 255] * 256
        row[{97: 98, 98: 99}.get(window[place - 1] if place else 0, 97)] = 0.8
        yield row"""
LOOKS_AHEAD = NEXT_BYTE.replace("window[place - 1] if place else 0", "window[place] - 1")


@pytest.mark.campaign
def test_a_language_model_is_scored_in_bits_and_not_if_it_looks_ahead(
    cli: Cli, drafted: Path, tmp_path: Path
) -> None:
    draw = random.Random(3)
    text = "".join("abc"[place % 3] if draw.random() < 0.9 else "z" for place in range(4096))
    (tmp_path / "hidden.txt").write_text(text)
    words = ("--kind", "causal", "--hidden", tmp_path / "hidden.txt")
    done = cli("packs", "adopt", "line", "--to", "isolated", *words)
    assert done.exit_code == 0, done.output
    check = ("packs", "check", "line", "--profile", "isolated", "--json", *LOCAL)

    complete({"1": COMPLETED["1"], "2": NEXT_BYTE})
    checked = cli(*check)
    assert checked.exit_code == 0, checked.output
    found = {item["what"]: item for item in json.loads(checked.stdout)}
    assert 1.5 < float(found["baseline"]["told"].split()[1]) < 3.5, "8 is chance"

    script = drafted / "recipe/predict.py"
    script.write_text(script.read_text().replace(NEXT_BYTE, LOOKS_AHEAD))
    checked = cli(*check)
    assert checked.exit_code == 1
    found = {item["what"]: item for item in json.loads(checked.stdout)}
    assert found["baseline"]["level"] == "error"
    assert "illegal: score: look-ahead" in found["baseline"]["told"]


@pytest.mark.campaign
def test_a_pack_climbs_to_isolated(cli: Cli, adopt: Adopt, line: Path, tmp_path: Path) -> None:
    facts = adopt(line, "--level", "protected")
    assert facts["trust"] == "protected"
    pack = load_pack("line")
    assert [(item.path, item.names) for item in pack.protected] == [
        ("recipe/train.py", ("evaluate",))
    ]
    again = cli("packs", "adopt", "line", "--to", "protected")
    assert again.exit_code == 2
    assert "protected already" in again.stderr
    words = ("--hidden", tmp_path / "inputs.txt", "--answers", tmp_path / "answers.txt")
    done = cli("packs", "adopt", "line", "--to", "isolated", "--kind", "regression", *words)
    assert done.exit_code == 0, done.output
    unfinished = cli("packs", "check", "line", "--profile", "isolated", *LOCAL)
    assert unfinished.exit_code == 1
    assert "NotImplementedError" in unfinished.stdout
    complete(COMPLETED)
    checked = cli("packs", "check", "line", "--profile", "isolated", "--json", *LOCAL)
    assert checked.exit_code == 0, checked.output
    told = {item["what"]: item["told"] for item in json.loads(checked.stdout)}
    assert "40, their mean is score.mse" in told["items"]
    isolated = load_pack("line", "isolated")
    assert isolated.trust is Trust.ISOLATED
    assert isolated.metric.name == "mse"
    assert load_pack("line").trust is Trust.PROTECTED


def test_every_kind_makes_a_profile_that_can_be_read(
    cli: Cli, drafted: Path, tmp_path: Path
) -> None:
    file = drafted / "pack.toml"
    before = file.read_text()
    for kind in KINDS:
        isolate("line", kind, tmp_path / "inputs.txt", tmp_path / "answers.txt")
        pack = load_pack("line", "isolated")
        assert pack.trust is Trust.ISOLATED
        for path in (drafted / "evaluator/isolated").glob("*.py"):
            compile(path.read_text(), path.name, "exec")
        script = drafted / "recipe/predict.py"
        compile(script.read_text(), script.name, "exec")
        with pytest.raises(RecipelabError, match="has a profile isolated already"):
            isolate("line", kind, tmp_path / "inputs.txt", tmp_path / "answers.txt")
        script.unlink()
        file.write_text(before)
    with pytest.raises(RecipelabError, match="--kind: unknown kind 'guess'; valid: causal"):
        isolate("line", "guess", None, None)
    with pytest.raises(RecipelabError, match="--answers: it is needed"):
        isolate("line", "classes", tmp_path / "inputs.txt", None)
