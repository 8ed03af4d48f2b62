"""Takes the outputs of a command that nobody trusts, from a folder or from a tar stream.

A command may leave anything in ``out/``: links out of it, devices, pipes, names with control
characters, a million files, an archive that never ends. So outputs come one by one to a
:class:`OutputCollector`, which takes only regular files with plain names, within bounds on their
size and number, and names what it refuses. Everything is opened without following links, relative
to an open folder, and looked at again once it is open: the command's processes may still change
what its names stand for.
"""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Protocol

from recipelab.core.errors import SandboxError
from recipelab.sandbox.base import ERROR_FILE, OUTPUT_DIRECTORY, WATCH_BYTES, Watch

MAX_DEPTH = 16
"""Number of names in the path of an output; deeper ones are refused."""
MAX_REFUSED = 64
"""Number of refused outputs that are named; of the others only the number is reported."""
_PIECE = 1 << 20
_ERROR_FILE_BYTES = 1 << 16
_MAX_NAME_BYTES = 255
_MAX_PATH_BYTES = 1024
"""Systems refuse paths of 4096 bytes (1024 on macOS), and the host's folder comes on top."""
_READS_BEHIND_END = 8

_KINDS = (
    (stat.S_ISLNK, "symbolic link"),
    (stat.S_ISFIFO, "named pipe"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISCHR, "device"),
    (stat.S_ISBLK, "device"),
)
_TAR_KINDS = {
    tarfile.SYMTYPE: "symbolic link",
    tarfile.LNKTYPE: "hard link",
    tarfile.FIFOTYPE: "named pipe",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
}


class OutputLimitReached(Exception):
    """The command left more than its limits allow."""


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class OutputCollector:
    """Receives outputs one by one, from wherever they come, within bounds."""

    def __init__(self, output: Path, *, max_bytes: int, max_files: int) -> None:
        """Create a collector that writes to an existing empty folder.

        Args:
            output: The receiving folder; nothing else writes to it.
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
        """The paths that lay in tripwires, in a form that is safe to print."""
        return tuple(sorted(self._tampered))

    @property
    def refused(self) -> tuple[str, ...]:
        """The outputs that were refused, each with the reason, as ``out/a (symbolic link)``."""
        more = self._refused_count - len(self._refused)
        return (*self._refused, *((f"{OUTPUT_DIRECTORY}/ ({more} more)",) if more else ()))

    def refuse(self, name: str, reason: str) -> None:
        """Note that an output is refused.

        Raises:
            OutputLimitReached: There are too many of them.
        """
        self._count_other()
        self._note(name, reason)

    def tamper(self, name: str) -> None:
        """Note a path that lay in a tripwire.

        Args:
            name: Its path below the phase root.

        Raises:
            OutputLimitReached: There are too many of them.
        """
        if len(self._tampered) < MAX_REFUSED:
            self._tampered.add(printable_name(name))
        self._count_other()

    def folder(self) -> None:
        """Count a folder. A folder is made only when a file in it is taken.

        Raises:
            OutputLimitReached: There are too many of them.
        """
        self._count_other()

    def take(self, name: str, content: _Readable, size: int) -> None:
        """Take a regular file, or refuse it for its name.

        Args:
            name: Path below ``out/``.
            content: Where to read it from.
            size: Its declared size in bytes; no more is read.

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
        """Remove everything taken so far; the receiving folder is empty again."""
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
            raise SandboxError(
                f"cannot store output {printable_name(name)}: {error.strerror}"
            ) from error
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
            self._refused.append(f"{OUTPUT_DIRECTORY}/{printable_name(name)} ({reason})")


