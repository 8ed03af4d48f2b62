"""nanochat_d12 in miniature: its items are the play's own, and its rules hold."""

from __future__ import annotations

import importlib
import json
import random
import shutil
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from recipelab.core import content

from .scripts import as_scripts_in, items_of, run_evaluator

EVALUATOR = content.shipped_root() / content.TASK_PACKS / "nanochat_d12" / "evaluator"
EACH, LENGTH, LAST, SYMBOLS = 6, 64, 24, 256
WORDS = [
    "the",
    "king",
    "and",
    "queen",
    "of",
    "england",
    "were",
    "not",
    "in",
    "court",
    "when",
    "lords",
    "made",
    "war",
    "upon",
    "that",
    "land",
]

Model = Callable[[bytes, int], list[float]]


@pytest.fixture(scope="module")
def play() -> str:
    """A play of the form of the real ones: speakers, verse, marks."""
    chance = random.Random(1)
    lines = []
    for number in range(900):
        words = chance.choices(WORDS, k=8)
        words[0] = words[0].capitalize()
        lines.append(" ".join(words) + chance.choice([",", ".", "?", ";"]))
        if number % 5 == 4:
            lines += ["", "Ham."]
    return "\n".join(lines)


@pytest.fixture
def root(tmp_path: Path, play: str) -> Path:
    """A phase root of prepare, with fewer items than the real one."""
    shutil.copytree(EVALUATOR, tmp_path / "evaluator")
    items = tmp_path / "evaluator" / "items.py"
    items.write_text(items.read_text().replace("EACH = 80", f"EACH = {EACH}"))
    for name in ("hidden", "out", "predictions"):
        (tmp_path / name).mkdir()
    (tmp_path / "hidden" / "play.txt").write_text("x" * 8192 + play)
    return tmp_path


def prepared(root: Path, nonce: int = 7) -> None:
    done = run_evaluator(root / "evaluator/prepare.py", str(nonce), root=root)
    assert done.returncode == 0, done.stderr
    shutil.move(root / "out" / "plan", root / "plan")


def predicted(root: Path, model: Model) -> None:
    """Writes what a model says of the ends of all windows, round by round."""
    for folder in (root / "out" / "rounds").iterdir():
        windows = (folder / "windows.bin").read_bytes()
        rows = array("f")
        for start in range(0, len(windows), LENGTH):
            window = windows[start : start + LENGTH]
            for place in range(LENGTH - LAST, LENGTH):
                rows.extend(model(window, place))
        (root / "predictions" / folder.name).mkdir()
        path = root / "predictions" / folder.name / "probabilities.bin"
        path.write_bytes(rows.tobytes())


def scored(root: Path) -> tuple[int, str]:
    done = run_evaluator(root / "evaluator/score.py", root=root)
    return done.returncode, done.stderr


def flat(window: bytes, place: int) -> list[float]:
    return [1 / SYMBOLS] * SYMBOLS


def of_text(text: str) -> Model:
    """Counts what follows three bytes: it looks at nothing else."""
    counts: dict[bytes, Counter[int]] = defaultdict(Counter)
    raw = text.encode()
    for place in range(3, len(raw)):
        counts[raw[place - 3 : place]][raw[place]] += 1

    def model(window: bytes, place: int) -> list[float]:
        seen = counts[window[place - 3 : place]]
        total = sum(seen.values()) + 0.01 * SYMBOLS
        return [(seen[byte] + 0.01) / total for byte in range(SYMBOLS)]

    return model


def test_a_flat_distribution_answers_nothing(root: Path) -> None:
    prepared(root)
    predicted(root, flat)
    code, told = scored(root)
    assert code == 0, told
    found = json.loads((root / "out" / "score.json").read_text())
    assert found["word_end"] == 0.0 and found["capital"] == -1.0
    assert found["spelling"] == pytest.approx(-1 / 3)
    assert found["core"] == pytest.approx(sum(v for k, v in found.items() if k != "core") / 9)
    asked = len(json.loads((root / "plan" / "key.json").read_text())["tasks"])
    assert items_of(root, asked) == pytest.approx(found["core"])


def test_who_has_learned_the_language_scores(root: Path, play: str) -> None:
    prepared(root)
    predicted(root, of_text(play))
    code, told = scored(root)
    assert code == 0, told
    found = json.loads((root / "out" / "score.json").read_text())
    assert found["spelling"] == 1.0 and found["word_end"] == 1.0
    assert found["core"] > 0.5


def peeks(window: bytes, place: int) -> list[float]:
    row = [0.01 / (SYMBOLS - 1)] * SYMBOLS
    row[window[place]] = 0.99
    return row


def looks_ahead(window: bytes, place: int) -> list[float]:
    row = [0.5 / (SYMBOLS - 1)] * SYMBOLS
    row[window[-1]] = 0.5
    return row


