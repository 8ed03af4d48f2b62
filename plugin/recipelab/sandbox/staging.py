"""Temporary folders of phases: made under a name that tells whose they are, and removed later."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from recipelab.errors import SandboxError
from recipelab.sandbox.base import PhaseRequest
from recipelab.sandbox.inputs import copy_read_only, readable_for_all
from recipelab.sandbox.owner import is_dead, owner_identity

_OWNED = re.compile(r"recipelab-[a-z-]+-(?P<owner>[0-9a-f]{10}-\d+-\d+)-[^-]+")
"""A folder's name: what it is for, its owner, and what makes it unlike others."""


def new_folder(temporary: Path, *, what: str = "phase") -> Path:
    """Makes an empty folder that names this process as its owner.

    Args:
        temporary: Where it is made.
        what: What it is for, a word of its name.

    Raises:
        SandboxError: The host cannot make one.
    """
    try:
        return Path(tempfile.mkdtemp(prefix=f"recipelab-{what}-{owner_identity()}-", dir=temporary))
    except OSError as error:
        raise SandboxError(f"cannot make a temporary folder: {error}") from error


def reap_folders(temporary: Path, *, dry_run: bool = False) -> tuple[Path, ...]:
    """Removes this user's folders of any kind whose owners are dead.

    Args:
        temporary: Where they lie.
        dry_run: Whether to leave them there after all.

    Returns:
        What was removed, or would be.
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
        return False  # Another process reaps at the same time.
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def remove_tree(folder: Path) -> None:
    """Removes a folder whose parts may be read-only."""
    # Another process may remove it at the same time.
    with contextlib.suppress(FileNotFoundError):
        folder.chmod(0o700)
        for path, names, _ in os.walk(folder):
            for inner in (Path(path, name) for name in names):
                if not inner.is_symlink():
                    inner.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def readable_sources(request: PhaseRequest, temporary: Path) -> Iterator[list[tuple[Path, str]]]:
    """The inputs as sources that every user can read, with their targets.

    A command in a container runs under a user id of its own, so an input that only its owner can
    read is copied first. The folder of the copies is closed to other users of the host.

    Args:
        request: The phase.
        temporary: Where such a folder is made if one is needed.

    Raises:
        SandboxError: An input cannot be copied.
    """
    hidden = {entry.target for entry in request.inputs if not readable_for_all(entry.source)}
    folder = new_folder(temporary) if hidden else None
    try:
        yield [
            (_copied(request, entry.source, folder / str(number)), entry.target)
            if folder and entry.target in hidden
            else (entry.source, entry.target)
            for number, entry in enumerate(request.inputs)
        ]
    finally:
        if folder:
            remove_tree(folder)


def _copied(request: PhaseRequest, source: Path, target: Path) -> Path:
    try:
        copy_read_only(source, target)
    except (OSError, shutil.Error) as error:
        raise SandboxError(f"phase {request.phase}: {error}") from error
    return target
