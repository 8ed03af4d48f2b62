"""What runs right now, for people at another terminal: phases, their last lines, and an end.

The process that runs a campaign keeps a file for each phase that runs, in ``live/`` of the
campaign's folder: a line of JSON, and the end of its log. Whoever owns that folder can read it, and
asks for the end of a trial by a file of its own there. A log is written by code that nobody trusts:
no more than :data:`LOG_BYTES` of it are kept, and readers make it safe to show.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

from recipelab.core.content import make_private, read_limited
from recipelab.core.errors import RecipelabError
from recipelab.core.text import plain
from recipelab.core.trial import Phase
from recipelab.evaluation.now import NowBoard

LOG_BYTES = 16_384
"""How much of a log is kept at least, and at most four times as much."""

SHOWN_LINES = 20
LINE_CHARACTERS = 400

NOW = "now.json"
"""The file of what goes on besides; see :mod:`recipelab.evaluation.now`."""

PHASE, _KILL, _STOP = ".phase", ".kill", "campaign.stop"


@dataclass(frozen=True)
class LivePhase:
    """A phase that runs.

    Attributes:
        trial: The trial for which it runs.
        phase: The phase.
        seed: Its seed; ``None`` in preflight.
        budget: Its budget in seconds.
        began: When it began, in seconds since 1970.
        beside: Whether it is the incumbent's, which runs beside the trial.
        log: The newest lines of its log, safe to show.
        slot: Where it runs; empty if that has no name.
    """

    trial: int
    phase: str
    seed: int | None
    budget: float
    began: float
    beside: bool = False
    log: tuple[str, ...] = ()
    slot: str = ""

    @property
    def seconds(self) -> float:
        """How long it has run, in seconds."""
        return max(0.0, time.time() - self.began)


class LiveBoard:
    """Tells what runs in a campaign, and hears which trials are to end.

    Attributes:
        now: What goes on besides the phases that run.

    Args:
        folder: The folder of the files; made when something is first written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = NowBoard(folder / NOW)
        self._numbers = count()
        self._logs: dict[int, bytes] = {}
        self._seen: dict[Path, tuple[tuple[int, ...], LivePhase | None]] = {}

    def clear(self) -> None:
        """Remove what a process left that was killed; for the one that runs the campaign."""
        for path in self._files("*"):
            path.unlink(missing_ok=True)

    @contextmanager
    def running(
        self,
        trial: int,
        phase: Phase,
        seed: int | None,
        budget: float,
        *,
        beside: bool,
        slot: str = "",
    ) -> Iterator[Callable[[bytes], None]]:
        """Tell of a phase as long as the context lasts.

        Gives what takes its log, piece by piece, in any thread.
        """
        here = LivePhase(trial, phase.value, seed, budget, time.time(), beside, slot=slot)
        log = _LogFile(self._new(trial), here)
        try:
            yield log.write
        finally:
            tail = log.close()
            if tail and not beside:
                self._logs[trial] = tail

    def last_log(self, trial: int) -> str:
        """Return the end of the log of a trial's last phase that ran here; it is forgotten."""
        return self._logs.pop(trial, b"").decode("utf-8", "replace")

    def phases(self, trial: int | None = None) -> tuple[LivePhase, ...]:
        """Return the phases that run, of one trial or of all, the oldest first."""
        files = self._files(f"{'*' if trial is None else trial}-*{PHASE}")
        found = [self._read(path) for path in files]
        for gone in self._seen.keys() - files if trial is None else ():
            del self._seen[gone]
        return tuple(sorted(filter(None, found), key=lambda one: (one.trial, one.began)))

    def _read(self, path: Path) -> LivePhase | None:
        """Read a phase's file, unless it is as it was when it was last read."""
        try:
            there = path.stat()
        except OSError:
            return None  # It has ended meanwhile.
        mark = (there.st_ino, there.st_size, there.st_mtime_ns)
        seen = self._seen.get(path)
        if seen is None or seen[0] != mark:
            seen = self._seen[path] = (mark, _read(path))
        return seen[1]

    def ask_to_kill(self, trial: int) -> None:
        """Ask whoever runs the campaign to end a trial.

        Raises:
            RecipelabError: The folder is not this user's to write to.
        """
        self._ask(f"{trial}{_KILL}", "end a trial")

    def ask_to_stop(self) -> None:
        """Ask whoever runs the campaign to stop it.

        Raises:
            RecipelabError: The folder is not this user's to write to.
        """
        self._ask(_STOP, "stop the campaign")

    def _ask(self, name: str, what: str) -> None:
        try:
            make_private(self.folder)
            (self.folder / name).touch(mode=0o600)
        except OSError as error:
            raise RecipelabError(
                f"only the owner of {self.folder.parent} can {what}: {error.strerror}"
            ) from None

    def take_kills(self) -> tuple[int, ...]:
        """Return the trials that are to end, each once."""
        taken = self._take(f"*{_KILL}")
        return tuple(sorted(int(path.stem) for path in taken if path.stem.isdigit()))

    def take_stop(self) -> bool:
        """Return whether the campaign is to stop; once for each time that it was asked."""
        return bool(self._take(_STOP))

    def _take(self, pattern: str) -> list[Path]:
        """Remove files of wishes, and return those of the folder's owner."""
        found: list[Path] = []
        for path in self._files(pattern):
            with suppress(OSError):
                # A folder that others may write to does not make them owners of the campaign.
                if path.lstat().st_uid == os.geteuid():
                    found.append(path)
                path.unlink()
        return found

    def _files(self, pattern: str) -> list[Path]:
        return sorted(self.folder.glob(pattern)) if self.folder.is_dir() else []

    def _new(self, trial: int) -> Path | None:
        """Return the file of a phase; ``None`` where none can be made: nobody looks then."""
        with suppress(OSError):
            make_private(self.folder)
            return self.folder / f"{trial}-{next(self._numbers)}{PHASE}"
        return None


