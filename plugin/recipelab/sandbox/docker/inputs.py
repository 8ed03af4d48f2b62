"""What a container sees of its inputs: a tree of its own, with inodes that no other phase has.

Two containers that mount the same file see each other's locks on it, who opens it, and when it was
read. So the container of a phase gets a file system of its own: an overlay, which the daemon mounts
(so that it takes no right beyond the access to the daemon), over copies of what is small and links
to the large files. Files in it have inodes of the overlay, and the kernel keeps locks and watches
by inode. Of linked files the pages in memory stay common.

Where the daemon cannot mount an overlay (it runs in a virtual machine that knows other paths, say),
there are copies alone, and inputs that are too large to copy for each phase are mounted as they
are.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipelab.core.errors import SandboxError
from recipelab.sandbox.base import OUTPUT_DIRECTORY, Input, PhaseRequest
from recipelab.sandbox.files import (
    copy_read_only,
    copy_writable,
    make_way,
    new_folder,
    outer_first,
    readable_for_all,
    remove_tree,
)
from recipelab.sandbox.processes import MIB

LINKED_BYTES = MIB
"""Size above which a file is linked. Smaller ones are copied, and so are folders, whose files are
new in each trial."""

COPIED_BYTES = 64 * MIB
"""Size up to which an input that is not linked is copied for each phase."""

ORIGINALS = "/recipelab-originals"
"""Folder of a container with the originals of what the command may change."""

_PLAIN = re.compile(r"[A-Za-z0-9/_.+-]+")
"""Paths that mean nothing but themselves among the options of a mount."""


def bind(source: Path, target: str) -> dict[str, Any]:
    """Return a read-only mount of a folder or file of the daemon's machine as it is."""
    return {"Type": "bind", "Source": str(source), "Target": target, "ReadOnly": True}


@dataclass(frozen=True)
class InputTree:
    """The inputs of one phase, as they are mounted.

    Attributes:
        folder: The tree that becomes the phase root; it holds empty folders for what is mounted in
            it.
        layers: Folders whose contents are added to it by an overlay; without any it is mounted as
            it is.
        bound: Host paths of inputs that are mounted as they are, with their targets in the tree.
        laid: Folders that are mounted where they lie, but with inodes of their own, as the layers
            are; with their targets.
        empty: An empty folder, which such an overlay needs.
        originals: Folders of which the command gets a copy that it may change, with the target of
            the copy.
    """

    folder: Path
    layers: tuple[Path, ...] = ()
    bound: Sequence[tuple[Path, str]] = ()
    originals: Sequence[tuple[Path, str]] = ()
    laid: Sequence[tuple[Path, str]] = ()
    empty: Path = Path()

    def mounts(self, root: str) -> list[dict[str, Any]]:
        """Return the mounts under the names of Docker's API.

        Args:
            root: Path of the phase root in the container.
        """
        bound = [bind(source, f"{root}/{target}") for source, target in self.bound]
        bound += [overlay(f"{root}/{target}", source, self.empty) for source, target in self.laid]
        places = zip(self.originals, self.copies(root), strict=True)
        bound += [bind(source, original) for (source, _), (original, _) in places]
        tree = overlay(root, self.folder, *self.layers) if self.layers else bind(self.folder, root)
        return [tree, *bound]

    def copies(self, root: str) -> list[tuple[str, str]]:
        """Return where the original of each copy lies in the container, and where the copy."""
        return [
            (f"{ORIGINALS}/{number}", f"{root}/{target}")
            for number, (_, target) in enumerate(self.originals)
        ]


class InputLayers:
    """Folders with links to large files, which phases with the same files share as a layer.

    A link changes the time of the file's last change, by which others tell whether a file has to be
    read again, so each file gets one link for as long as this object is open.

    Args:
        places: Folders to make layers in; the one that lies on the disk of the largest file is
            taken, because links do not lead from one disk to another.
    """

    def __init__(self, places: Sequence[Path]) -> None:
        self.places = tuple(places)
        self._lock = threading.Lock()
        self._found: dict[tuple[object, ...], tuple[Path, frozenset[str]]] = {}

    def layer(self, entries: Sequence[Input]) -> tuple[Path, frozenset[str]]:
        """Return the layer with these files at their targets.

        Args:
            entries: Files.

        Returns:
            Its folder, and the targets that are there: some files cannot be linked.

        Raises:
            OSError: The host cannot make it.
        """
        key = tuple((entry.target, entry.source, *_version(entry.source)) for entry in entries)
        with self._lock:
            if key not in self._found:
                self._found[key] = self._made(entries)
            return self._found[key]

    def _made(self, entries: Sequence[Input]) -> tuple[Path, frozenset[str]]:
        top = new_folder(_place(entries, self.places), what="inputs")
        top.chmod(0o755)
        placed = set()
        for entry in entries:
            target = top / entry.target
            target.parent.mkdir(parents=True, exist_ok=True)
            # The other disk, or a file of another user, to which the system allows no links.
            with contextlib.suppress(OSError):
                os.link(entry.source.resolve(), target)
                placed.add(entry.target)
        return top, frozenset(placed)

    def close(self) -> None:
        """Remove all layers; no container has one any more."""
        with self._lock:
            for folder, _ in self._found.values():
                remove_tree(folder)
            self._found.clear()


