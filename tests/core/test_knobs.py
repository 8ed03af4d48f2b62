"""Knobs: which lines are knobs, and edits that turn them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipelab.core.knobs import (
    Knob,
    KnobValue,
    changed_surfaces,
    find_knobs,
    knob_problems,
    parse_knob,
)
from recipelab.core.leaves import find_leaf, written
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


# Other languages, and other places of a line.


@pytest.mark.parametrize(
    ("path", "line", "value", "new", "turned"),
    [
        ("r/a.py", "    lr: float = 1e-3  # knob opt: 1e-4 .. 1 log", 1e-3, 0.5, "lr: float = 0.5"),
        ("r/a.py", "X = 1.0  # knob opt: 0 .. 2 # the old comment", 1.0, 2.0, "X = 2.0"),
        ("r/c.yaml", "lr: 0.001  # knob opt: 1e-6 .. 1 log", 0.001, 1e-05, "lr: 1.0e-05"),
        ("r/c.yaml", "  - flip: true # knob aug: true | false", True, False, "- flip: false"),
        ("r/c.yaml", "name: adamw # knob opt: adamw | sgd", "adamw", "sgd", "name: sgd"),
        ("r/c.yaml", 'name: "adamw" # knob opt: adamw | sgd', "adamw", "sgd", 'name: "sgd"'),
        ("r/c.toml", "flip = true # knob aug: true | false", True, False, "flip = false"),
        ("r/c.toml", "n = 4 # knob arch: 2 | 4 | 8", 4, 8, "n = 8"),
        ("r/k.c", "#define TILE 16 // knob arch: 8 | 16 | 32", 16, 32, "#define TILE 32"),
        ("r/Makefile", "LEVEL := 1 # knob opt: 1 .. 3", 1, 3, "LEVEL := 3"),
    ],
)
def test_knobs_of_other_languages(
    path: str, line: str, value: KnobValue, new: KnobValue, turned: str
) -> None:
    files = {path: f"first\n{line}\nlast\n"}
    (knob,) = find_knobs(files)
    assert (knob.value, type(knob.value)) == (value, type(value))
    after = Recipe(files).apply([knob.edit(new)], [path]).files[path]
    assert turned in after and after.split("\n")[0] == "first" and after.endswith("\nlast\n")
    assert find_knobs({path: after})[0].value == new


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("N = 9  # knob opt: 1 .. 8", "the value 9 is outside of 1 .. 8"),
        ("N = True  # knob opt: 0 .. 1", "is a range of numbers, and the value is True"),
        ("N = f()  # knob opt: 1 .. 8", "no name with a number"),
        ("N = 1  # knob: 1 .. 8", "a knob is marked as: # knob SURFACE: "),
        ("N = 1  # knob opt: one to two", "'one to two' is no domain; valid: "),
        ("N = 'c'  # knob opt: 'a' | 'b'", "the value 'c' is none of its choices"),
        ("N = 1  # knob opt: 1 .. 3\nN = 1  # knob opt: 1 .. 3", "the same line is there 2 times"),
    ],
)
def test_what_was_meant_as_a_knob_is_told(line: str, why: str) -> None:
    files = {PATH: f"import x\n{line}\n"}
    assert find_knobs(files) == ()
    problem = knob_problems(files)[0]
    assert problem.place == f"{PATH}:2" and why in problem.why


def test_what_is_no_mark_is_no_problem() -> None:
    text = "EPOCHS = 3  # a knob of sorts\nX = 1  # knobs follow\ndef knob(): pass\n"
    assert knob_problems({PATH: text}) == ()


# The table beside the recipe.

FILES = {
    "recipe/config.yaml": (
        "seed: 1\n# the optimizer\noptimizer:\n  lr: 0.001\n  name: adamw\n"
        "layers:\n- width: 64\n- width: 32\nschedule: {warmup: 10}\nmodel:\n  lr: 0.001\n"
    ),
    "recipe/config.toml": (
        '[opt]\nlr = 0.1 # fast\n"weight-decay" = 0\n[[layer]]\nn = 1\n[[layer]]\nn = 2\n'
    ),
    "recipe/config.json": (
        '{\n  "a": {\n    "lr": 0.5,\n    "b": [1, 2]\n  },\n  "c": [\n    {\n'
        '      "lr": 0.5\n    }\n  ],\n  "flip": true\n}\n'
    ),
    "recipe/train.py": (
        "import argparse\nLR, N = 1e-3, 2\nDEPTH = 3\nclass Config:\n    width: int = 64\n"
        "    heads = 4\np = argparse.ArgumentParser()\n"
        "p.add_argument('--batch', '-b', type=int, default=16, help='size')\n"
    ),
    "recipe/k.c": "#define TILE 16\n#define NAME x\n",
    "recipe/build.sh": "#!/bin/sh\nexport FLAGS=-O1\nLEVEL=2\n",
}


def table(*entries: tuple[str, str, str]) -> dict[str, str]:
    rows = "".join(
        f'[[knobs]]\nfile = "{file}"\nname = "{name}"\nsurface = "opt"\ndomain = \'{domain}\'\n'
        for file, name, domain in entries
    )
    return {**FILES, "knobs.toml": rows}


@pytest.mark.parametrize(
    ("file", "name", "domain", "old", "new", "line"),
    [
        ("config.yaml", "optimizer.lr", "1e-4 .. 1 log", 0.001, 0.5, "  lr: 0.5"),
        ("config.yaml", "optimizer.name", "adamw | sgd", "adamw", "sgd", "  name: sgd"),
        ("config.yaml", "layers.1.width", "16 .. 64", 32, 48, "- width: 48"),
        ("config.yaml", "model.lr", "1e-4 .. 1", 0.001, 1.0, "  lr: 1.0"),
        ("config.toml", "opt.lr", "0.01 .. 1", 0.1, 1.0, "lr = 1.0 # fast"),
        ("config.toml", "opt.weight-decay", "0 .. 1", 0, 1, '"weight-decay" = 1'),
        ("config.toml", "layer.1.n", "1 | 2 | 3", 2, 3, "n = 3"),
        ("config.json", "a.lr", "0 .. 1", 0.5, 0.25, '    "lr": 0.25,'),
        ("config.json", "c.0.lr", "0 .. 1", 0.5, 0.75, '      "lr": 0.75'),
        ("config.json", "flip", "true | false", True, False, '  "flip": false'),
        ("train.py", "DEPTH", "1 .. 9", 3, 5, "DEPTH = 5"),
        ("train.py", "Config.width", "16 .. 128 log", 64, 32, "    width: int = 32"),
        ("train.py", "Config.heads", "2 | 4", 4, 2, "    heads = 2"),
        ("train.py", "--batch", "8 .. 64", 16, 32, "type=int, default=32, help='size')"),
        ("k.c", "TILE", "8 | 16", 16, 8, "#define TILE 8"),
        ("build.sh", "LEVEL", "1 .. 3", 2, 3, "LEVEL=3"),
    ],
)
def test_the_table_names_leaves_of_files_without_comments(
    file: str, name: str, domain: str, old: KnobValue, new: KnobValue, line: str
) -> None:
    files = table((f"recipe/{file}", name, domain))
    assert knob_problems(files) == ()
    (knob,) = find_knobs(files)
    assert (knob.value, type(knob.value), knob.surface) == (old, type(old), "opt")
    after = Recipe(files).apply([knob.edit(new)], ["recipe/*"])
    before_lines, after_lines = (x[knob.path].split("\n") for x in (files, after.files))
    changed = [b for a, b in zip(before_lines, after_lines, strict=True) if a != b]
    assert len(changed) == 1 and changed[0].endswith(line), changed
    assert find_knobs(after.files)[0].value == new


@pytest.mark.parametrize(
    ("file", "name", "domain", "why"),
    [
        ("gone.yaml", "lr", "0 .. 1", "no text file 'recipe/gone.yaml' in the recipe; files: "),
        ("config.yaml", "lr", "0 .. 1", "no constant 'lr'; there are: seed, optimizer.lr, "),
        ("config.yaml", "schedule.warmup", "0 .. 1", "no constant 'schedule.warmup'"),
        ("config.yaml", "seed", "5 .. 9", "seed: the value 1 is outside of 5 .. 9"),
        ("train.py", "LR", "0 .. 1", "no constant 'LR'; there are: DEPTH, Config.width"),
        ("k.c", "TILE", "big", "'big' is no domain"),
    ],
)
def test_an_entry_that_names_nothing_is_told(file: str, name: str, domain: str, why: str) -> None:
    files = table((f"recipe/{file}", name, domain))
    assert find_knobs(files) == ()
    (problem,) = knob_problems(files)
    assert problem.place == "knobs.toml: knobs 1" and why in problem.why


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[[knobs]", "not valid TOML"),
        ("[plays]\n", "only tables [[knobs]]"),
        ("knobs = 3\n", "only tables [[knobs]]"),
        ("knobs = [3]\n", "an entry is no table"),
        ("[[knobs]]\nfile = 3\n", "file: a text is needed"),
        (
            "[[knobs]]\nfile='a'\nname='b'\nsurface='c'\ndomain='d'\nlow=1\n",
            "low: unknown key; valid: file, name, surface, domain",
        ),
    ],
)
def test_a_table_that_makes_no_sense_is_told(text: str, why: str) -> None:
    (problem,) = knob_problems({**FILES, "knobs.toml": text})
    assert why in problem.why


def test_a_file_of_the_recipe_is_no_table() -> None:
    files = {**FILES, "recipe/knobs.toml": "[[knobs]]\nfile = 3\n"}
    assert knob_problems(files) == ()


@given(st.sampled_from(sorted(FILES)), st.text(max_size=60), st.text(max_size=12))
def test_no_text_is_too_odd_to_look_for_leaves(path: str, text: str, name: str) -> None:
    found = find_leaf(path, text, name)
    assert isinstance(found, str) or written(found[1].value, found[1])


def test_surfaces_whose_knobs_changed_are_named() -> None:
    def knobs(*lines: str) -> list[Knob]:
        return list(find_knobs({PATH: "\n".join(lines)}))

    epochs, rate = "EPOCHS = 3  # knob opt: 1 .. 8", "WIDTH = 4  # knob arch: 2 | 4 | 8"
    before = knobs(epochs, rate)
    assert changed_surfaces(before, knobs(rate, epochs)) == set()
    assert changed_surfaces(before, knobs(epochs, rate.replace("= 4", "= 8"))) == {"arch"}
    assert changed_surfaces(before, knobs(epochs)) == {"arch"}
    flip = "FLIP = True  # knob aug: True | False"
    assert changed_surfaces(before, knobs(epochs, rate, flip)) == {"aug"}
