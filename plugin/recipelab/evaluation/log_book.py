"""The logs of a campaign's trials: what each phase of a recipe printed, passing trials too.

The lineage has the end of the last log alone. All logs lie beside it, in ``logs/`` of the
campaign's folder: one file for each trial, a line of JSON for each phase, compressed. They were
written by code that nobody trusts, so readers make them safe to show.
"""

from __future__ import annotations

import gzip
import json
import os
import threading
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from recipelab.core.content import make_private, read_limited
from recipelab.core.text import plain

FILE_BYTES = 4 << 20
"""Size from which a trial's file takes no more logs."""

READ_CHARACTERS = 32 << 20
"""Characters of a trial's logs that are read at most: what is compressed may be a bomb."""


@dataclass(frozen=True)
class PhaseLog:
    """The log of one phase.

    Attributes:
        phase: The phase.
        seed: Its seed; ``None`` in preflight.
        text: Standard output and error together, safe to show; of a long one head and tail.
    """

    phase: str
    seed: int | None
    text: str

    @property
    def lines(self) -> list[str]:
        """Its lines; a progress bar that draws over itself counts as its last state."""
        return self.text.split("\n") if self.text else []


class LogBook:
    """Keeps the logs of trials.

    Args:
        folder: The folder of the files; made when something is first written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()

    def keep(self, trial: int, phase: str, seed: int | None, log: str) -> None:
        """Add the log of a phase that has ended. A disk that is full costs the log alone."""
        row = json.dumps({"phase": str(phase), "seed": seed, "log": log}).encode() + b"\n"
        path = self._path(trial)
        with suppress(OSError), self._lock:
            make_private(self.folder)
            if path.exists() and path.stat().st_size > FILE_BYTES:
                return
            opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(opened, "ab") as stream:
                stream.write(gzip.compress(row, 6))

    def logs(self, trial: int) -> tuple[PhaseLog, ...]:
        """Return the logs of a trial in the order in which its phases ended.

        A phase that ran again, as after a kill, counts as it ran last.
        """
        try:
            content = read_limited(self._path(trial), 2 * FILE_BYTES)
        except OSError:
            return ()
        found: dict[tuple[str, int | None], PhaseLog] = {}
        for row in _rows(content):
            with suppress(ValueError, KeyError, TypeError):
                told = json.loads(row)
                phase, seed = str(told["phase"]), told["seed"]
                states = map(_last_state, str(told["log"]).split("\n"))
                lines = [plain(state) for state in states]
                found.pop((phase, seed), None)
                found[phase, seed] = PhaseLog(phase, seed, "\n".join(lines).rstrip("\n"))
        return tuple(found.values())

    def _path(self, trial: int) -> Path:
        return self.folder / f"{trial}.jsonl.gz"


def _last_state(line: str) -> str:
    return line.rstrip("\r").rpartition("\r")[2]


def _rows(content: bytes) -> Iterator[bytes]:
    """Yield the lines of a file; what a kill left half written at its end is passed over."""
    left = READ_CHARACTERS
    with gzip.open(BytesIO(content)) as stream, suppress(OSError, EOFError, zlib.error):
        while left > 0 and (row := stream.readline(left)):
            left -= len(row)
            yield row