def sums_to_two(window: bytes, place: int) -> list[float]:
    return [2 / SYMBOLS] * SYMBOLS


@pytest.mark.parametrize(
    ("model", "words"),
    [(peeks, "look-ahead"), (looks_ahead, "look-ahead"), (sums_to_two, "sum to 2")],
)
def test_broken_rules_are_told(model: Model, words: str, root: Path) -> None:
    prepared(root)
    predicted(root, model)
    code, told = scored(root)
    assert code == 4 and words in told


def flat_but_for_the_byte_that_comes(share: float) -> Model:
    """Knows nothing, and makes the byte that comes a little likelier than the others."""

    def model(window: bytes, place: int) -> list[float]:
        row = flat(window, place)
        row[window[place]] *= 1.0 + share
        return row

    return model


def test_a_hundredth_on_the_byte_that_comes_is_look_ahead(root: Path) -> None:
    """Bytes are foreseen by however little they are likelier, so this answered a third of it."""
    prepared(root)
    predicted(root, flat_but_for_the_byte_that_comes(0.01))
    code, told = scored(root)
    assert code == 4 and "looking at them was worth" in told


def test_less_than_any_tolerance_answers_nothing(root: Path) -> None:
    prepared(root)
    predicted(root, flat_but_for_the_byte_that_comes(1e-5))
    code, told = scored(root)
    assert code == 0, told
    found = json.loads((root / "out" / "score.json").read_text())
    assert found["word_end"] == found["last_letter"] == 0.0
    assert found["spelling"] == pytest.approx(-1 / 3)


def test_a_hundredth_on_the_byte_that_came_is_none(root: Path) -> None:
    """The honest twin: as flat, and as sure of one byte, which it has seen."""

    def model(window: bytes, place: int) -> list[float]:
        return flat_but_for_the_byte_that_comes(0.01)(window, place - 1)

    prepared(root)
    predicted(root, model)
    code, told = scored(root)
    assert code == 0, told


def test_a_choice_by_the_whole_window_within_the_tolerance_answers_nothing(
    root: Path, play: str
) -> None:
    """Whole candidates that are in the play are told from others by less than any tolerance."""
    raw = play.encode()

    def model(window: bytes, place: int) -> list[float]:
        share = 1e-6 if window in raw else -1e-6
        return flat_but_for_the_byte_that_comes(share)(window, place)

    prepared(root)
    predicted(root, model)
    code, told = scored(root)
    assert code == 0, told
    found = json.loads((root / "out" / "score.json").read_text())
    assert found["spelling"] == pytest.approx(-1 / 3) and found["context"] == -1.0


def test_what_hangs_on_other_windows_is_told(root: Path) -> None:
    """Whoever compares the candidates of an item with each other needs the other windows."""
    prepared(root)
    last = [0]

    def model(window: bytes, place: int) -> list[float]:
        row = [0.5 / SYMBOLS] * SYMBOLS
        row[last[0]] += 0.5
        if place == LENGTH - 1:
            last[0] = window[-1]
        return row

    predicted(root, model)
    code, told = scored(root)
    assert code == 4 and "look-ahead" in told


def test_missing_predictions_are_malformed(root: Path) -> None:
    prepared(root)
    code, told = scored(root)
    assert code == 3 and "is missing" in told


def test_the_order_of_the_windows_is_new_for_each_number(root: Path) -> None:
    keys = []
    for nonce in (1, 2, 1):
        prepared(root, nonce)
        keys.append((root / "plan" / "key.json").read_text())
        shutil.rmtree(root / "plan")
        shutil.rmtree(root / "out")
        (root / "out").mkdir()
    assert keys[0] == keys[2] != keys[1]


@pytest.fixture
def items() -> ModuleType:
    """The module that makes items."""
    with as_scripts_in(EVALUATOR):
        return importlib.import_module("items")


def test_the_right_candidate_is_what_stands_in_the_play(items: ModuleType, play: str) -> None:
    raw = play.encode()
    found = list(items.items_of(play))
    assert Counter(item.task for item in found) == {task.name: items.EACH for task in items.TASKS}
    for item in found:
        (context, continuation), *wrong = item.candidates
        assert context + continuation in raw
        assert len(continuation) <= items.SPAN and len(context + continuation) >= items.LENGTH
        assert all(candidate != item.candidates[0] for candidate in wrong)
        if item.task not in ("word_end", "last_letter"):
            task = next(task for task in items.TASKS if task.name == item.task)
            assert len(item.candidates) == round(1 / task.chance)


@pytest.mark.parametrize(
    ("accuracy", "chance", "found"), [(0.25, 0.25, 0), (1, 0.5, 1), (0, 0.5, -1)]
)
def test_centered_accuracy(accuracy: float, chance: float, found: float, items: ModuleType) -> None:
    assert items.centered(accuracy, chance) == pytest.approx(found)
