"""Files of a phase: checked requests, readable copies of inputs, and folders with an owner."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from recipelab.core.errors import SandboxError, warm_problem
from recipelab.sandbox.base import OUTPUT_DIRECTORY, Input, PhaseRequest
from recipelab.sandbox.processes import is_dead, owner_identity


def check_request(request: PhaseRequest) -> None:
    """Refuse a request that no sandbox could honor.

    Raises:
        SandboxError: The command is empty, an input is missing, an input target or tripwire leaves
            the phase root or collides with another, the working directory is in no input, the
            output is not an empty folder, or modules are to be imported for a command that is no
            script of Python.
    """
    if not request.command:
        raise SandboxError(f"phase {request.phase}: the command is empty")
    if problem := warm_problem(request.warm, request.command):
        raise SandboxError(f"phase {request.phase}: warm: {problem}")
    if not request.output.is_dir() or any(request.output.iterdir()):
        raise SandboxError(f"phase {request.phase}: {request.output} is not an empty folder")
    for entry in request.inputs:
        if not entry.source.is_absolute() or not entry.source.exists():
            raise SandboxError(f"phase {request.phase}: no input at {entry.source}")
    targets = [("input target", entry.target) for entry in outer_first(request.inputs)]
    targets += [("tripwire", name) for name in request.tripwires]
    folders = {entry.target: entry for entry in request.inputs if entry.source.is_dir()}
    used: dict[tuple[str, ...], Input | None] = {(OUTPUT_DIRECTORY,): None}
    for what, path in targets:
        parts = _parts_below_root(what, path)
        for other, outer in used.items():
            if parts[: len(other)] != other[: len(parts)]:
                continue
            if outer is None or not _has_room(outer, parts[len(other) :]):
                raise SandboxError(f"phase {request.phase}: {what} {path!r} is used twice")
        used[parts] = folders.get(path)
    if request.directory and not _is_there(request):
        raise SandboxError(
            f"phase {request.phase}: no folder {request.directory!r} to begin in; it sees: "
            f"{', '.join(sorted(entry.target for entry in request.inputs))}"
        )


def outer_first(inputs: Iterable[Input]) -> list[Input]:
    """Return inputs in the order in which they are put in place, one below another after it."""
    return sorted(inputs, key=lambda entry: entry.target.count("/"))


def _has_room(outer: Input, inner: tuple[str, ...]) -> bool:
    """Return whether a folder has a place, below it, for another input."""
    return bool(inner) and (outer.source.joinpath(*inner).exists())


def _is_there(request: PhaseRequest) -> bool:
    """Return whether the working directory is there: it is an input, or lies in one."""
    parts = _parts_below_root("working directory", request.directory)
    for entry in request.inputs:
        top = PurePosixPath(entry.target).parts
        if parts == top[: len(parts)] and entry.source.is_dir():
            return True
        if top == parts[: len(top)] and entry.source.joinpath(*parts[len(top) :]).is_dir():
            return True
    return parts == (OUTPUT_DIRECTORY,)


def make_way(target: Path) -> None:
    """Remove what stands in the place of an input that lies in the folder of another one."""
    if target.parent.is_dir():
        target.parent.chmod(0o755)
    if target.is_dir() and not target.is_symlink():
        remove_tree(target)
    else:
        target.unlink(missing_ok=True)


def copy_writable(source: Path, target: Path) -> None:
    """Copy a folder so that its owner may change it, and all others may read it."""
    shutil.copytree(source, target, symlinks=True, copy_function=shutil.copy)
    for path in _tree(target):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & 0o111
            path.chmod(0o755 if executable else 0o644)


def _parts_below_root(what: str, path: str) -> tuple[str, ...]:
    parts = PurePosixPath(path).parts
    if not parts or ".." in parts or path.startswith("/") or not path.isprintable():
        raise SandboxError(f"{what} {path!r} is not a path below the phase root")
    return parts


def copy_read_only(source: Path, target: Path) -> None:
    """Copy a file or folder, readable for all users and writable for none.

    Symbolic links stay links: what they point to is not copied.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, copy_function=shutil.copy)
    else:
        shutil.copy(source, target)
    for path in _tree(target):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & 0o111
            path.chmod(0o555 if executable else 0o444)


def readable_for_all(source: Path) -> bool:
    """Return whether other users can read a file, or everything in a folder."""
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


_OWNED = re.compile(r"recipelab-[a-z-]+-(?P<owner>[0-9a-f]{10}-\d+-\d+)-[^-]+")
"""A folder's name: what it is for, the identity of its owner, and a random suffix."""


def new_folder(temporary: Path, *, what: str = "phase") -> Path:
    """Make an empty folder that names this process as its owner.

    Args:
        temporary: The folder to make it in.
        what: What it is for, as a part of its name.

    Raises:
        SandboxError: The host cannot make one.
    """
    try:
        return Path(tempfile.mkdtemp(prefix=f"recipelab-{what}-{owner_identity()}-", dir=temporary))
    except OSError as error:
        raise SandboxError(f"cannot make a temporary folder: {error}") from error


def reap_folders(temporary: Path, *, dry_run: bool = False) -> tuple[Path, ...]:
    """Remove the folders of this user whose owners are dead.

    Args:
        temporary: The folder that they lie in.
        dry_run: Whether to remove nothing.

    Returns:
        The folders that were removed, or would be.
    """
    dead = tuple(path for path in sorted(temporary.glob("recipelab-*")) if _is_orphan(path))
    if not dry_run:
        for folder in dead:
            remove_tree(folder)
    return dead


def _is_orphan(folder: Path) -> bool:
    name = _OWNED.fullmatch(folder.name)
    if name is None or not is_dead(name["owner"]):
        return False
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return False  # Another process removes it at the same time.
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def remove_tree(folder: Path) -> None:
    """Remove a folder whose contents may be read-only."""
    # Another process may remove it at the same time.
    with contextlib.suppress(FileNotFoundError):
        folder.chmod(0o700)
        for path, names, _ in os.walk(folder):
            for inner in (Path(path, name) for name in names):
                if not inner.is_symlink():
                    inner.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)