def _version(source: Path) -> tuple[int, int, int, int]:
    found = source.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


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
def gathered(request: PhaseRequest, layers: InputLayers, *, overlays: bool) -> Iterator[InputTree]:
    """Gather the inputs of a phase in a tree that every user can read.

    A command in a container runs under a user id of its own, so an input that only its owner can
    read is copied, whatever its size. The folder of the tree is closed to other users of the host.

    Args:
        request: The phase.
        layers: Where to get links to large files from.
        overlays: Whether there may be layers.

    Raises:
        SandboxError: An input cannot be read, or the tree not be made.
    """
    top = new_folder(layers.places[0])
    try:
        try:
            tree = _filled(top, request, layers if overlays and can_overlay(top) else None)
        except (OSError, shutil.Error) as error:
            raise SandboxError(f"phase {request.phase}: {error}") from error
        yield tree
    finally:
        remove_tree(top)


def _filled(top: Path, request: PhaseRequest, layers: InputLayers | None) -> InputTree:
    tree, below = pair_in(top)
    empty = top / "empty"
    empty.mkdir(mode=0o755)
    found: tuple[Path, ...] = ()
    linked: frozenset[str] = frozenset()
    if layers is not None:
        uncovered = (entry for entry in request.inputs if not _is_covered(entry, request))
        large = [entry for entry in uncovered if _is_linked(entry.source)]
        layer, linked = layers.layer(large) if large else (below, linked)
        found = (layer,)
    bound: list[tuple[Path, str]] = []
    laid: list[tuple[Path, str]] = []
    originals: list[tuple[Path, str]] = []
    for entry in outer_first(request.inputs):
        covered = _is_covered(entry, request)
        target = (top / "covered" if covered else tree) / entry.target
        make_way(target)
        if entry.target in linked:
            continue
        if entry.writable:
            original = top / "originals" / str(len(originals))
            copy_writable(entry.source.resolve(), original)
            for other in request.inputs:
                if other.target.startswith(f"{entry.target}/"):
                    make_way(original / other.target.removeprefix(f"{entry.target}/"))
            _make_open(target)
            _make_places(entry, request, tree)
            originals.append((original, entry.target))
        elif not _put(entry, target, may_link=layers is not None):
            lies = entry.as_is and layers is not None and can_overlay(entry.source.resolve())
            (laid if lies else bound).append((entry.source.resolve(), entry.target))
        elif covered:
            bound.append((target, entry.target))
    for name in (OUTPUT_DIRECTORY, *request.tripwires):
        _make_open(tree / name)
    return InputTree(tree, found, bound, originals, laid, empty)


def _make_places(copied: Input, request: PhaseRequest, tree: Path) -> None:
    """Make places below a writable copy for what is mounted in it, where the copy itself will be.

    gVisor mounts them there before there is a copy; others make their own places.
    """
    for other in request.inputs:
        if other.target.startswith(f"{copied.target}/"):
            place = tree / other.target
            place.parent.mkdir(parents=True, exist_ok=True)
            if other.source.is_dir():
                place.mkdir(exist_ok=True)
            else:
                place.touch()


def _make_open(folder: Path) -> None:
    """Make a folder over which a writable one is mounted: a runtime may take over its mode."""
    folder.mkdir(parents=True)
    folder.chmod(0o777)


def _is_covered(entry: Input, request: PhaseRequest) -> bool:
    """Return whether an input lies in a folder that is mounted over the tree."""
    writable = (other.target for other in request.inputs if other.writable)
    return any(entry.target.startswith(f"{target}/") for target in writable)


def _is_linked(source: Path) -> bool:
    is_large = source.is_file() and source.stat().st_size > LINKED_BYTES
    return is_large and readable_for_all(source.resolve())


def _put(entry: Input, target: Path, *, may_link: bool) -> bool:
    """Copy an input into a tree, or link the files of a large folder.

    Returns:
        Whether it is there; if not, its place is, where it can be mounted.
    """
    source = entry.source.resolve()
    if entry.as_is and source.is_dir():
        target.mkdir(parents=True)
        return False
    if _size(source) <= COPIED_BYTES or not readable_for_all(source):
        copy_read_only(source, target)
        return True
    target.parent.mkdir(parents=True, exist_ok=True)
    if not source.is_dir():
        target.touch()
        return False
    if may_link:
        try:
            shutil.copytree(source, target, symlinks=True, copy_function=os.link)
        except (OSError, shutil.Error):
            remove_tree(target)
        else:
            return True
    target.mkdir()
    return False


def _size(source: Path) -> int:
    if not source.is_dir():
        return source.stat().st_size
    return sum(
        Path(folder, name).lstat().st_size for folder, _, names in os.walk(source) for name in names
    )


def _place(entries: Sequence[Input], places: Sequence[Path]) -> Path:
    largest = max(entries, key=lambda entry: entry.source.stat().st_size)
    disk = largest.source.stat().st_dev
    usable = (place for place in places if is_usable(place) and can_overlay(place))
    return next((place for place in usable if place.stat().st_dev == disk), places[0])


def pair_in(top: Path) -> tuple[Path, Path]:
    """Make the two folders of an overlay, open to all who get as far as that."""
    pair = top / "tree", top / "below"
    for folder in pair:
        folder.mkdir()
        folder.chmod(0o755)
    return pair


def is_usable(place: Path) -> bool:
    """Return whether folders can be made in a place."""
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(place, os.W_OK)
