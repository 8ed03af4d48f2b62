"""Recipes as ordinary repositories have them: line ends, encodings, binary files, links, tools."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipelab.campaign.pack_check import check_files
from recipelab.campaign.pack_runs import Level
from recipelab.core.errors import EditError, PackError
from recipelab.core.knobs import find_knobs
from recipelab.core.recipe import Recipe
from recipelab.core.text_form import BYTES_KEPT, TextForm, original_patch
from recipelab.core.trial import Edit, Status
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.metric import recipe_bytes
from recipelab.evaluation.proposals import Rejected, check_edits
from recipelab.exchange.patches import edits_of_patch
from recipelab.lineage.trial_view import knob_changes
from recipelab.packs.load import load_pack
from recipelab.packs.pack import Pack

TRAIN = "recipe/train.py"


@pytest.fixture
def recipe(project: Path) -> Path:
    """The folder of the toy pack's recipe."""
    return project / "task_packs/toy/recipe"


def git(folder: Path, *words: str, patch: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = ["git", "-c", "core.autocrlf=false", "-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run([*command, *words], cwd=folder, input=patch, capture_output=True)


def on_windows(text: str) -> bytes:
    return b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()


def mixed(text: str) -> bytes:
    lines = text.split("\n")
    ends = ("\n", "\r\n", "\r\n")
    return "".join(line + ends[n % 3] for n, line in enumerate(lines)).encode()


def latin(text: str) -> bytes:
    return b"# -*- coding: latin-1 -*-\n# caf\xe9\n" + text.encode()


def spaced(text: str) -> bytes:
    return text.encode()


FORMS = {"BOM and CRLF": on_windows, "mixed": mixed, "latin-1": latin, "plain": spaced}


@pytest.mark.parametrize("form", FORMS)
def test_an_edit_fits_and_its_patch_applies_to_the_users_own_file(recipe: Path, form: str) -> None:
    """Also with blanks and letters of any alphabet in the path; what was not edited stays."""
    name = "größe und maß.py"
    raw = FORMS[form]((recipe / "train.py").read_text())
    (recipe / name).write_bytes(raw)
    pack = load_pack("toy")
    start, path = pack.baseline(), f"recipe/{name}"
    assert "\r" not in start.files[path] and "\ufeff" not in start.files[path]
    after = start.apply([Edit(path, "X = 1.0  # knob", "X = 3.0  # knob")], pack.recipe.editable)
    patch = original_patch(start, after, pack.folder().texts).encode("utf-8", BYTES_KEPT)
    git(recipe.parent, "init", "-q")
    git(recipe.parent, "add", "-A")
    done = git(recipe.parent, "apply", "-", patch=patch)
    assert done.returncode == 0, done.stderr
    assert (recipe / name).read_bytes() == raw.replace(b"X = 1.0", b"X = 3.0")
    theirs = git(recipe.parent, "diff", "--relative").stdout
    (edit,) = edits_of_patch(start.files, theirs, pack.folder().texts)
    assert (edit.path, edit.replace) == (path, after.files[path])


@pytest.mark.parametrize("mark", ["utf-8-sig", "utf-16", "crlf"])
def test_a_patch_that_a_shell_of_windows_wrote_is_read(recipe: Path, mark: str) -> None:
    pack = load_pack("toy")
    start = pack.baseline()
    after = start.apply([Edit(TRAIN, "X = 1.0", "X = 3.0")], pack.recipe.editable)
    patch = start.diff(after)
    given = patch.replace("\n", "\r\n").encode() if mark == "crlf" else patch.encode(mark)
    (edit,) = edits_of_patch(start.files, given, pack.folder().texts)
    assert edit.replace == after.files[TRAIN]
    with pytest.raises(EditError, match="damaged UTF-16; write it as UTF-8"):
        edits_of_patch(start.files, b"\xff\xfe" + b"a")


async def test_a_recipe_of_windows_runs_as_it_lies_there(
    recipe: Path, evaluator: Evaluator
) -> None:
    train = recipe / "train.py"
    train.write_bytes(on_windows(train.read_text()))
    program = (
        "found = open('recipe/train.py', 'rb').read()\n"
        "assert found.startswith(b'\\xef\\xbb\\xbf') and found.count(b'\\r\\n') > 9, found\n"
        "open('out/model.json', 'w').write('{\"x\": 3, \"y\": -5}')\n"
    )
    pack = load_pack("toy")
    changed = pack.phases.train.model_copy(update={"command": ("python", "-c", program)})
    phases = pack.phases.model_copy(update={"train": changed})
    pack = pack.model_copy(update={"phases": phases, "warm": ()})
    outcome = await evaluator.with_pack(pack).measure(pack.baseline(), (1,))
    assert outcome.status is Status.BASELINE, outcome.reason


texts = st.text(st.sampled_from("ab \t\n\r\x0c\u2028é"), max_size=40)


@settings(max_examples=200)
@given(texts, texts, st.sampled_from(["utf-8", "utf-8-sig"]))
def test_forms_keep_every_text(old: str, new: str, encoding: str) -> None:
    raw = old.encode(encoding)
    form = TextForm.read(raw)
    assert form is not None
    assert form.bytes_of(form.text) == raw
    new = new.replace("\r", "\n")
    again = TextForm.read(form.bytes_of(new))
    assert again is not None and again.text == new


@given(st.binary(max_size=30))
def test_any_bytes_are_text_that_comes_back_or_none(raw: bytes) -> None:
    form = TextForm.read(raw)
    assert form is None or form.bytes_of(form.text) == raw


def test_what_an_encoding_cannot_hold_is_no_trial(recipe: Path) -> None:
    (recipe / "train.py").write_bytes(latin((recipe / "train.py").read_text()))
    pack = load_pack("toy")
    edit = Edit(TRAIN, "X = 1.0  # knob", "X = 1.0  # Łódź knob")
    found = check_edits(
        pack, pack.baseline().files, (edit,), lambda recipe: None, start=pack.baseline()
    )
    assert isinstance(found, Rejected)
    assert "recipe/train.py: it is in latin-1, which has no 'Ł'" in found.reason


# What is no text.


async def test_what_is_no_text_rides_along(recipe: Path, evaluator: Evaluator) -> None:
    (recipe / "logo.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\xff")
    (recipe / "weights.bin").write_bytes(bytes(3_000_000))
    (recipe / "notes.ipynb").write_text('{"cells": []}')
    (recipe / "run.sh").write_text(
        '#!/bin/sh\ntest -s recipe/weights.bin && echo \'{"x": 3, "y": -5}\'\n'
    )
    (recipe / "run.sh").chmod(0o755)
    for name in (".git", "__pycache__", ".venv"):
        (recipe / name).mkdir()
        (recipe / name / "index").write_bytes(b"\0")
    (recipe / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    pack = load_pack("toy")
    folder = pack.folder()
    assert set(folder.carried) == {"recipe/logo.png", "recipe/weights.bin", "recipe/notes.ipynb"}
    assert set(folder.left_out) == {
        *("recipe/.git", "recipe/__pycache__", "recipe/.venv", "recipe/.DS_Store")
    }
    assert set(pack.baseline().files) == {TRAIN, "recipe/predict.py", "recipe/run.sh"}
    program = (
        "import os, subprocess\n"
        "open('out/model.json', 'wb').write(subprocess.check_output('recipe/run.sh'))\n"
        "assert os.path.getsize('recipe/weights.bin') == 3_000_000\n"
        "assert open('recipe/logo.png', 'rb').read(4) == b'\\x89PNG'\n"
        "assert sorted(os.listdir('recipe')) == ['logo.png', 'notes.ipynb', 'predict.py', 'run.sh',"
        " 'train.py', 'weights.bin'], os.listdir('recipe')\n"
    )
    train = pack.phases.train.model_copy(update={"command": ("python", "-c", program)})
    phases = pack.phases.model_copy(update={"train": train})
    pack = pack.model_copy(update={"phases": phases, "warm": ()})
    outcome = await evaluator.with_pack(pack).measure(pack.baseline(), (1,))
    assert outcome.status is Status.BASELINE, outcome.log_tail


def test_what_is_forgotten_in_a_recipe_is_named(recipe: Path) -> None:
    (recipe / "train.log").write_bytes(b"x" * 5_000_000)
    (recipe / "long.py").write_bytes(b"# long\n" * 100_000)
    (recipe / ".git").mkdir()
    found = [item for item in check_files(load_pack("toy")) if item.what == "recipe"]
    told = {item.text: item.level for item in found}
    (log,) = [text for text in told if text.startswith("recipe/train.log has 5.0 MB")]
    assert told[log] is Level.WARNING and "move it out of the recipe" in log
    (long,) = [text for text in told if text.startswith("recipe/long.py matches")]
    assert told[long] is Level.WARNING
    assert told["left out: recipe/.git"] is Level.OK


# Folders and links.


def test_globs_cross_folders_where_they_say_so(recipe: Path) -> None:
    (recipe / "models/blocks").mkdir(parents=True)
    (recipe / "models/blocks/attn.py").write_text("A = 1\n")
    pack = load_pack("toy")
    start = pack.baseline()
    deep = Edit("recipe/models/blocks/attn.py", "A = 1", "A = 2")
    new = Edit("recipe/models/new/__init__.py", None, "B = 1\n")
    with pytest.raises(EditError, match=r"may not be edited; editable: recipe/\*.py"):
        start.apply([deep], ["recipe/*.py"])
    for globs in (["recipe/**/*.py"], ["recipe/**"], ["**/*.py"]):
        assert TRAIN in start.editable(globs)
        after = start.apply([deep, new], globs)
        assert after.files["recipe/models/blocks/attn.py"] == "A = 2\n"
        assert after.files["recipe/models/new/__init__.py"] == "B = 1\n"
    assert start.editable(["recipe/**/blocks/*.py"]) == ("recipe/models/blocks/attn.py",)
    assert start.editable(["recipe/*/*.py"]) == ()
    for path in ("recipe/../evil.py", "/etc/x.py", "recipe/.git/x.py", "other/x.py"):
        with pytest.raises(EditError, match="may not be edited"):
            start.apply([Edit(path, None, "")], ["recipe/**/*.py"])


def test_links_are_followed_inside_the_pack(recipe: Path) -> None:
    shared = recipe.parent / "shared"
    shared.mkdir()
    (shared / "lib.py").write_text("L = 1\n")
    (recipe / "lib").symlink_to("../shared")
    (recipe / "circle").symlink_to(".")
    pack = load_pack("toy")
    assert pack.baseline().files["recipe/lib/lib.py"] == "L = 1\n"
    assert pack.folder().left_out == {"recipe/circle": "a link in a circle"}
    (recipe / "outside").symlink_to("/etc")
    with pytest.raises(PackError, match="outside: a link that leads out of the pack"):
        pack.folder()


def test_a_pack_may_be_a_link_to_a_shared_one(toy: Pack, project: Path) -> None:
    (project / "shared").mkdir()
    os.rename(project / "task_packs/toy", project / "shared/toy")
    (project / "task_packs/toy").symlink_to("../shared/toy")
    assert load_pack("toy").root == (project / "shared/toy").resolve()


# Search texts that differ in white space.

TEXT = "def f():\n    a = 1   \n    b = 2\n\tc = 3\n    name = 'x\u00a0y'\n    b  =  4\n"


@pytest.mark.parametrize(
    ("search", "replace", "after"),
    [
        ("    a = 1\n    b = 2", "    z = 9", TEXT.replace("    a = 1   \n    b = 2", "    z = 9")),
        ("    c = 3", "    z = 9", TEXT.replace("\tc = 3", "\tz = 9")),
        (
            "def f():\r\n    a = 1   ",
            "def g():\r\n    a = 1",
            TEXT.replace("f():\n    a = 1   ", "g():\n    a = 1"),
        ),
        ("    name = 'x y'", "    name = 'z'", TEXT.replace("x\u00a0y", "z")),
        ("    b = 4", "    b = 5", TEXT.replace("    b  =  4", "    b = 5")),
    ],
)
def test_white_space_is_forgiven_where_only_one_place_fits(
    search: str, replace: str, after: str
) -> None:
    found = Recipe({"r/t.py": TEXT}).apply([Edit("r/t.py", search, replace)], ["r/*.py"])
    assert found.files["r/t.py"] == after


@pytest.mark.parametrize(
    ("search", "words"),
    [
        (
            "b = 2\n\tc = 3\nname",
            r"    b = 2\n\tc = 3\n    name = ",
        ),
        ("a = 1\n        b = 2", r"in white space alone; the file has '    a = 1   \n    b = 2'"),
        ("q = 1", "does not occur in the file"),
        ("a = 1 b = 2", "does not occur in the file"),
    ],
)
def test_what_would_be_a_guess_is_shown_as_it_lies_there(search: str, words: str) -> None:
    with pytest.raises(EditError) as caught:
        Recipe({"r/t.py": TEXT}).apply([Edit("r/t.py", search, "z")], ["r/*.py"])
    assert words in str(caught.value)


def test_two_places_that_fit_are_counted() -> None:
    text = "if a:\n\tx = 1\nif b:\n\tx = 1\n"
    with pytest.raises(
        EditError, match=r"from line 2 in white space alone \(and in 1 other places"
    ):
        Recipe({"r/t.py": text}).apply([Edit("r/t.py", "    x = 1", "    x = 2")], ["r/*.py"])


@settings(max_examples=150)
@given(
    st.text(st.sampled_from("ab=\n \t\u00a0"), max_size=30), st.integers(0, 30), st.integers(1, 30)
)
def test_a_text_that_is_there_is_replaced_and_nothing_else(text: str, at: int, size: int) -> None:
    search = text[at : at + size]
    if not search or text.count(search) != 1:
        return
    found = Recipe({"r/t.py": text}).apply([Edit("r/t.py", search, "Q")], ["r/*.py"])
    assert found.files["r/t.py"] == text.replace(search, "Q")


# The table of knobs.


async def test_the_table_of_knobs_belongs_to_the_recipe(recipe: Path, toy: Pack) -> None:
    """Whoever sees the files of a recipe sees its knobs; no phase and no size knows of it."""
    (recipe / "config.yaml").write_text("model:\n  width: 64\n")
    bare = load_pack("toy").baseline()
    (recipe.parent / "knobs.toml").write_text(
        '[[knobs]]\nfile = "recipe/config.yaml"\nname = "model.width"\nsurface = "left"\n'
        'domain = "16 .. 256 log"\n[[knobs]]\nfile = "recipe/train.py"\nname = "Z"\n'
        'surface = "left"\ndomain = "1 .. 2"\n'
    )
    pack = load_pack("toy")
    start = pack.baseline()
    assert "width" in {knob.name for knob in find_knobs(start.files)}
    assert recipe_bytes(start) == recipe_bytes(bare)
    with pytest.raises(EditError, match="may not be edited"):
        start.apply([Edit("knobs.toml", None, "")], pack.recipe.editable)
    told = [item.text for item in check_files(pack) if item.what == "knobs"]
    assert told[0].startswith("knobs.toml: knobs 2 is no knob: name: recipe/train.py: no constant")
    width = next(knob for knob in find_knobs(start.files) if knob.name == "width")
    assert knob_changes([width.edit(128)]) == ["width: 64 -> 128"]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("WIDTHS = (8, 16)", "WIDTHS = (8, 24)  # wider", ["WIDTHS: (8, 16) -> (8, 24)"]),
        ('    KIND: str = "relu"\n', '    KIND: str = "gelu"\n', ["KIND: 'relu' -> 'gelu'"]),
        ("X = 1.0", "X = 2.0", ["X: 1.0 -> 2.0"]),
        ("A = f(1)\nB = [1]", "A = f(2)\nB = [1]", []),
        ("A = (1,", "A = (2,", []),
        ("x = (1, 2)", "x = (1, 3)", []),
    ],
)
def test_constants_of_every_type_are_told(before: str, after: str, told: list[str]) -> None:
    assert knob_changes([Edit("recipe/train.py", before, after)]) == told
