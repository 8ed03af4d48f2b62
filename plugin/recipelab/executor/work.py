"""A code block as a program to run, and the work folder whose files the blocks share."""

from __future__ import annotations

import contextlib
import filecmp
import hashlib
import os
import posixpath
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from autogen_core.code_executor import CodeBlock

from recipelab.core.errors import SandboxError, unknown_name
from recipelab.executor.inside import PLACEHOLDER
from recipelab.sandbox.files import new_folder, remove_tree
from recipelab.sandbox.outputs import name_fault, printable_name

_PROGRAMS = {
    "python": "python",
    "python3": "python",
    "py": "python",
    "bash": "bash",
    "sh": "sh",
    "shell": "sh",
}
LANGUAGES = tuple(_PROGRAMS)
"""The languages of code blocks, in upper or lower case."""

_MARK = "# filename:"


class BlockError(ValueError):
    """A code block cannot be run; the message is for the agent that wrote it."""


@dataclass(frozen=True)
class Program:
    """A code block that can be run.

    Attributes:
        interpreter: ``python``, ``bash`` or ``sh``.
        file: Path of its code, below the work folder.
        code: The code as it is stored.
        named: Whether the block itself names its file.
    """

    interpreter: str
    file: str
    code: bytes
    named: bool


def program_of(block: CodeBlock) -> Program:
    """Return the program of a code block.

    Raises:
        BlockError: Its language is unknown, or its file would lie outside of the work folder.
    """
    interpreter = _PROGRAMS.get(block.language.strip().lower())
    if interpreter is None:
        raise BlockError(unknown_name("language", block.language, LANGUAGES))
    code = block.code.encode("utf-8", errors="replace")
    named = _file_name(block.code)
    # A block that names no file gets the same name for the same code.
    suffix = "py" if interpreter == "python" else interpreter
    file = named or f"tmp_code_{hashlib.sha256(code).hexdigest()}.{suffix}"
    return Program(interpreter, file, code, bool(named))


def _file_name(code: str) -> str | None:
    """Return the file name in the first line, as in ``# filename: train.py``, or ``None``."""
    line = code.partition("\n")[0]
    if not line.startswith(_MARK):
        return None
    given = line.removeprefix(_MARK).strip()
    name = posixpath.normpath(given)
    if not given or given.endswith("/") or name == "." or posixpath.isabs(name):
        raise _bad_name(given, "it is not the relative path of a file")
    if fault := name_fault(name):
        raise _bad_name(given, fault)
    return name


def _bad_name(name: str, reason: str) -> BlockError:
    return BlockError(
        f"Filename is not in the workspace: {printable_name(name)!r} is refused, {reason}"
    )


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


def list_folder(top: Path) -> Listing:
    """List a folder. Links are neither listed nor followed."""
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
    """Remove the files that stand for empty folders; the folders stay."""
    for path in top.rglob(PLACEHOLDER):
        path.unlink()


def update_folder(work: Path, new: Path, *, before: Listing, forget: bool) -> tuple[str, ...]:
    """Bring a work folder to the state in which a block left it: all of it, or none if that fails.

    A file that the block did not change is not touched, nor is one that another process has put
    there meanwhile. Each file is replaced in one step, so a reader never sees half of one.

    Args:
        work: The work folder.
        new: The state in which the block left it; files are moved out of it.
        before: The state that the block began with.
        forget: Whether to remove files that the block began with and did not leave.

    Returns:
        Names that lie behind a link in the work folder and were not taken.

    Raises:
        SandboxError: The host cannot store it; the work folder is as it was.
    """
    after = list_folder(new)
    linked = {name for name in (*after.folders, *after.files) if _is_behind_link(work, name)}
    changed = sorted(name for name in after.files - linked if not _same(work / name, new / name))
    added = [name for name in after.folders if name not in linked]
    removed = sorted(before.files - after.files) if forget else []
    removed_folders = [name for name in reversed(before.folders) if name not in after.folders]
    # In the work folder itself: only within one file system is a move one step.
    stage = new_folder(work, what="work")
    try:
        for name in changed:
            _stage(new / name, stage / "new" / name, like=work / name)
        with _all_or_nothing() as undo:
            for name in removed:
                _set_aside(work / name, stage / "old" / name, undo)
            for name in removed_folders if forget else ():
                _remove_folder(work / name, undo)
            for name in added:
                _make_folder(work / name, undo)
            for name in changed:
                _set_aside(work / name, stage / "old" / name, undo)
                _move(stage / "new" / name, work / name, undo)
    except OSError as error:
        raise SandboxError(f"cannot store files in {work}: {error.strerror}") from error
    finally:
        remove_tree(stage)
    return tuple(sorted(linked))


Undo = list[Callable[[], object]]


@contextlib.contextmanager
def _all_or_nothing() -> Iterator[Undo]:
    """Collect how to undo each step, and undo all of them if one fails."""
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


def _set_aside(path: Path, target: Path, undo: Undo) -> None:
    """Move a file out of the way, if there is one. A folder stays, and makes the next move fail."""
    if path.is_file() or path.is_symlink():
        _move(path, target, undo)


def _make_folder(path: Path, undo: Undo) -> None:
    if not path.is_dir():
        path.mkdir()
        undo.append(path.rmdir)


def _remove_folder(path: Path, undo: Undo) -> None:
    """Remove a folder if it is empty by now; files of other processes keep it."""
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()
        undo.append(path.mkdir)


def _same(old: Path, new: Path) -> bool:
    return old.is_file() and not old.is_symlink() and filecmp.cmp(old, new, shallow=False)


def _is_behind_link(work: Path, name: str) -> bool:
    """Return whether a path of the work folder goes through a link, or is one."""
    parts = PurePosixPath(name).parts
    return any(work.joinpath(*parts[:count]).is_symlink() for count in range(1, len(parts) + 1))


def _name(top: Path, path: Path) -> str:
    return path.relative_to(top).as_posix()
