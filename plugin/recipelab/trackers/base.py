"""What a tracker of experiments is, how one is named, and what it remembers to have."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from recipelab.core.errors import RecipelabError
from recipelab.plan import TRACKERS, tracker_name

if TYPE_CHECKING:
    from recipelab.trackers.facts import CampaignFacts, ProgressPoint, TrialFacts


@dataclass(frozen=True)
class Opened:
    """What a tracker has of a campaign already.

    Attributes:
        trials: Numbers of the trials that it has whole.
        points: How many points of the campaign's progress it has.
    """

    trials: frozenset[int]
    points: int


@dataclass(frozen=True)
class CampaignEnd:
    """How a campaign stands when no trial follows for now.

    Attributes:
        state: ``running``, ``paused``, ``stopped`` or ``finished``.
        reason: Why it ended; empty if it has not.
        standings: How well kept trials are proven by now, by number.
        papers: Files that go with the campaign, by name: the transcript.
    """

    state: str
    reason: str
    standings: Mapping[int, str]
    papers: Mapping[str, Path]


class Tracker(Protocol):
    """Keeps campaigns as runs with their trials as runs below them.

    Its methods are called in one thread, one after the other, and may block and raise whatever they
    like: the campaign goes on, and what failed is tried again. So each may be called again with
    what it had before, and leaves one run of a campaign and of a trial, not two.
    """

    def open(self, campaign: CampaignFacts) -> Opened:
        """Find or make the run of a campaign."""

    def trial(self, trial: TrialFacts) -> None:
        """Write a judged trial, whole."""

    def progress(self, points: Sequence[ProgressPoint], first: int) -> None:
        """Write how the best went on.

        Args:
            points: The points, in order.
            first: The place of the first of them among all.
        """

    def end(self, end: CampaignEnd) -> None:
        """Write how the campaign ended, and what is known of its trials by now."""

    def close(self) -> None:
        """Let go of files and connections; nothing is called afterwards."""


class TrackerFactory(Protocol):
    """Makes a tracker; what an entry point of the group ``recipelab.trackers`` names."""

    def __call__(self, where: str, folder: Path) -> Tracker:
        """Return the tracker, without a connection to anywhere.

        Args:
            where: What stands behind its name and a colon; empty for its own default.
            folder: The campaign's folder, where it may keep files.

        Raises:
            RecipelabError: Its library is not installed, or it cannot be at that place.
        """


def opened_tracker(spec: str, folder: Path) -> Tracker:
    """Return the tracker that is meant by ``NAME`` or ``NAME:WHERE``.

    Args:
        spec: What a user named.
        folder: The campaign's folder.

    Raises:
        RecipelabError: No tracker has that name (the valid ones are listed), its library is not
            installed, or it cannot be at that place.
    """
    name, where = tracker_name(spec)
    if urlsplit(where).password is not None:
        raise RecipelabError(
            f"--track {name}: a password is no part of an address, as the lineage keeps it; "
            "hand it over in the environment, as MLFLOW_TRACKING_PASSWORD"
        )
    return TRACKERS.get(name)(where, folder)


def missing(name: str, package: str) -> RecipelabError:
    """Return the error that a tracker's library is not installed."""
    return RecipelabError(f"--track {name} needs {package}: pip install 'recipelab[{name}]'")


class SentBook:
    """Remembers in a file what was sent, for trackers that cannot be asked.

    Args:
        file: The file; folders above it are made.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def read(self) -> Opened:
        """Return what was sent; a line that a kill has cut is passed over."""
        trials: set[int] = set()
        points = 0
        text = self._file.read_text("ascii", "replace") if self._file.is_file() else ""
        for line in text.splitlines():
            kind, _, number = line.partition(" ")
            if number.isdigit():
                if kind == "trial":
                    trials.add(int(number))
                elif kind == "points":
                    points = max(points, int(number))
        return Opened(frozenset(trials), points)

    def is_last(self, end: CampaignEnd) -> bool:
        """Return whether nothing was sent since the campaign ended so."""
        text = self._file.read_text("ascii", "replace") if self._file.is_file() else ""
        return text.endswith(f"end {self._number(end)}\n")

    def note_end(self, end: CampaignEnd) -> None:
        """Note that it was sent how the campaign ended."""
        self.note("end", self._number(end))

    @staticmethod
    def _number(end: CampaignEnd) -> int:
        facts = [end.state, end.reason, *map(str, sorted(end.standings.items()))]
        return int(short_hash("\n".join(facts)), 16)

    def note(self, kind: str, number: int) -> None:
        """Note that a trial was sent, or so many points."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="ascii") as file:
            file.write(f"{kind} {number}\n")


def short_hash(text: str, length: int = 8) -> str:
    """Return the first letters of a text's SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:length]