class _LogFile:
    """The file of a phase: a line of JSON and the end of its log.

    A disk that is full costs the view, and not the trial.
    """

    def __init__(self, path: Path | None, phase: LivePhase) -> None:
        facts = {key: value for key, value in asdict(phase).items() if key != "log"}
        self._head = json.dumps(facts).encode() + b"\n"
        self._path = path
        self._tail = bytearray()
        self._lock = threading.Lock()
        self._file: int | None = None
        self._begin()

    def write(self, piece: bytes) -> None:
        """Add a piece of the log."""
        with self._lock:
            self._tail += piece
            if len(self._tail) > 4 * LOG_BYTES:
                del self._tail[:-LOG_BYTES]
                self._begin()
            elif self._file is not None:
                with suppress(OSError):
                    os.write(self._file, piece)

    def close(self) -> bytes:
        """Remove the file, and return the end of the log."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None
            if self._path is not None:
                with suppress(OSError):
                    self._path.unlink()
            self._path = None
            return bytes(self._tail[-LOG_BYTES:])

    def _begin(self) -> None:
        """Write the file anew; whoever reads it sees the old one or the new one."""
        if self._path is None:
            return
        fresh = self._path.with_suffix(".new")
        try:
            opened = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
            os.write(opened, self._head + self._tail)
            os.replace(fresh, self._path)
        except OSError:
            return
        if self._file is not None:
            os.close(self._file)
        self._file = opened


def _read(path: Path) -> LivePhase | None:
    try:
        head, _, log = read_limited(path, 8 * LOG_BYTES).partition(b"\n")
        return LivePhase(**{**json.loads(head), "log": _shown(log)})
    except (OSError, ValueError, TypeError):
        return None  # It has ended meanwhile.


def _shown(log: bytes) -> tuple[str, ...]:
    """Return the newest lines; a progress bar that draws over itself counts as its last state."""
    lines = log.decode("utf-8", "replace").replace("\r\n", "\n").split("\n")
    states = (line.rstrip("\r").rpartition("\r")[2].rstrip() for line in lines[-4 * SHOWN_LINES :])
    told = [plain(state)[:LINE_CHARACTERS] for state in states if state]
    return tuple(told[-SHOWN_LINES:])
