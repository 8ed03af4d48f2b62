"""Inputs for a daemon that cannot see this machine's folders: they are sent to it, and lie there.

A folder goes as a stream of an archive into a volume of a container that is never started. The
daemon says where the volume lies on its own machine, and mounts that path as it would one of ours.
With the container goes the volume. What phases share, as data, is sent once in a sandbox's life.
"""

from __future__ import annotations

import contextlib
import os
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO

from docker import APIClient

from recipelab.core.errors import SandboxError
from recipelab.sandbox.docker.containers import remove
from recipelab.sandbox.docker.inputs import InputTree
from recipelab.sandbox.processes import in_thread

_PLACE = "/sent"
_PIECE_BYTES = 1 << 20


class SentFolders:
    """Folders on the daemon's machine, as long as the container that holds them.

    Args:
        api: A connection to the daemon.
        image: Any image that the daemon has.
        labels: Labels of the container.
    """

    def __init__(self, api: APIClient, image: str, labels: Mapping[str, str]) -> None:
        self._api = api
        self._image = image
        self._labels = dict(labels)
        self._containers: list[str] = []

    def folder(self, source: Path) -> Path:
        """Send a folder, or a file in one of its own, and return its path over there.

        Raises:
            OSError: It cannot be read.
            SandboxError: The daemon has no path for it.
            docker.errors.DockerException: The daemon failed.
        """
        volume = {"Type": "volume", "Target": _PLACE, "VolumeOptions": {"NoCopy": True}}
        made = self._api.create_container(
            self._image,
            entrypoint=["sh"],
            command=[],
            labels=self._labels,
            host_config={"NetworkMode": "none", "Mounts": [volume]},
        )["Id"]
        self._containers.append(made)
        with _archived(source) as archive:
            pieces = iter(lambda: archive.read(_PIECE_BYTES), b"")
            self._api.put_archive(made, _PLACE, pieces)
        [mount] = self._api.inspect_container(made)["Mounts"]
        if not mount.get("Source"):
            raise SandboxError(f"the daemon does not say where it keeps {source}")
        return Path(mount["Source"]) / ("" if source.is_dir() else source.name)

    def close(self) -> None:
        """Remove the containers and what they hold."""
        while self._containers:
            remove(self._api, self._containers.pop())


class Sender:
    """Sends the inputs of phases to the daemon; what they share only once.

    Args:
        api: A connection to the daemon.
        image: Any image that the daemon has.
        labels: Labels of the containers that hold them.
    """

    def __init__(self, api: APIClient, image: str, labels: Mapping[str, str]) -> None:
        self._new: Callable[[], SentFolders] = lambda: SentFolders(api, image, labels)
        self._kept = self._new()
        self._places: dict[tuple[object, ...], Path] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def phase(self) -> Iterator[SentFolders]:
        """Give folders that are removed with the context."""
        folders = self._new()
        try:
            yield folders
        finally:
            folders.close()

    @contextlib.contextmanager
    def sent(self, tree: InputTree) -> Iterator[InputTree]:
        """Send the inputs of a phase, and give them as they lie on the daemon's machine.

        Raises:
            OSError: One cannot be read.
            SandboxError: The daemon has no path for one.
            docker.errors.DockerException: The daemon failed.
        """
        with self.phase() as own:
            yield replace(
                tree,
                folder=own.folder(tree.folder),
                layers=tuple(self._kept_folder(layer) for layer in tree.layers),
                # What lies in the tree's own folders is the phase's, the rest is the user's.
                bound=[(self._of(source, tree, own), target) for source, target in tree.bound],
                laid=[(self._kept_folder(source), target) for source, target in tree.laid],
                originals=[(own.folder(source), target) for source, target in tree.originals],
                empty=own.folder(tree.empty) if tree.laid else tree.empty,
            )

    def close(self) -> None:
        """Remove what phases shared."""
        self._kept.close()
        self._places.clear()

    def _of(self, source: Path, tree: InputTree, own: SentFolders) -> Path:
        within = source.is_relative_to(tree.folder.parent)
        return own.folder(source) if within else self._kept_folder(source)

    def _kept_folder(self, source: Path) -> Path:
        key = tuple(_versions(source))
        with self._lock:
            if key not in self._places:
                self._places[key] = self._kept.folder(source)
            return self._places[key]


def _versions(source: Path) -> Iterator[object]:
    """Yield what changes when a file in a folder is replaced or written to."""
    yield source
    for folder, _, names in os.walk(source):
        for path in (Path(folder, name) for name in sorted(names)):
            found = path.lstat()
            yield path, found.st_ino, found.st_size, found.st_mtime_ns
    found = source.stat()
    yield found.st_ino, found.st_size, found.st_mtime_ns


@contextlib.contextmanager
def _archived(source: Path) -> Iterator[IO[bytes]]:
    """Give the archive of a folder's contents, or of a file, while it is being written."""
    read, write = os.pipe()
    with os.fdopen(read, "rb") as archive:

        def body() -> None:
            with (
                os.fdopen(write, "wb") as out,
                contextlib.suppress(BrokenPipeError),
                tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as made,
            ):
                made.add(source, "." if source.is_dir() else source.name, filter=_without_owner)

        writing = in_thread(body, name="archive")
        try:
            yield archive
        finally:
            archive.close()
        writing.result()


def _without_owner(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Give everything to root over there: ids of this machine mean nothing on another."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry
