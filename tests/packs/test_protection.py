"""Functions that score stay as they were, however they are edited."""

from __future__ import annotations

import pytest

from recipelab.packs.sections import Protected
from recipelab.packs.upstream import changed_names, defined_names

BEFORE = '''import math


def score(x):
    """The loss."""
    return math.log(x)


class Data:
    size = 3


@torch.no_grad()
def evaluate(model):
    return score(model(2))


def train(): pass
'''
HELD = (Protected(path="a.py", names=("score", "Data", "evaluate")),)


def changed(after: str) -> tuple[str, ...]:
    return changed_names({"a.py": BEFORE}, {"a.py": after}, HELD)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("def train(): pass", "def train(): return score(evaluate(4))"),
        ("import math", "import math  # for the logarithm\nimport os"),
        ("    return math.log(x)", "    # nats\n    return  math.log( x )"),
        ("def train(): pass", "def train(): pass\n\n\ndef rescore(x): return x"),
        ("def train(): pass", "scores = {}\nif scores == 1: pass"),
    ],
)
def test_what_is_not_held_may_change(old: str, new: str) -> None:
    assert changed(BEFORE.replace(old, new)) == ()


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("math.log(x)", "math.log(x) / 2", "score"),
        ("size = 3", "size = 4", "Data"),
        ("@torch.no_grad()\n", "", "evaluate"),
        ("@torch.no_grad()", "@cheat\n@torch.no_grad()", "evaluate"),
        ("def train(): pass", "def train(): pass\n\n\ndef score(x): return 0", "score"),
        ("def train(): pass", "score = lambda x: 0", "score"),
        ("def train(): pass", "score: object = lambda x: 0", "score"),
        ("def train(): pass", "def train():\n    global score\n    score = 0", "score"),
        ("def train(): pass", "globals()['score'] = min", "score"),
        ("def train(): pass", "from other import score", "score"),
        ("def train(): pass", "import other as evaluate", "evaluate"),
        ("def score(x):", "def score_(x):", "score"),
    ],
)
def test_what_is_held_may_not(old: str, new: str, name: str) -> None:
    assert old in BEFORE
    assert f"a.py: {name}" in changed(BEFORE.replace(old, new))


def test_a_later_python_is_held_by_its_text() -> None:
    # Syntax that no Python of today reads.
    later = BEFORE.replace("math.log(x)", "x?.log()")
    held = changed_names({"a.py": later}, {"a.py": later + "\n\ndef more(): pass\n"}, HELD)
    assert held == ()
    spaced = later.replace("x?.log()", "x? .log()")
    assert changed_names({"a.py": later}, {"a.py": spaced}, HELD) == ("a.py: score",)


def test_a_deleted_file_holds_nothing() -> None:
    assert len(changed_names({"a.py": BEFORE}, {}, HELD)) == 3


def test_names_count_if_they_are_defined_once() -> None:
    assert defined_names(BEFORE, ("score", "Data", "nothing")) == ("score", "Data")
    assert defined_names(BEFORE + "def score(): pass\n", ("score",)) == ()
