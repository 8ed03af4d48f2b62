"""Writes files and folders whole or not at all, and never over what is there unless told to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from recipelab.errors import RecipelabError


def is_file(path: Path) -> bool:
    """Whether a path is a file, and no folder: what ``force`` may replace by default."""
    return not path.is_dir()


@contextmanager
def replacing(
    target: Path, *, force: bool, may_go: Callable[[Path], bool] = is_file
) -> Iterator[Path]:
    """A new place beside a path; what is made there takes the path's place at the end.

    Args:
        target: The path.
        force: Whether what is there may be replaced.
        may_go: Whether what is there is of the kind that may be replaced at all.

    Raises:
        RecipelabError: Something is there that may not go, or the place cannot be written.
    """
    _check(target, force, may_go)
    try:
        with TemporaryDirectory(prefix=".recipelab-", dir=target.absolute().parent) as folder:
            new = Path(folder) / "new"
            yield new
            if target.is_dir():
                os.rename(target, Path(folder) / "old")
            os.replace(new, target)
    except OSError as error:
        raise RecipelabError(f"cannot write {target}: {error.strerror or error}") from None


def _check(target: Path, force: bool, may_go: Callable[[Path], bool]) -> None:
    there = os.path.lexists(target)
    if not there or (target.is_dir() and not any(target.iterdir())):
        return
    if not force:
        raise RecipelabError(f"{target} is there already; name another place, or give --force")
    if not may_go(target):
        raise RecipelabError(f"{target} is not what this command wrote; name another place")
