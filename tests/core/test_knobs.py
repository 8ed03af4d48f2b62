"""Knobs: which lines are knobs, and edits that turn them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipelab.core.knobs import KnobValue, find_knobs, parse_knob
from recipelab.core.recipe import Recipe

PATH = "recipe/train.py"


@pytest.mark.parametrize(
    ("line", "value", "domain"),
    [
        ("EPOCHS = 3  # knob opt: 1 .. 8", 3, (1.0, 8.0, False)),
        ("LR = 0.05 # knob opt: 0.01 .. 0.5 log", 0.05, (0.01, 0.5, True)),
        ("LR=1e-3# knob opt: 1e-4 .. 1e-1 log", 0.001, (0.0001, 0.1, True)),
        ("FLIP = True  # knob aug: True | False", True, (True, False)),
        ('OPT = "sgd"  # knob opt: "sgd" | "adamw"', "sgd", ("sgd", "adamw")),
        ("N = 4  # knob arch: 2 | 4 | 8", 4, (2, 4, 8)),
    ],
)
def test_a_marked_line_is_a_knob(line: str, value: KnobValue, domain: tuple[object, ...]) -> None:
    knob = parse_knob(PATH, 1, line)
    assert knob is not None
    assert knob.value == value
    assert (knob.choices or (knob.low, knob.high, knob.log)) == domain


@pytest.mark.parametrize(
    "line",
    [
        "EPOCHS = 3",
        "EPOCHS = 3  # a knob of sorts",
        "  EPOCHS = 3  # knob opt: 1 .. 8",
        "EPOCHS = 9  # knob opt: 1 .. 8",
        "EPOCHS = f()  # knob opt: 1 .. 8",
        'OPT = "lion"  # knob opt: "sgd" | "adamw"',
        "X = [1]  # knob opt: 1 .. 8",
        "X = True  # knob opt: 0 .. 1",
        "X = 1  # knob opt: one .. two",
        "X = 1  # knob opt:",
    ],
)
def test_other_lines_are_not(line: str) -> None:
    assert parse_knob(PATH, 1, line) is None


values = st.one_of(
    st.integers(-(10**6), 10**6),
    st.floats(-1e6, 1e6).filter(lambda x: not math.isnan(x)),
    st.booleans(),
    st.text(alphabet="abc xyz-_'\"\\", max_size=8),
)


@given(old=values, new=values)
def test_turning_a_knob_changes_its_value_and_nothing_else(old: KnobValue, new: KnobValue) -> None:
    line = f"NAME = {old!r}  # knob opt: {old!r} | {new!r}"
    files = {PATH: f"import x\n{line}\nprint(NAME)\n"}
    (knob,) = find_knobs(files)
    edited = Recipe(files).apply([knob.edit(new)], ("recipe/*.py",))
    (turned,) = find_knobs(edited.files)
    assert (turned.value, type(turned.value)) == (new, type(new))
    before, after = files[PATH].split("\n"), edited.files[PATH].split("\n")
    assert [before[0], *before[2:]] == [after[0], *after[2:]]


def test_a_line_that_stands_twice_is_no_knob() -> None:
    line = "N = 1  # knob opt: 1 .. 3\n"
    assert find_knobs({PATH: line + line}) == ()
    assert len(find_knobs({PATH: line})) == 1
