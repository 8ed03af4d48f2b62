"""Takes what a command left in ``out/``, and nothing else: hostile names, links and sizes.

Only regular files are taken. Links are never followed and nothing is written outside of the
receiving folder. Whatever is not taken is named with its reason. Who calls this has made sure that
no process of the command still runs.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import IO, Protocol

from recipelab.errors import SandboxError
from recipelab.sandbox.base import OUTPUT_DIRECTORY

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

    It does not know where they come from: :mod:`recipelab.sandbox.output_sources` does.
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
