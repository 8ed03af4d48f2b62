"""Writes files and folders whole or not at all, and never over what is there unless told to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from recipelab.core.errors import RecipelabError


def is_file(path: Path) -> bool:
    """Whether a path is a file: what may be replaced where nothing else is said."""
    return not path.is_dir()


@contextmanager
def replacing(
    target: Path, *, force: bool, may_go: Callable[[Path], bool] = is_file
) -> Iterator[Path]:
    """A new place beside a path; what is made there takes the path's place at the end.

    Args:
        target: The path; folders above it are made.
        force: Whether what is there may be replaced.
        may_go: Whether what is there is of the kind that may be replaced at all.

    Raises:
        RecipelabError: Something is there that may not go, or the place cannot be written.
    """
    above = target.absolute().parent
    try:
        _check(target, force, may_go)
        above.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".recipelab-", dir=above) as folder:
            new = Path(folder) / "new"
            yield new
            if target.is_dir():
                os.rename(target, Path(folder) / "old")
            os.replace(new, target)
    except OSError as error:
        raise RecipelabError(f"cannot write {target}: {error.strerror or error}") from None


def _check(target: Path, force: bool, may_go: Callable[[Path], bool]) -> None:
    is_folder = target.is_dir()
    if not os.path.lexists(target) or (is_folder and not any(target.iterdir())):
        return
    if not may_go(target):
        what = "a folder that is not empty" if is_folder else "a file"
        raise RecipelabError(f"{target} is {what}; name another place")
    if not force:
        raise RecipelabError(f"{target} is there already; name another place, or give --force")


def check_paths(files: Mapping[str, str], number: int) -> None:
    """Checks that the files of a trial can lie in a folder of their own.

    A campaign that was imported may say anything.

    Raises:
        RecipelabError: One would lie outside, inside of ``.git``, or below another file.
    """
    for path in files:
        parts = path.split("/")
        above = {"/".join(parts[:end]) for end in range(1, len(parts))}
        bad = {"", ".", ".."} & set(parts) or any(part.lower() == ".git" for part in parts)
        if bad or above & files.keys():
            raise RecipelabError(
                f"trial {number} has a file {path!r}, which cannot be written into a folder; "
                "export its campaign with --format jsonl"
            )