def collect_folder(folder: Path, collector: OutputCollector) -> None:
    """Collect from a folder on this machine.

    Args:
        folder: The folder that was ``out/`` of the command.
        collector: Receives the outputs.

    Raises:
        OutputLimitReached: There is more than the collector takes.
        SandboxError: An output cannot be stored.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        collector.refuse("", "out/ itself was removed or replaced")
        return
    _collect_open_folder(descriptor, "", set(), collector)


def _collect_open_folder(
    descriptor: int, prefix: str, seen: set[tuple[int, int]], collector: OutputCollector
) -> None:
    """Collect from an open folder, and close it. Names are opened relative to it."""
    try:
        with os.scandir(descriptor) as entries:
            for entry in entries:
                _collect_entry(descriptor, entry.name, prefix + entry.name, seen, collector)
    finally:
        os.close(descriptor)


def _collect_entry(
    parent: int, name: str, path: str, seen: set[tuple[int, int]], collector: OutputCollector
) -> None:
    try:
        found = os.lstat(name, dir_fd=parent)
        if reason := next((kind for test, kind in _KINDS if test(found.st_mode)), None):
            collector.refuse(path, reason)
            return
        # Non-blocking, as the entry may have become a named pipe since lstat.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(name, flags, dir_fd=parent)
    except OSError as error:
        collector.refuse(path, f"cannot be read: {error.strerror}")
        return
    if stat.S_ISDIR(found.st_mode):
        _collect_subfolder(descriptor, path, seen, collector)
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


def _collect_subfolder(
    descriptor: int, path: str, seen: set[tuple[int, int]], collector: OutputCollector
) -> None:
    if path.count("/") + 1 >= MAX_DEPTH:
        os.close(descriptor)
        collector.refuse(path, "it lies too deep")
        return
    collector.folder()
    _collect_open_folder(descriptor, f"{path}/", seen, collector)


class PieceReader:
    """Presents pieces of bytes as a file to read, up to a number of bytes.

    ``tarfile`` reads a long name of the size that a header declares into memory at once; only the
    bound on the whole stream bounds that. It also goes on reading behind the end of a stream for as
    long as the size in a header says, which can be days; so reading behind the end is an error here
    after a few times.
    """

    def __init__(self, pieces: Iterable[bytes], *, limit: int) -> None:
        """Create a reader.

        Args:
            pieces: The pieces.
            limit: Number of bytes after which it raises.
        """
        self._pieces = iter(pieces)
        self._left = limit
        self._rest = b""
        self._reads_behind_end = 0

    def read(self, size: int, /) -> bytes:
        """Read up to ``size`` bytes; none at the end.

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
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def _end(self) -> bytes:
        self._reads_behind_end += 1
        if self._reads_behind_end > _READS_BEHIND_END:
            raise SandboxError("the archive of the outputs ends early")
        return b""


def collect_tar(stream: PieceReader, collector: OutputCollector) -> None:
    """Collect from a tar stream whose names are relative to the phase root.

    A member below ``out/`` is taken, or refused; any other one lay in a tripwire.

    Args:
        stream: The archive.
        collector: Receives the outputs.

    Raises:
        OutputLimitReached: There is more than the collector or the stream takes.
        SandboxError: The archive is damaged or ends early, or a file cannot be stored.
    """
    try:
        # The type stub wants a whole file object; a stream archive needs read() alone.
        with tarfile.open(fileobj=stream, mode="r|", errors="surrogateescape") as archive:  # type: ignore[call-overload]
            for member in archive:
                _collect_member(archive, member, collector)
                # Otherwise the archive remembers each member, and there may be very many.
                archive.members = []
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise SandboxError(f"the archive of the outputs is damaged: {error}") from error


def _collect_member(
    archive: tarfile.TarFile, member: tarfile.TarInfo, collector: OutputCollector
) -> None:
    top, _, name = member.name.partition("/")
    if top != OUTPUT_DIRECTORY:
        if name:  # The tripwire folder itself is ours.
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


def clear_folder(folder: Path) -> None:
    """Remove everything in a folder that nothing else writes to."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _copy(name: str, content: _Readable, file: IO[bytes], size: int) -> None:
    """Copy exactly ``size`` bytes."""
    left = size
    while left:
        try:
            piece = content.read(min(left, _PIECE))
            file.write(piece)
        except OSError as error:
            raise SandboxError(
                f"cannot store output {printable_name(name)}: {error.strerror}"
            ) from error
        if not piece:
            raise SandboxError(f"output {printable_name(name)} ended {left} bytes early")
        left -= len(piece)


def printable_name(name: str) -> str:
    """Return a name that a command chose in a form safe to print: one short line, no escapes."""
    text = name.encode("utf-8", errors="backslashreplace").decode()
    text = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    return text if len(text) <= 120 else f"{text[:100]}...{text[-17:]}"


def name_fault(name: str) -> str | None:
    """Return why a path below ``out/`` is refused, or ``None`` if it is fine."""
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


def take_error_file(output: Path) -> str:
    """Remove the error file from collected outputs and return its text, up to a bound.

    Args:
        output: The folder of the host with what was collected: regular files and folders.
    """
    return _taken(output / ERROR_FILE, _ERROR_FILE_BYTES).decode("utf-8", errors="replace")


def take_watched(output: Path, watch: Watch | None) -> bytes:
    """Remove the watched file from collected outputs and return its content, up to a bound.

    Args:
        output: As for :func:`take_error_file`.
        watch: What was watched; ``None`` for nothing.
    """
    return b"" if watch is None else _taken(output / watch.file, WATCH_BYTES)


def _taken(path: Path, most: int) -> bytes:
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        content = file.read(most)
    path.unlink()
    return content
