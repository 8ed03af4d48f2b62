"""What a container sees of its inputs: a tree of its own, with inodes that no other phase has.

Two containers that mount the same file see each other's locks on it, who opens it, and when it was
read. So the inputs of a phase are gathered in a tree (by hard links, which cost nothing), and the
container gets a file system of its own over it: an overlay, which the daemon mounts, so that it
takes no right beyond the access to the daemon. Files in it have inodes of the overlay, and the
kernel keeps locks and watches by inode. The pages in memory stay common.

Where the daemon cannot mount an overlay (it runs in a virtual machine that knows other paths, say),
the tree holds copies; inputs that are too large to copy for each phase are mounted as they are.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker import APIClient
from docker.errors import APIError

from recipelab.core.errors import SandboxError
from recipelab.sandbox.base import OUTPUT_DIRECTORY, Input, PhaseRequest
from recipelab.sandbox.files import copy_read_only, new_folder, readable_for_all, remove_tree
from recipelab.sandbox.processes import MIB

COPIED_BYTES = 64 * MIB
"""Size up to which an input is copied where it cannot be linked."""

_PLAIN = re.compile(r"[A-Za-z0-9/_.+-]+")
"""Paths that mean nothing but themselves among the options of a mount."""


def _bind(source: Path, target: str) -> dict[str, Any]:
    return {"Type": "bind", "Source": str(source), "Target": target, "ReadOnly": True}


@dataclass(frozen=True)
class InputTree:
    """The inputs of one phase, as they are mounted.

    Attributes:
        folder: The tree that becomes the phase root; it holds empty folders for what is mounted in
            it.
        below: An empty folder, if the tree is to be mounted as an overlay; ``None`` where it holds
            copies and is mounted as it is.
        bound: Host paths of inputs that are mounted as they are, with their targets in the tree.
    """

    folder: Path
    below: Path | None = None
    bound: Sequence[tuple[Path, str]] = ()

    def mounts(self, root: str) -> list[dict[str, Any]]:
        """Return the mounts under the names of Docker's API.

        Args:
            root: Path of the phase root in the container.
        """
        bound = [_bind(source, f"{root}/{target}") for source, target in self.bound]
        if self.below is None:
            return [_bind(self.folder, root), *bound]
        return [overlay(root, self.folder, self.below), *bound]


def overlay(target: str, *folders: Path) -> dict[str, Any]:
    """Return a read-only overlay of folders of the host, which goes with its container.

    Args:
        target: Path in the container.
        folders: The folders, the upper ones first; there are at least two.
    """
    names = ":".join(map(str, folders))
    options = {"type": "overlay", "device": "overlay", "o": f"ro,noatime,nodev,lowerdir={names}"}
    volume = {"NoCopy": True, "DriverConfig": {"Name": "local", "Options": options}}
    # Docker refuses its own word for read-only for volumes that go with their container.
    return {"Type": "volume", "Target": target, "VolumeOptions": volume}


def can_overlay(folder: Path) -> bool:
    """Return whether a path can be named in the options of an overlay."""
    return _PLAIN.fullmatch(str(folder)) is not None


@contextlib.contextmanager
def gathered(request: PhaseRequest, places: Sequence[Path], *, linked: bool) -> Iterator[InputTree]:
    """Gather the inputs of a phase in a tree that every user can read.

    A command in a container runs under a user id of its own, so an input that only its owner can
    read is copied, whatever its size. The folder of the tree is closed to other users of the host.

    Args:
        request: The phase.
        places: Folders to make the tree in; the one that lies on the disk of the largest input is
            taken, because links do not lead from one disk to another.
        linked: Whether the tree may hold links, because it is mounted as an overlay.

    Raises:
        SandboxError: An input cannot be read, or the tree not be made.
    """
    top = new_folder(_place(request, places))
    try:
        try:
            tree = _filled(top, request, linked=linked and can_overlay(top))
        except (OSError, shutil.Error) as error:
            raise SandboxError(f"phase {request.phase}: {error}") from error
        yield tree
    finally:
        remove_tree(top)


def _filled(top: Path, request: PhaseRequest, *, linked: bool) -> InputTree:
    tree, below = _pair_in(top)
    bound = [
        (entry.source, entry.target)
        for entry in request.inputs
        if not _put(entry, tree / entry.target, linked=linked)
    ]
    for name in (OUTPUT_DIRECTORY, *request.tripwires):
        (tree / name).mkdir(parents=True)
    return InputTree(tree, below if linked else None, bound)


def _pair_in(top: Path) -> tuple[Path, Path]:
    """Make the two folders of an overlay, open to all who get as far as that."""
    pair = top / "tree", top / "below"
    for folder in pair:
        folder.mkdir()
        folder.chmod(0o755)
    return pair


def mounts_overlays(
    api: APIClient, image: str, place: Path, labels: Mapping[str, str]
) -> str | None:
    """Return why the daemon cannot mount folders of this machine as an overlay; ``None`` if it can.

    Args:
        api: A connection to the daemon.
        image: An image with a shell.
        place: Where to make the folders.
        labels: Labels of the container that tries it.

    Raises:
        docker.errors.DockerException: The daemon failed otherwise.
    """
    if not can_overlay(place):
        return f"the path {place} has characters that options of mounts do not take"
    top, container = new_folder(place), ""
    try:
        tree, below = _pair_in(top)
        (tree / "seen").touch()
        made = api.create_container(
            image,
            entrypoint=["sh", "-c", "test -e /tree/seen"],
            command=[],
            labels=dict(labels),
            host_config={"NetworkMode": "none", "Mounts": [overlay("/tree", tree, below)]},
        )
        container = made["Id"]
        api.start(container)
        seen = api.wait(container)["StatusCode"] == 0
        return None if seen else "it mounts other folders than those of this machine"
    except APIError as error:
        return str(error.explanation or error)
    finally:
        if container:
            api.remove_container(container, force=True, v=True)
        remove_tree(top)


def _place(request: PhaseRequest, places: Sequence[Path]) -> Path:
    largest = max((entry.source for entry in request.inputs), key=_size, default=places[0])
    disk = largest.stat().st_dev
    for place in places:
        with contextlib.suppress(OSError):
            place.mkdir(parents=True, exist_ok=True)
            if place.stat().st_dev == disk:
                return place
    return places[0]


def _size(source: Path) -> int:
    return sum(path.lstat().st_size for path in _files(source))


def _files(source: Path) -> Iterator[Path]:
    if not source.is_dir():
        yield source
        return
    for folder, _, names in os.walk(source):
        yield from (Path(folder, name) for name in names)


def _put(entry: Input, target: Path, *, linked: bool) -> bool:
    """Put an input into a tree.

    Returns:
        Whether it is there; if not, its place is, where it can be mounted.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    source = entry.source.resolve()
    if not readable_for_all(source):
        copy_read_only(source, target)
        return True
    if linked and _link(source, target):
        return True
    if _size(source) <= COPIED_BYTES:
        copy_read_only(source, target)
        return True
    if source.is_dir():
        target.mkdir()
    else:
        target.touch()
    return False


def _link(source: Path, target: Path) -> bool:
    """Make a tree of hard links to the files of another; ``False`` if one cannot be made.

    Symbolic links stay links: what they point to is not linked.
    """
    try:
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True, copy_function=os.link)
        else:
            os.link(source, target)
    except (OSError, shutil.Error):
        # Another disk, or a file of another user, to which the system allows no links.
        if target.is_dir():
            remove_tree(target)
        return False
    return True
