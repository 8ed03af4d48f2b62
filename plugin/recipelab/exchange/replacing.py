"""Writes files and folders whole or not at all, and replaces existing ones only if forced."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from recipelab.core.errors import RecipelabError


def is_file(path: Path) -> bool:
    """Return whether a path is no folder, which is what may be replaced by default."""
    return not path.is_dir()


@contextmanager
def replacing(
    target: Path, *, force: bool, may_replace: Callable[[Path], bool] = is_file
) -> Iterator[Path]:
    """Give a new place beside a path; what is made there takes the path's place at the end.

    Args:
        target: The path; folders above it are made.
        force: Whether what is there may be replaced.
        may_replace: Returns whether what is there is of a kind that may be replaced at all.

    Raises:
        RecipelabError: Something is there that may not be replaced, or the place cannot be written.
    """
    above = target.absolute().parent
    try:
        _check_may_write(target, force, may_replace)
        above.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".recipelab-", dir=above) as folder:
            new = Path(folder) / "new"
            yield new
            if target.is_dir():
                os.rename(target, Path(folder) / "old")
            os.replace(new, target)
    except OSError as error:
        raise RecipelabError(f"cannot write {target}: {error.strerror or error}") from None


def _check_may_write(target: Path, force: bool, may_replace: Callable[[Path], bool]) -> None:
    is_folder = target.is_dir()
    if not os.path.lexists(target) or (is_folder and not any(target.iterdir())):
        return
    if not may_replace(target):
        what = "a folder that is not empty" if is_folder else "a file"
        raise RecipelabError(f"{target} is {what}; name another place")
    if not force:
        raise RecipelabError(f"{target} is there already; name another place, or give --force")


def check_paths(files: Mapping[str, object], number: int) -> None:
    """Check that the files of a trial can lie in a folder of their own.

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
