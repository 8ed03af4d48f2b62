"""Temporary folders of phases: made under a name that tells whose they are, and removed later."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from recipelab.errors import SandboxError
from recipelab.sandbox.base import PhaseRequest
from recipelab.sandbox.inputs import copy_read_only, readable_for_all
from recipelab.sandbox.owner import is_dead, owner_identity

_PREFIX = "recipelab-phase-"


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


def reap_folders(temporary: Path) -> None:
    """Removes this user's folders whose owners are dead."""
    for folder in temporary.glob(f"{_PREFIX}*"):
        identity = folder.name.removeprefix(_PREFIX).rpartition("-")[0]
        if is_dead(identity) and folder.lstat().st_uid == os.getuid():
            remove_tree(folder)


def remove_tree(folder: Path) -> None:
    """Removes a folder whose parts may be read-only."""
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
        sources = []
        for number, entry in enumerate(request.inputs):
            source = entry.source
            if folder and entry.target in hidden:
                source = folder / str(number)
                copy_read_only(entry.source, source)
            sources.append((source, entry.target))
        yield sources
    except (OSError, shutil.Error) as error:
        raise SandboxError(f"phase {request.phase}: {error}") from error
    finally:
        if folder:
            remove_tree(folder)
