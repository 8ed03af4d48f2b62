"""A tracker that keeps what it is told in memory, and fails or hangs as a test wants."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from recipelab.trackers import CampaignEnd, CampaignFacts, Opened, ProgressPoint, TrialFacts


@dataclass
class KeptTracker:
    """Keeps campaigns and trials as they come.

    Attributes:
        trials: The trials by number, each as often as it came.
        points: The points of progress.
        ends: How the campaign ended, each time.
        down: Whether it raises.
        hung: Blocks each trial until it is set.
    """

    where: str = ""
    folder: Path = Path()
    trials: dict[int, list[TrialFacts]] = field(default_factory=dict[int, list[TrialFacts]])
    points: list[ProgressPoint] = field(default_factory=list[ProgressPoint])
    ends: list[CampaignEnd] = field(default_factory=list[CampaignEnd])
    papers: list[str] = field(default_factory=list[str])
    opened: list[CampaignFacts] = field(default_factory=list[CampaignFacts])
    down: bool = False
    hung: threading.Event | None = None
    closed: threading.Event = field(default_factory=threading.Event)

    def _answer(self) -> None:
        if self.down:
            raise ConnectionError("nobody answers\nat 127.0.0.1")

    def open(self, campaign: CampaignFacts) -> Opened:
        self._answer()
        self.opened.append(campaign)
        return Opened(frozenset(self.trials), len(self.points))

    def trial(self, trial: TrialFacts) -> None:
        if self.hung is not None:
            self.hung.wait(60)
        self._answer()
        self.trials.setdefault(trial.number, []).append(trial)

    def progress(self, points: Sequence[ProgressPoint], first: int) -> None:
        self._answer()
        assert first == len(self.points)
        self.points.extend(points)

    def end(self, end: CampaignEnd) -> None:
        self._answer()
        self.ends.append(end)
        self.papers += [file.read_text() for file in end.papers.values()]

    def close(self) -> None:
        self.closed.set()


MADE: list[KeptTracker] = []
"""The trackers that were made by name, the newest last."""


def make(where: str, folder: Path) -> KeptTracker:
    """What an entry point of another distribution would name."""
    hung = threading.Event() if where == "hung" else None
    MADE.append(KeptTracker(where, folder, hung=hung))
    return MADE[-1]
