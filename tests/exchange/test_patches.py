"""Patches of people: what git diff writes is read exactly, and what no trial can be is refused."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipelab.core.errors import EditError, RecipelabError
from recipelab.core.recipe import Recipe
from recipelab.exchange.patches import (
    MAX_PATCH_BYTES,
    edits_of_patch,
    left_out_by_git,
    patch_prefix,
)

FILES = {"r/a.py": "one\ntwo\nthree\nfour\nfive\n", "r/b.py": "x = 1\ny = 2"}

LIKE_A_PATCH = (
    *("+++ b/r/a.py", "--- a/r/b.py", "@@ -1 +1 @@", "-- z", "++ y", "diff --git a/x b/x"),
    "\\ No newline at end of file",
)
ODD = ("a", "  x = 1", "", "\tq", "\x0c", "b\rc", "tail\r", "é\u2028ü")
LINES = st.sampled_from(LIKE_A_PATCH + ODD)
TEXTS = st.builds(
    lambda lines, end: "\n".join(lines) + end, st.lists(LINES, max_size=12), st.sampled_from("\n ")
)


def edited(files: dict[str, str], patch: str | bytes) -> dict[str, str]:
    given_bytes = patch.encode() if isinstance(patch, str) else patch
    edits = edits_of_patch(files, given_bytes)
    return dict(Recipe(files).apply(edits, ["r/*"]).files)


@settings(max_examples=40, deadline=None)
@given(
    before=st.dictionaries(st.sampled_from(["r/a.py", "r/b c.py"]), TEXTS, min_size=1),
    after=st.dictionaries(st.sampled_from(["r/a.py", "r/b c.py", "r/ü.py"]), TEXTS),
)
def test_a_diff_gives_the_same_files_back(before: dict[str, str], after: dict[str, str]) -> None:
    wanted = {**before, **after}
    if wanted == before:
        return
    patch = Recipe(before).diff(Recipe(wanted))
    assert edited(before, patch) == wanted


def test_what_git_diff_prints_in_a_folder_of_a_repository_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "packs/toy"
    for path, text in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@example.org")
    for words in (("init", "-q"), ("add", "."), ("commit", "-qm", "all")):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)
    (folder / "r/a.py").write_text("one\n2\nthree\nfour\nfive\n")
    (folder / "r/b.py").chmod(0o755)
    for words in (("diff", "--relative"), ("diff",)):
        patch = subprocess.run([*git, *words], cwd=folder, check=True, capture_output=True).stdout
        assert edited(FILES, patch) == {**FILES, "r/a.py": "one\n2\nthree\nfour\nfive\n"}
    with pytest.raises(EditError, match="git diff --relative"):
        edits_of_patch(FILES, patch.replace(b"r/a.py", b"other/a.py"))


def test_only_what_changes_becomes_an_edit() -> None:
    after = {**FILES, "r/b.py": "x = 1\ny = 3", "r/new.py": ""}
    edits = edits_of_patch(FILES, Recipe(FILES).diff(Recipe(after)).encode())
    assert [(edit.path, edit.search, edit.replace) for edit in edits] == [
        ("r/b.py", None, "x = 1\ny = 3"),
        ("r/new.py", None, ""),
    ]


def test_a_patch_with_line_ends_of_windows_fits_a_recipe_without() -> None:
    after = {**FILES, "r/a.py": "one\n2\nthree\nfour\nfive\n"}
    patch = Recipe(FILES).diff(Recipe(after))
    body = patch.index("@@")
    for windows in (
        patch.replace("\n", "\r\n"),
        patch[:body] + patch[body:].replace("\n", "\r\n"),
    ):
        assert edited(FILES, windows) == after


def test_line_ends_of_windows_that_a_recipe_has_are_kept() -> None:
    before = {"r/a.py": "one\r\ntwo\r\nthree\n"}
    after = {"r/a.py": "one\r\n2\r\nthree\n"}
    assert edited(before, Recipe(before).diff(Recipe(after))) == after


def test_lines_may_have_moved_but_contexts_must_fit() -> None:
    lines = "".join(f"{number}\n" for number in range(20))
    patch = Recipe({"r/a.py": lines}).diff(Recipe({"r/a.py": lines.replace("10\n", "ten\n")}))
    assert "9\nten\n11\n" in edited({"r/a.py": "zero\n" * 9 + lines}, patch)["r/a.py"]
    with pytest.raises(EditError, match=r"patch failed: r/a\.py:8.*must fit.*: r/a\.py, r/b\.py"):
        edits_of_patch({**FILES, "r/a.py": lines.replace("9\n", "nine\n")}, patch.encode())


RENAMED = (
    "diff --git a/r/b.py b/r/c.py\nsimilarity index 100%\nrename from r/b.py\nrename to r/c.py\n"
)
LINK = (
    "diff --git a/r/l b/r/l\nnew file mode 120000\n--- /dev/null\n+++ b/r/l\n@@ -0,0 +1 @@\n+/etc\n"
)
NEW = "diff --git a/{0} b/{0}\nnew file mode 100644\n--- /dev/null\n+++ b/{0}\n@@ -0,0 +1 @@\n+x\n"
BINARY = (
    "diff --git a/r/z b/r/z\n"
    "new file mode 100644\n"
    "index 0000000000000000000000000000000000000000..5d983463ed9b1bcb008a040949025e83abf576d1\n"
    "GIT binary patch\n"
    "literal 2\n"
    "Jcmey*000620RR91\n"
    "\n"
    "literal 0\n"
    "HcmV?d00001\n"
    "\n"
)


@pytest.mark.parametrize(
    ("patch", "told"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("x = 1\n", "does not apply"),
        ("--- a/r/a.py\n+++ b/r/a.py\n", "does not apply"),
        (Recipe(FILES).diff(Recipe({"r/b.py": FILES["r/b.py"]})), "deletes or renames r/a.py"),
        (RENAMED, "deletes or renames r/b.py"),
        ("diff --git a/r/b.py b/r/b.py\nold mode 100644\nnew mode 100755\n", "changes the text"),
        (LINK, "makes a link of r/l"),
        (LINK + NEW.format("r/l/x"), "does not apply"),
        (NEW.format("../x"), "does not apply"),
        (NEW.format("/tmp/x"), "does not apply"),
        (NEW.format(".git/config"), "does not apply"),
        (BINARY, "holds binary data"),
        (BINARY[: BINARY.index("GIT")] + "Binary files /dev/null and b/r/z differ\n", "r/z"),
        (NEW.format("r/z").encode().replace(b"+x", b"+\xff"), "other than UTF-8"),
        (b"\x00" * 100, "does not apply"),
        (b"x" * (MAX_PATCH_BYTES + 1), "at most"),
    ],
)
def test_what_no_trial_can_be_is_refused(patch: str | bytes, told: str, tmp_path: Path) -> None:
    given_bytes = patch.encode() if isinstance(patch, str) else patch
    with pytest.raises(EditError, match=told):
        edits_of_patch(FILES, given_bytes)
    assert not Path("/tmp/x").exists()


def test_settings_of_the_user_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "apply.whitespace")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "fix")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    after = {**FILES, "r/a.py": "one  \ntwo\nthree\nfour\nfive\n"}
    assert edited(FILES, Recipe(FILES).diff(Recipe(after))) == after


def test_who_has_no_git_is_told_what_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RecipelabError, match=r"^to read a patch recipelab needs git"):
        edits_of_patch(FILES, NEW.format("r/z").encode())


def test_a_patch_names_its_files_from_the_top_of_the_repository(tmp_path: Path) -> None:
    pack = tmp_path / "repo/packs/toy"
    pack.mkdir(parents=True)
    assert patch_prefix(pack, pack) == "", "in no repository"
    (tmp_path / "repo/.git").mkdir()
    assert patch_prefix(pack, pack) == patch_prefix(pack, tmp_path / "repo") == "packs/toy/"
    assert patch_prefix(pack, tmp_path) == "", "applied elsewhere"
    assert patch_prefix(tmp_path / "repo", tmp_path / "repo") == ""


def test_what_git_would_leave_out_without_a_word_is_told(tmp_path: Path) -> None:
    top = tmp_path.resolve() / "repo"
    pack, other = top / "packs/toy", top / "other"
    for folder in (pack / "recipe", other):
        folder.mkdir(parents=True)
    inside = "+++ b/packs/toy/recipe/train.py\n"
    assert left_out_by_git("+++ b/recipe/train.py\n", pack, pack) is None
    assert left_out_by_git("+++ b/recipe/train.py\n", pack, tmp_path) == (
        f"git apply finds no recipe/train.py in {tmp_path.resolve()}: call it in {pack}, or give "
        "--prefix"
    )
    # Where the pack is not below, the user means a place of their own.
    assert left_out_by_git("+++ b/recipe/train.py\n", pack, other) is None
    (top / ".git").mkdir()
    assert left_out_by_git(inside, pack, top) is None
    assert left_out_by_git(inside, pack, pack) is None
    words = left_out_by_git(inside, pack, other)
    assert words == f"git apply would apply nothing in {other}: call it in {top}, or give --prefix"
    both = f"{inside}+++ b/other/x.py\n"
    words = left_out_by_git(both, pack, other)
    assert words is not None
    assert words.startswith(f"git apply would apply not packs/toy/recipe/train.py in {other}: ")
