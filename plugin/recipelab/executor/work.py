"""The work folder on the host: what a block may see of it, and how it takes what a block left.

Only this process writes to it. No container has it mounted writable, so no code can lead these
writes elsewhere; links that are in it all the same are neither shown to code nor written through.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from recipelab.errors import SandboxError
from recipelab.executor.inside import PLACEHOLDER
from recipelab.sandbox.staging import new_folder, remove_tree


@dataclass(frozen=True)
class Listing:
    """Regular files and folders below a folder, as paths with forward slashes.

    Attributes:
        files: The files.
        folders: The folders, each after the one that it lies in.
        size: Bytes of all files together.
    """

    files: frozenset[str]
    folders: tuple[str, ...]
    size: int


def listing(top: Path) -> Listing:
    """Looks through a folder; follows no links and lists none."""
    files: set[str] = set()
    folders: list[str] = []
    size = 0
    for folder, names, others in os.walk(top):
        inner = Path(folder)
        folders += [_name(top, inner / name) for name in names if not (inner / name).is_symlink()]
        for path in (inner / name for name in others):
            if path.is_file() and not path.is_symlink():
                files.add(_name(top, path))
                size += path.lstat().st_size
    return Listing(frozenset(files), tuple(folders), size)


def drop_placeholders(top: Path) -> None:
    """Removes the files that stand for empty folders; the folders stay."""
    for path in top.rglob(PLACEHOLDER):
        path.unlink()


def adopt(work: Path, new: Path, *, before: Listing, forget: bool) -> tuple[str, ...]:
    """Makes a work folder what a block left: all of it, or nothing if that fails.

    A file that the block did not change is not touched, nor is one that somebody else has put there
    meanwhile. Each file is changed in one step, so nobody ever reads half of one.

    Args:
        work: The work folder.
        new: What the block left; files are moved out of it.
        before: What the block saw.
        forget: Whether files that the block saw and did not leave are removed.

    Returns:
        Names that lie behind a link in the work folder and were not taken.

    Raises:
        SandboxError: The host cannot store it; the work folder is as it was.
    """
    after = listing(new)
    behind = {name for name in (*after.folders, *after.files) if _behind_link(work, name)}
    changed = sorted(name for name in after.files - behind if not _same(work / name, new / name))
    gone = sorted(before.files - after.files) if forget else []
    folders = [name for name in after.folders if name not in behind]
    lost = [name for name in reversed(before.folders) if name not in after.folders]
    # In the work folder itself: only within one file system is a move one step.
    stage = new_folder(work, what="work")
    try:
        for name in changed:
            _stage(new / name, stage / "new" / name, like=work / name)
        with _all_or_nothing() as undo:
            for name in gone:
                _set_aside(work / name, stage / "old" / name, undo)
            for name in lost if forget else ():
                _remove_folder(work / name, undo)
            for name in folders:
                _make_folder(work / name, undo)
            for name in changed:
                _set_aside(work / name, stage / "old" / name, undo)
                _move(stage / "new" / name, work / name, undo)
    except OSError as error:
        raise SandboxError(f"cannot store files in {work}: {error.strerror}") from error
    finally:
        remove_tree(stage)
    return tuple(sorted(behind))


Undo = list[Callable[[], object]]


@contextlib.contextmanager
def _all_or_nothing() -> Iterator[Undo]:
    """Collects how each step is undone, and undoes them if one fails."""
    steps: Undo = []
    try:
        yield steps
    except OSError:
        for step in reversed(steps):
            step()
        raise


def _stage(source: Path, target: Path, *, like: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(source, target)
    if like.is_file():
        shutil.copymode(like, target)


def _move(source: Path, target: Path, undo: Undo) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)
    undo.append(lambda: target.rename(source))


def _set_aside(path: Path, place: Path, undo: Undo) -> None:
    """Moves a file out of the way, if there is one. A folder is left, and will be in the way."""
    if path.is_file() or path.is_symlink():
        _move(path, place, undo)


def _make_folder(path: Path, undo: Undo) -> None:
    if not path.is_dir():
        path.mkdir()
        undo.append(path.rmdir)


def _remove_folder(path: Path, undo: Undo) -> None:
    """Removes a folder that is empty by now; somebody else's files keep it."""
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()
        undo.append(path.mkdir)


def _same(old: Path, new: Path) -> bool:
    return old.is_file() and not old.is_symlink() and filecmp.cmp(old, new, shallow=False)


def _behind_link(work: Path, name: str) -> bool:
    """Whether a path of the work folder goes through a link, or is one."""
    parts = PurePosixPath(name).parts
    return any(work.joinpath(*parts[:count]).is_symlink() for count in range(1, len(parts) + 1))


def _name(top: Path, path: Path) -> str:
    return path.relative_to(top).as_posix()
