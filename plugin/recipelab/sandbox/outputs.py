"""Reads outputs from a folder of this machine or from a tar stream of a container."""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Protocol

from recipelab.core.errors import SandboxError
from recipelab.sandbox.base import OUTPUT_DIRECTORY

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


MAX_DEPTH = 16
"""Number of names in the path of an output; deeper ones are refused."""
MAX_REFUSED = 64
"""Number of refused outputs that are named; of the others only the number is told."""
_PIECE = 1 << 20
_MAX_NAME_BYTES = 255
_MAX_PATH_BYTES = 1024
"""Systems refuse paths of 4096 bytes (1024 on macOS), the host's own folder included."""


class OutputLimitReached(Exception):
    """The command left more than it may."""


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Collector:
    """Receives outputs one by one, within bounds.

    It does not know where they come from: :mod:`recipelab.sandbox.outputs` does.
    """

    def __init__(self, output: Path, *, max_bytes: int, max_files: int) -> None:
        """Makes a collector that writes to an existing empty folder.

        Args:
            output: The receiving folder; nobody else writes to it.
            max_bytes: Bound on the size of all files together.
            max_files: Bound on their number. Folders and refused outputs have a bound of their
                own, four times that plus a hundred.
        """
        self._output = output
        self._bytes_left = max_bytes
        self._files_left = max_files
        self._others_left = 4 * max_files + 100
        self._refused: list[str] = []
        self._refused_count = 0
        self._tampered: set[str] = set()

    @property
    def tampered(self) -> tuple[str, ...]:
        """What lay in tripwires, in a form that is safe to print."""
        return tuple(sorted(self._tampered))

    @property
    def refused(self) -> tuple[str, ...]:
        """What was not taken, each with the reason, as ``out/a (symbolic link)``."""
        more = self._refused_count - len(self._refused)
        return (*self._refused, *((f"{OUTPUT_DIRECTORY}/ ({more} more)",) if more else ()))

    def refuse(self, name: str, reason: str) -> None:
        """Notes that an output is not taken.

        Raises:
            OutputLimitReached: There are too many of them.
        """
        self._count_other()
        self._note(name, reason)

    def tamper(self, name: str) -> None:
        """Notes something that lay in a tripwire.

        Args:
            name: Its path below the phase root.

        Raises:
            OutputLimitReached: There is too much of it.
        """
        if len(self._tampered) < MAX_REFUSED:
            self._tampered.add(shown(name))
        self._count_other()

    def folder(self) -> None:
        """Counts a folder. Folders are made only where a file needs them.

        Raises:
            OutputLimitReached: There are too many of them.
        """
        self._count_other()

    def take(self, name: str, content: _Readable, size: int) -> None:
        """Takes a regular file, or refuses it for its name.

        Args:
            name: Path below ``out/``.
            content: Where to read it from.
            size: Its declared size in bytes; no more than that is read.

        Raises:
            OutputLimitReached: It is one file or one byte too many.
            SandboxError: It is shorter than declared, or the host cannot store it.
        """
        if fault := name_fault(name):
            self.refuse(name, fault)
            return
        if self._files_left < 1:
            self._note(name, "too many files")
            raise OutputLimitReached
        if size > self._bytes_left:
            self._note(name, "too large")
            raise OutputLimitReached
        self._store(name, content, size)

    def discard(self) -> None:
        """Removes everything taken so far; the receiving folder is empty again."""
        clear_folder(self._output)

    def _store(self, name: str, content: _Readable, size: int) -> None:
        path = self._output / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        except (FileExistsError, NotADirectoryError):
            self.refuse(name, "there is already an output of that name")
            return
        except OSError as error:
            raise SandboxError(f"cannot store output {shown(name)}: {error.strerror}") from error
        self._files_left -= 1
        self._bytes_left -= size
        with os.fdopen(descriptor, "wb") as file:
            _copy(name, content, file, size)

    def _count_other(self) -> None:
        self._others_left -= 1
        if self._others_left < 0:
            raise OutputLimitReached

    def _note(self, name: str, reason: str) -> None:
        self._refused_count += 1
        if len(self._refused) < MAX_REFUSED:
            self._refused.append(f"{OUTPUT_DIRECTORY}/{shown(name)} ({reason})")


def clear_folder(folder: Path) -> None:
    """Removes everything in a folder that nobody else writes to."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _copy(name: str, content: _Readable, file: IO[bytes], size: int) -> None:
    """Copies exactly ``size`` bytes."""
    left = size
    while left:
        try:
            piece = content.read(min(left, _PIECE))
            file.write(piece)
        except OSError as error:
            raise SandboxError(f"cannot store output {shown(name)}: {error.strerror}") from error
        if not piece:
            raise SandboxError(f"output {shown(name)} ended {left} bytes early")
        left -= len(piece)


def shown(name: str) -> str:
    """A name from a command in a form that is safe to print: one line, bounded, no escapes."""
    text = name.encode("utf-8", errors="backslashreplace").decode()
    text = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    return text if len(text) <= 120 else f"{text[:100]}...{text[-17:]}"


def name_fault(name: str) -> str | None:
    """Why a path below ``out/`` is not taken, or ``None`` if it is fine."""
    parts = name.split("/")
    try:
        longest = max(len(part.encode()) for part in parts)
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    if any(part in ("", ".", "..") for part in parts) or "\\" in name:
        return "its path leaves the folder"
    if not name.isprintable():
        return "its name holds control characters"
    if longest > _MAX_NAME_BYTES:
        return "its name is too long"
    if len(name.encode()) > _MAX_PATH_BYTES:
        return "its path is too long"
    return "it lies too deep" if len(parts) > MAX_DEPTH else None
