"""Recipes and edits: what applies, what is refused, and diffs that git takes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipelab.core.errors import EditError
from recipelab.core.recipe import Recipe, syntax_error
from recipelab.core.trial import Edit

EDITABLE = ("recipe/*.py",)
RECIPE = Recipe({"recipe/train.py": "a = 1\nb = 2\nb = 2\n", "recipe/notes.txt": "hello\n"})
TEXT = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=60)


def test_edits_apply_in_order() -> None:
    edits = [
        Edit("recipe/train.py", "a = 1", "a = 3"),
        Edit("recipe/train.py", "a = 3\n", "a = 4\n"),
        Edit("recipe/new.py", None, "x = 1\n"),
    ]
    edited = RECIPE.apply(edits, EDITABLE)
    assert edited.files["recipe/train.py"] == "a = 4\nb = 2\nb = 2\n"
    assert edited.files["recipe/new.py"] == "x = 1\n"
    assert RECIPE.files["recipe/train.py"].startswith("a = 1")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (Edit("recipe/train.py", "c = 3", ""), "does not occur"),
        (Edit("recipe/train.py", "b = 2", "b = 3"), "occurs 2 times"),
        (Edit("recipe/train.py", "", "b = 3"), "search text is empty"),
        (Edit("recipe/gone.py", "a", "b"), "no such file"),
        (Edit("recipe/notes.txt", "hello", "bye"), "editable: recipe/*.py"),
        (Edit("evaluator/score.py", None, "x"), "may not be edited"),
        (Edit("recipe/../evaluator/score.py", None, "x"), "may not be edited"),
        (Edit("recipe/sub/deep.py", None, "x"), "may not be edited"),
        (Edit("/recipe/train.py", None, "x"), "may not be edited"),
        (Edit("recipe//train.py", None, "x"), "may not be edited"),
        (Edit("recipe\\train.py", None, "x"), "may not be edited"),
        (Edit(f"recipe/{'a' * 200}.py", None, "x"), "may not be edited"),
        (Edit("recipe/a\ud800.py", None, "x"), "may not be edited"),
        (Edit("recipe/a\nb.py", None, "x"), "may not be edited"),
        (Edit("recipe/a\x1b[2J.py", None, "x"), "may not be edited"),
        (Edit("recipe/train.py", None, "x = '\ud800'"), "not be Unicode text"),
        (Edit("recipe/train.py", None, "x" * 400_001), "400,000 characters"),
    ],
)
def test_an_edit_that_does_not_fit_says_why_and_where(edit: Edit, words: str) -> None:
    with pytest.raises(EditError, match="edit 1") as caught:
        RECIPE.apply([edit], EDITABLE)
    assert words in str(caught.value)


def test_a_file_as_long_as_may_be_is_taken() -> None:
    longest = Edit("recipe/train.py", None, "x" * 400_000)
    assert RECIPE.apply([longest], EDITABLE).files["recipe/train.py"] == longest.replace


def test_a_near_miss_names_the_line_that_was_meant() -> None:
    with pytest.raises(EditError, match=r"nearest: line 1: 'a = 1'"):
        RECIPE.apply([Edit("recipe/train.py", "a = 11", "a = 2")], EDITABLE)


TABS = "def f(x):\n\tif x:\n\t\ty = 1\n\treturn y\n"


@pytest.mark.parametrize(
    ("text", "search", "replace", "edited"),
    [
        ("a =  1\nb = 2\n", "a = 1", "a = 3", "a = 3\nb = 2\n"),
        ("a = 1\nb = 2\n", "a\u00a0=\u00a01", "a = 3", "a = 3\nb = 2\n"),
        ("a = 1  \nb = 2\n", "a = 1\nb = 2\n", "a = 3\nb = 2\n", "a = 3\nb = 2\n"),
        ("a = 1\n\t\nb = 2\n", "a = 1\n\nb = 2", "a = 3", "a = 3\n"),
        (
            *(TABS, "    if x:\n        y = 1\n", "    if x:\n        y = 2\n        z = 3\n"),
            "def f(x):\n\tif x:\n\t\ty = 2\n\t\tz = 3\n\treturn y\n",
        ),
        # Further in than any line of the search text, as that line is and then as it is written.
        (
            *(TABS, "    if x:\n        y = 1", "    if x:\n        for y in x:\n            pass"),
            "def f(x):\n\tif x:\n\t\tfor y in x:\n\t\t    pass\n\treturn y\n",
        ),
        # A line that begins like none of the search text stays as it was written.
        (
            TABS,
            "    if x:\n        y = 1",
            "  # x\n    y = 1",
            TABS.replace("\tif x:\n\t\ty", "  # x\n\ty"),
        ),
        # Line ends around the search text and the replacement are none of the change.
        ("\ta = 1\nb = 2\n", "    a = 1\n", "\n    a = 3\n\n", "\ta = 3\nb = 2\n"),
        ("\ta = 1\nb = 2\n", "    a = 1\n", "    a = X\n", "\ta = X\nb = 2\n"),
        # An empty line at the end of the search text is one in the file, too.
        ("\ta = 1\n\nb = 2\n", "    a = 1\n\n", "    a = 3\n\n", "\ta = 3\n\n\nb = 2\n"),
    ],
)
def test_an_edit_fits_whatever_blanks_a_model_made_of_those_of_the_file(
    text: str, search: str, replace: str, edited: str
) -> None:
    recipe = Recipe({"recipe/train.py": text})
    found = recipe.apply([Edit("recipe/train.py", search, replace)], EDITABLE)
    assert found.files["recipe/train.py"] == edited


@pytest.mark.parametrize(
    ("text", "search", "told"),
    [
        (
            "x = 1\n  if x:\n      y = 1\n",
            "    if x:\n        y = 1\n",
            "from line 2 in white space",
        ),
        ("a = 1; b =  2\nc = 3\n", "b = 2\nc = 3", "the file has 'a = 1; b =  2\\nc = 3'"),
        ("a =  1\na =   1\na = \t1\n", "a = 1", "alone (and in 2 other places)"),
        ("a = 1\n", "a=1", "does not occur in the file (nearest: line 1: 'a = 1')"),
        ("a = 1 b = 2\n", "a = 1\nb = 2", "does not occur"),
    ],
)
def test_where_blanks_would_be_a_guess_the_place_is_told(text: str, search: str, told: str) -> None:
    with pytest.raises(EditError) as caught:
        Recipe({"recipe/train.py": text}).apply([Edit("recipe/train.py", search, "z")], EDITABLE)
    assert told in str(caught.value)


def test_no_edits_is_refused() -> None:
    with pytest.raises(EditError, match="no edits"):
        RECIPE.apply([], EDITABLE)


@given(before=TEXT, after=TEXT)
def test_equal_digests_mean_equal_files(before: str, after: str) -> None:
    one, two = Recipe({"recipe/a.py": before}), Recipe({"recipe/a.py": after})
    assert (one.digest == two.digest) == (before == after)


@given(first=TEXT, second=TEXT)
def test_the_digest_tells_where_one_file_ends(first: str, second: str) -> None:
    apart = Recipe({"a": first, "b": second}).digest
    moved = Recipe({"a": first + second, "b": ""}).digest
    assert (apart == moved) == (second == "")


@given(head=TEXT, tail=TEXT, search=TEXT.filter(bool), replace=TEXT)
def test_a_search_and_replace_is_exact(head: str, tail: str, search: str, replace: str) -> None:
    text = head + search + tail
    recipe = Recipe({"recipe/a.py": text})
    edit = Edit("recipe/a.py", search, replace)
    if text.count(search) != 1:
        with pytest.raises(EditError):
            recipe.apply([edit], EDITABLE)
    else:
        at = text.index(search)
        expected = text[:at] + replace + text[at + len(search) :]
        assert recipe.apply([edit], EDITABLE).files["recipe/a.py"] == expected


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a\nb\nc\n", "a\nx\nc\n"),
        ("a\nb", "a\nb\n"),
        ("a\nb\n", "a\nb"),
        (None, "new\nfile\n"),
        ("old\n", None),
        ("form\x0cfeed\n", "form\x0cfeeds\nand\n"),
        ("\u2028 line\n", "\u2028 lines\n"),
    ],
)
def test_git_applies_the_diff(tmp_path: Path, before: str | None, after: str | None) -> None:
    one = Recipe({} if before is None else {"recipe/a.py": before})
    two = Recipe({} if after is None else {"recipe/a.py": after})
    (tmp_path / "recipe").mkdir()
    file = tmp_path / "recipe" / "a.py"
    if before is not None:
        file.write_bytes(before.encode())
    (tmp_path / "p.patch").write_bytes(one.diff(two).encode())
    subprocess.run(["git", "apply", "p.patch"], cwd=tmp_path, check=True, capture_output=True)
    assert (file.read_bytes().decode() if file.exists() else None) == after


def test_equal_recipes_have_no_diff() -> None:
    assert RECIPE.diff(Recipe(dict(RECIPE.files))) == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [("def f(:\n", "recipe/a.py:1:"), ("x = 1\n  y = 2\n", "recipe/a.py:2:"), ("a\0b", "null")],
)
def test_a_syntax_error_names_file_and_line(text: str, words: str) -> None:
    found = syntax_error({"recipe/a.py": text, "recipe/b.txt": "not python ("})
    assert found is not None
    assert words in found


def test_good_files_have_no_syntax_error() -> None:
    assert syntax_error({"recipe/a.py": "x = 1\n", "notes.md": "((("}) is None


def test_an_older_python_cannot_tell_of_a_later_ones_syntax() -> None:
    broken = {"recipe/a.py": "def f(:\n"}
    assert syntax_error(broken, python="3.99") is None
    assert syntax_error(broken, python="3.9") == syntax_error(broken) is not None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("x = 1\n", "x = 1  # why\n", True),
        ("def f(a):\n    return a\n", "def f(a):\n\n  return (a)\n", True),
        ("x = 1\n", "x = 1.0\n", False),
        ("x = 'a'\n", 'x = "a"\n', True),
        ("x = '#a'\n", "x = '#b'\n", False),
        ("x = (\n", "x = (  # broken\n", False),
        ("a = 1; b = 2\n", "a = 1\n\nb = 2  # two\n", True),
        ("a = 1; b = 2\n", "a = 1; b = 3\n", False),
        ("@f\ndef g(): ...\n", "@h\ndef g(): ...\n", False),
        ('x = """a\nb"""; y = 2\n', 'x = "a\\nb"\ny = 2\n', True),
        ("a = 1\nb = 2\n", "b = 2\na = 1\n", False),
    ],
)
def test_the_meaning_is_what_python_sees(one: str, other: str, same: bool) -> None:
    recipes = [Recipe({"recipe/train.py": text}) for text in (one, other)]
    assert (recipes[0].meaning == recipes[1].meaning) is same


def test_the_meaning_of_other_files_is_their_text() -> None:
    recipes = [Recipe({"recipe/run.sh": text}) for text in ("make\n", "make  # all\n")]
    assert recipes[0].meaning != recipes[1].meaning


@given(before=TEXT, after=TEXT)
def test_equal_texts_mean_the_same(before: str, after: str) -> None:
    one, other = (Recipe({"recipe/a.py": text, "recipe/b.txt": "x"}) for text in (before, after))
    if before == after:
        assert one.meaning == other.meaning
    moved = Recipe({"recipe/c.py": before, "recipe/b.txt": "x"})
    assert one.meaning != moved.meaning


def merge(
    base: dict[str, str], ours: dict[str, str], theirs: dict[str, str]
) -> dict[str, str] | str:
    found = Recipe(ours).merged(Recipe(base), Recipe(theirs))
    return found if isinstance(found, str) else dict(found.files)


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "merged"),
    [
        ({}, {}, {"n.py": "1\n"}, {"n.py": "1\n"}),
        ({"n.py": "1\n"}, {"n.py": "1\n"}, {}, {}),
        ({"n.py": "1\n"}, {"n.py": "2\n"}, {}, "n.py"),
        ({"n.py": "1\n"}, {"n.py": "2\n"}, {"n.py": "3\n"}, "n.py"),
        ({"n.py": "1\n"}, {"n.py": "2\n"}, {"n.py": "2\n"}, {"n.py": "2\n"}),
        ({"n.py": "1\n2\n"}, {"n.py": "0\n2\n"}, {"n.py": "1\n3\n"}, {"n.py": "0\n3\n"}),
        ({"n.py": "1\n2\n"}, {"n.py": "1\na\n2\n"}, {"n.py": "1\nb\n2\n"}, "n.py"),
        ({}, {"n.py": "1\n"}, {"n.py": "2\n"}, "n.py"),
    ],
)
def test_files_are_merged_or_named(
    base: dict[str, str],
    ours: dict[str, str],
    theirs: dict[str, str],
    merged: dict[str, str] | str,
) -> None:
    assert merge(base, ours, theirs) == merged


texts = st.lists(st.sampled_from("abc"), max_size=6).map(
    lambda found: "".join(f"{x}\n" for x in found)
)


@given(base=texts, ours=texts)
def test_merging_with_what_is_unchanged_gives_the_other(base: str, ours: str) -> None:
    assert merge({"f": base}, {"f": ours}, {"f": base}) == {"f": ours}
    assert merge({"f": base}, {"f": base}, {"f": ours}) == {"f": ours}
    assert merge({"f": base}, {"f": ours}, {"f": ours}) == {"f": ours}


@given(base=texts, ours=texts, theirs=texts)
def test_which_side_is_which_does_not_matter(base: str, ours: str, theirs: str) -> None:
    one = merge({"f": base}, {"f": ours}, {"f": theirs})
    assert one == merge({"f": base}, {"f": theirs}, {"f": ours})
