"""Checks where inputs go, and makes copies of them that the command may read."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from recipelab.errors import SandboxError
from recipelab.sandbox.base import OUTPUT_DIRECTORY, PhaseRequest


def check_request(request: PhaseRequest) -> None:
    """Refuses a request that no sandbox could honor.

    Raises:
        SandboxError: An input is missing, the target of one or a tripwire leaves the phase root or
            collides with another, or the output folder is not an empty folder.
    """
    if not request.command:
        raise SandboxError(f"phase {request.phase}: the command is empty")
    if not request.output.is_dir() or any(request.output.iterdir()):
        raise SandboxError(f"phase {request.phase}: {request.output} is not an empty folder")
    for entry in request.inputs:
        if not entry.source.is_absolute() or not entry.source.exists():
            raise SandboxError(f"phase {request.phase}: no input at {entry.source}")
    wanted = [("input target", entry.target) for entry in request.inputs]
    wanted += [("tripwire", name) for name in request.tripwires]
    taken: list[tuple[str, ...]] = [(OUTPUT_DIRECTORY,)]
    for what, path in wanted:
        parts = _parts_below_root(what, path)
        if any(parts[: len(other)] == other[: len(parts)] for other in taken):
            raise SandboxError(f"phase {request.phase}: {what} {path!r} is taken")
        taken.append(parts)


def _parts_below_root(what: str, path: str) -> tuple[str, ...]:
    parts = PurePosixPath(path).parts
    if not parts or ".." in parts or path.startswith("/") or not path.isprintable():
        raise SandboxError(f"{what} {path!r} is not a path below the phase root")
    return parts


def copy_read_only(source: Path, target: Path) -> None:
    """Copies a file or folder, readable for everybody and writable for nobody.

    Symbolic links stay links: what they point to is not copied.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, copy_function=shutil.copy)
    else:
        shutil.copy(source, target)
    for path in _tree(target):
        if not path.is_symlink():
            runs = path.is_dir() or path.stat().st_mode & 0o111
            path.chmod(0o555 if runs else 0o444)


def readable_for_all(source: Path) -> bool:
    """Whether another user could read a file, or everything in a folder."""
    for path in _tree(source):
        mode = path.lstat().st_mode
        needed = 0o005 if stat.S_ISDIR(mode) else 0o004
        if not stat.S_ISLNK(mode) and mode & needed != needed:
            return False
    return True


def _tree(top: Path) -> Iterator[Path]:
    yield top
    if top.is_dir() and not top.is_symlink():
        for folder, folders, files in os.walk(top):
            yield from (Path(folder, name) for name in (*folders, *files))
