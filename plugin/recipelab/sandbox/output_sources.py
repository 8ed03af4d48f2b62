"""Reads outputs from a folder of this machine or from a tar stream of a container."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterable
from pathlib import Path

from recipelab.errors import SandboxError
from recipelab.sandbox.base import OUTPUT_DIRECTORY
from recipelab.sandbox.outputs import MAX_DEPTH, Collector, OutputLimitReached

_READS_BEHIND_END = 8

_KINDS = (
    (stat.S_ISLNK, "symbolic link"),
    (stat.S_ISFIFO, "named pipe"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISCHR, "device"),
    (stat.S_ISBLK, "device"),
)


def collect_folder(folder: Path, collector: Collector) -> None:
    """Collects from a folder on this machine.

    Args:
        folder: What was ``out/`` of the command.
        collector: Where to put it.

    Raises:
        OutputLimitReached: There is more than the collector takes.
        SandboxError: It cannot be read or stored.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        collector.refuse("", "out/ itself was removed or replaced")
        return
    _collect_open_folder(descriptor, "", set(), collector)


def _collect_open_folder(
    descriptor: int, prefix: str, seen: set[tuple[int, int]], collector: Collector
) -> None:
    """Collects from an open folder and closes it. Names are opened relative to it."""
    try:
        with os.scandir(descriptor) as entries:
            for entry in entries:
                _collect_entry(descriptor, entry.name, prefix + entry.name, seen, collector)
    finally:
        os.close(descriptor)


def _collect_entry(
    parent: int, name: str, path: str, seen: set[tuple[int, int]], collector: Collector
) -> None:
    try:
        found = os.lstat(name, dir_fd=parent)
        if reason := next((words for test, words in _KINDS if test(found.st_mode)), None):
            collector.refuse(path, reason)
            return
        # Not blocking matters where the entry has become a named pipe since it was looked at.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(name, flags, dir_fd=parent)
    except OSError as error:
        collector.refuse(path, f"cannot be read: {error.strerror}")
        return
    if stat.S_ISDIR(found.st_mode):
        _enter(descriptor, path, seen, collector)
        return
    with os.fdopen(descriptor, "rb") as file:
        now = os.fstat(descriptor)
        if not stat.S_ISREG(now.st_mode):
            collector.refuse(path, "not a regular file")
        elif now.st_nlink > 1 and (now.st_dev, now.st_ino) in seen:
            collector.refuse(path, "hard link")
        else:
            seen.add((now.st_dev, now.st_ino))
            collector.take(path, file, now.st_size)


def _enter(descriptor: int, path: str, seen: set[tuple[int, int]], collector: Collector) -> None:
    if path.count("/") + 1 >= MAX_DEPTH:
        os.close(descriptor)
        collector.refuse(path, "it lies too deep")
        return
    collector.folder()
    _collect_open_folder(descriptor, f"{path}/", seen, collector)


_TAR_KINDS = {
    tarfile.SYMTYPE: "symbolic link",
    tarfile.LNKTYPE: "hard link",
    tarfile.FIFOTYPE: "named pipe",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
}


class PieceReader:
    """Makes a file of pieces of bytes, and stops after a number of bytes.

    ``tarfile`` reads the long names that a header declares into memory at once; the bound on the
    whole stream is what bounds that. It also goes on reading behind the end of a stream for as long
    as a header's size tells it to, which can be days; so that ends here too.
    """

    def __init__(self, pieces: Iterable[bytes], *, limit: int) -> None:
        """Makes a reader.

        Args:
            pieces: The pieces.
            limit: Number of bytes after which it raises.
        """
        self._pieces = iter(pieces)
        self._left = limit
        self._rest = b""
        self._reads_behind_end = 0

    def read(self, size: int, /) -> bytes:
        """Reads up to ``size`` bytes; none at the end.

        Raises:
            OutputLimitReached: The stream is longer than the limit.
            SandboxError: The end was read again and again.
        """
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return self._end()
            self._left -= len(piece)
            if self._left < 0:
                raise OutputLimitReached
            self._rest = piece
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def _end(self) -> bytes:
        self._reads_behind_end += 1
        if self._reads_behind_end > _READS_BEHIND_END:
            raise SandboxError("the archive of the outputs ends early")
        return b""


def collect_tar(stream: PieceReader, collector: Collector) -> None:
    """Collects from a tar stream whose names are relative to the phase root.

    What lies below ``out/`` is taken, or refused; anything else lay in a tripwire.

    Args:
        stream: The archive.
        collector: Where to put its files.

    Raises:
        OutputLimitReached: There is more than the collector or the stream takes.
        SandboxError: The archive is damaged or ends early, or a file cannot be stored.
    """
    try:
        # The stub wants a whole file object; reading is all that a stream archive needs.
        with tarfile.open(fileobj=stream, mode="r|", errors="surrogateescape") as archive:  # type: ignore[call-overload]
            for member in archive:
                _collect_member(archive, member, collector)
                # It remembers each member otherwise, and there may be very many.
                archive.members = []
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise SandboxError(f"the archive of the outputs is damaged: {error}") from error


def _collect_member(
    archive: tarfile.TarFile, member: tarfile.TarInfo, collector: Collector
) -> None:
    top, _, name = member.name.partition("/")
    if top != OUTPUT_DIRECTORY:
        if name:  # The tripwire itself is ours.
            collector.tamper(member.name)
        return
    if member.isdir():
        if name:
            collector.folder()
        return
    content = archive.extractfile(member) if member.type in tarfile.REGULAR_TYPES else None
    if reason := _TAR_KINDS.get(member.type):
        collector.refuse(name, reason)
    elif content is None or member.issparse() or member.size < 0:
        collector.refuse(name, "not a regular file")
    else:
        collector.take(name, content, member.size)
