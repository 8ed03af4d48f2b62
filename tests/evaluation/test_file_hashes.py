"""File hashes: every change is seen, and nothing else is called one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipelab.evaluation.integrity import FileHashes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of two files."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_text("first")
    (tmp_path / "in" / "b").write_text("second")
    return tmp_path / "in"


def hashed(*places: Path) -> FileHashes:
    hashes = FileHashes()
    hashes.add(*places)
    return hashes


def same_size(path: Path) -> None:
    path.write_text("FIRST")


def same_size_and_times(path: Path) -> None:
    found = path.stat()
    path.write_text("FIRST")
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def replaced(path: Path) -> None:
    path.unlink()
    path.write_text("other")


def removed(path: Path) -> None:
    path.unlink()


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def linked(path: Path) -> None:
    path.unlink()
    path.symlink_to("b")


@pytest.mark.parametrize(
    "change", [same_size, same_size_and_times, replaced, removed, piped, linked]
)
def test_a_change_is_seen(folder: Path, change: object) -> None:
    assert callable(change)
    hashes = hashed(folder)
    assert hashes.changed() is None
    change(folder / "a")
    changed = hashes.changed()
    assert changed is not None
    path, before, after = changed
    assert path == folder / "a"
    assert before != after


def test_a_touch_is_no_change(folder: Path) -> None:
    hashes = hashed(folder)
    os.utime(folder / "a")
    (folder / "a").chmod(0o600)
    (folder / "new").write_text("not hashed")
    assert hashes.changed() is None


def test_a_copy_knows_what_was_hashed_and_adds_for_itself(folder: Path, tmp_path: Path) -> None:
    hashes = hashed(folder / "a")
    other = hashes.copy()
    other.add(folder / "b")
    (folder / "b").write_text("changed")
    assert hashes.changed() is None
    assert other.changed() is not None
    (folder / "a").write_text("changed too")
    assert hashes.changed() is not None


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_only_content_counts(tmp_path_factory: pytest.TempPathFactory, a: bytes, b: bytes) -> None:
    path = tmp_path_factory.mktemp("hashes") / "file"
    path.write_bytes(a)
    hashes = hashed(path)
    path.unlink()
    path.write_bytes(b)
    assert (hashes.changed() is None) == (a == b)


def test_a_digest_tells_names_and_bytes_wherever_they_lie(folder: Path, tmp_path: Path) -> None:
    hashes, other = FileHashes(), tmp_path / "other"
    folder.rename(other)
    moved = hashes.digest(other)
    other.rename(folder)
    assert hashes.digest(folder) == moved
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "a").write_text("1")
    hidden = hashes.digest(folder)
    (folder / "b").rename(folder / "c")
    renamed = hashes.digest(folder)
    same_size(folder / "a")
    assert len({moved, hidden, renamed, hashes.digest(folder)}) == 4
