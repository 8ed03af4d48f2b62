"""Who waits for slots: leases are shared fairly among the campaigns of a user on a machine.

A lease is a file lock, which knows of no order: whoever tries first has it. So each pool that waits
leaves a file that says for what, since when, and how many slots it holds. A freed slot is for the
one that holds fewest, and among these for the one that waits longest; the others let it pass.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import uuid
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

_PREFIX, _SUFFIX = "waiting-", ".json"
_MOST_BYTES = 64_000


@dataclass(frozen=True)
class Waiter:
    """A pool that waits for a slot.

    Attributes:
        held: How many slots it holds.
        since: Since when it waits, in seconds of the machine's monotonic clock.
        leases: Names of the leases that it would take.
    """

    held: int
    since: float
    leases: frozenset[str]

    def is_before(self, other: Waiter, leases: Collection[str]) -> bool:
        """Return whether it wants one of some leases, and its turn is before another's."""
        wants = not self.leases.isdisjoint(leases)
        return wants and (self.held, self.since) < (other.held, other.since)


class WaitingList:
    """The pools that wait in a folder of leases, this one among them.

    An entry is a file that its process holds a lock on, so it ends with the process.

    Args:
        folder: The folder of the leases.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._name = f"{_PREFIX}{uuid.uuid4().hex}{_SUFFIX}"
        self._file: int | None = None
        self._entry: Waiter | None = None

    def join(self, waiter: Waiter) -> None:
        """Put this pool on the list, or say anew what it waits for."""
        if waiter == self._entry:
            return
        if self._file is None:
            self._file = self._locked_file()
        table = {"held": waiter.held, "since": waiter.since, "leases": sorted(waiter.leases)}
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, json.dumps(table).encode(), 0)
        self._entry = waiter

    def leave(self) -> None:
        """Take this pool off the list."""
        if self._file is not None:
            with contextlib.suppress(FileNotFoundError):
                (self._folder / self._name).unlink()
            os.close(self._file)
        self._file = self._entry = None

    def others(self) -> list[Waiter]:
        """Return the others who wait; entries of dead processes are removed."""
        return [waiter for name in self._names() if (waiter := self._read(name)) is not None]

    def _names(self) -> Iterator[str]:
        with contextlib.suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.startswith(_PREFIX) and entry.name != self._name:
                    yield entry.name

    def _locked_file(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        while True:
            file = os.open(self._folder / self._name, flags, 0o600)
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file).st_nlink:
                return file
            os.close(file)  # Somebody took it for that of a dead process before it was locked.

    def _read(self, name: str) -> Waiter | None:
        path = self._folder / name
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _parsed(os.read(file, _MOST_BYTES))
        else:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            return None
        finally:
            os.close(file)


def _parsed(text: bytes) -> Waiter | None:
    try:
        table = json.loads(text)
        return Waiter(int(table["held"]), float(table["since"]), frozenset(table["leases"]))
    except (ValueError, KeyError, TypeError):
        return None  # It is being written.
