"""How the work folder takes what a block left."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from recipelab.core.errors import SandboxError
from recipelab.executor.inside import PLACEHOLDER
from recipelab.executor.work import drop_placeholders, list_folder, update_folder


def tree(top: Path, files: dict[str, str]) -> Path:
    """Makes a folder with files; a name with a slash at its end is a folder."""
    for name, text in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir()
        else:
            path.write_text(text)
    return top


def contents(top: Path) -> dict[str, str]:
    """What :func:`tree` would make it of."""
    found = {name: (top / name).read_text() for name in list_folder(top).files}
    return found | {f"{name}/": "" for name in list_folder(top).folders}


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tree(tmp_path / "work", {"a": "1", "b": "2", "d/c": "3", "empty/": ""})


def test_it_becomes_what_was_left(work: Path, tmp_path: Path) -> None:
    new = tree(tmp_path / "new", {"a": "changed", "d": "a file now", "b/x/y": "a folder now"})
    assert update_folder(work, new, before=list_folder(work), forget=True) == ()
    assert contents(work) == {
        "a": "changed",
        "d": "a file now",
        "b/": "",
        "b/x/": "",
        "b/x/y": "a folder now",
    }


def test_nothing_is_forgotten_where_something_was_refused(work: Path, tmp_path: Path) -> None:
    old = contents(work)
    update_folder(
        work, tree(tmp_path / "new", {"n": "new"}), before=list_folder(work), forget=False
    )
    assert contents(work) == {**old, "n": "new"}


def test_what_did_not_change_is_not_touched(work: Path, tmp_path: Path) -> None:
    (work / "a").chmod(0o750)
    before = (work / "a").stat()
    (work / "b").chmod(0o750)
    new = tree(tmp_path / "new", {"a": "1", "b": "changed"})
    update_folder(work, new, before=list_folder(work), forget=True)
    after = (work / "a").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert (work / "b").stat().st_mode & 0o777 == 0o750


def test_somebody_elses_new_file_stays(work: Path, tmp_path: Path) -> None:
    before = list_folder(work)
    tree(work, {"d/upload": "meanwhile", "late": "too"})
    update_folder(work, tree(tmp_path / "new", {"a": "1"}), before=before, forget=True)
    assert contents(work) == {"a": "1", "d/": "", "d/upload": "meanwhile", "late": "too"}


def test_links_on_the_host_are_neither_shown_nor_written_through(
    work: Path, tmp_path: Path
) -> None:
    tree(tmp_path / "other", {"a": "theirs"})
    (work / "link").symlink_to(tmp_path / "other")
    (work / "file").symlink_to(tmp_path / "other" / "a")
    before = list_folder(work)
    assert not {"link", "file"} & {*before.files, *before.folders}
    new = tree(tmp_path / "new", {"link/a": "x", "file": "y", "fine": "z"})
    assert update_folder(work, new, before=before, forget=True) == ("file", "link", "link/a")
    assert contents(tmp_path / "other") == {"a": "theirs"}
    assert contents(work) == {"fine": "z"}
    assert (work / "link").is_symlink() and (work / "file").is_symlink()


def test_a_failure_leaves_it_as_it_was(work: Path, tmp_path: Path) -> None:
    old = contents(work)
    before = list_folder(work)
    # A folder that somebody has put there meanwhile is in the way of the last file.
    tree(work, {"z/in the way": ""})
    new = tree(tmp_path / "new", {"a": "changed", "n/m": "new", "z": "a file"})
    with pytest.raises(SandboxError, match="cannot store"):
        update_folder(work, new, before=before, forget=True)
    assert contents(work) == {**old, "z/": "", "z/in the way": ""}


def test_a_full_disk_leaves_it_as_it_was(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = contents(work)

    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "move", full)
    with pytest.raises(SandboxError, match="No space left"):
        update_folder(
            work, tree(tmp_path / "new", {"a": "x"}), before=list_folder(work), forget=True
        )
    assert contents(work) == old


def test_placeholders_of_empty_folders(tmp_path: Path) -> None:
    top = tree(tmp_path / "new", {f"a/b/{PLACEHOLDER}": "", "c": "1"})
    drop_placeholders(top)
    assert contents(top) == {"a/": "", "a/b/": "", "c": "1"}


def test_the_size_is_told(work: Path) -> None:
    os.truncate(work / "a", 1000)
    assert list_folder(work).size == 1002
