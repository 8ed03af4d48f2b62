"""How a campaign goes on and how it ended, on a terminal: a line a trial, then the whole table."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from recipelab.core.errors import RecipelabError
from recipelab.core.logs import logger
from recipelab.core.text import duration, plain, shorten
from recipelab.core.trial import Outcome, Status
from recipelab.evaluation.now import Now
from recipelab.lineage.campaigns import headed
from recipelab.report.certificates import newest_words
from recipelab.report.figures import HEAD_PATCH, PATCH, TRANSCRIPT
from recipelab.report.trial import (
    comparison,
    projected_words,
    racing_words,
    score_text,
    spent,
    status_text,
    trials_table,
)
from recipelab.report.watch import amount, phase_line
from recipelab.team.notes import Listener

if TYPE_CHECKING:
    from autogen_agentchat.messages import BaseAgentEvent, BaseChatMessage

    from recipelab.campaign.campaign import Campaign
    from recipelab.lineage import TrialRecord

REFRESHES = 2
"""How often in a second a terminal is drawn anew."""

LINE_SECONDS = 60.0
"""Time between two lines that say what goes on, where there is no terminal."""

PHASES = 6
"""Phases that are shown while they run."""

STATUS_COLUMNS, HYPOTHESIS_CHARACTERS = 18, 90
"""Columns of a status in a trial's line, and characters of its hypothesis."""

SUMMARY_TRIALS = 200
"""Trials in the table at the end of a campaign; ``recipelab trials`` has all."""


_log = logger(__name__)


class Progress(Listener):
    """Shows a campaign: a line for each trial and, below them on a terminal, what goes on now.

    Elsewhere, as in a log file, what goes on is a line of its own, once in :data:`LINE_SECONDS`.

    Args:
        console: Where to show it.
        look: Tells what goes on; ``None`` where nobody can tell.
        best: The best so far in words, where a campaign goes on.
    """

    def __init__(
        self, console: Console, look: Callable[[], Now | None] | None = None, best: str = ""
    ) -> None:
        self._console = console
        self._look = look or (lambda: None)
        self._held: list[Text] | None = None
        self._best = best
        self._speaks = "getting ready"
        self._over = threading.Event()
        self._live = Live(
            console=console,
            get_renderable=self._picture,
            refresh_per_second=REFRESHES,
            transient=True,
        )
        self._ticker: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        else:
            self._ticker = threading.Thread(target=self._tell_at_times, daemon=True)
            self._ticker.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._live.stop()
        if self._ticker is not None:
            self._ticker.join()

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Hold back all lines while a question waits, and show them afterwards."""
        self._live.stop()
        self._held = []
        try:
            yield
        finally:
            held, self._held = self._held, None
            for line in held:
                self._print(line)
            if self._console.is_terminal and not self._over.is_set():
                self._live.start()

    def note(self, text: str) -> None:
        """Show a text that a person should read."""
        self._print(Text(plain(text), style="cyan"))

    def warning(self, text: str) -> None:
        """Show a text that a person should not miss; the log has it from ``info`` up."""
        _log.info(text)
        self._print(Text(plain(text), style="yellow"))

    def judged(self, record: TrialRecord) -> None:
        """Show how a trial ended."""
        outcome = record.outcome
        if outcome is None:
            return
        if outcome.status in (Status.BASELINE, Status.KEPT):
            self._best = best_words(record.number, outcome)
        head = f"{record.number:>4}  {shorten(record.surface, 9):<9}"
        status = status_text(outcome)
        status.pad_right(max(0, STATUS_COLUMNS - len(status)))
        score = f"{score_text(outcome):>15}"
        why = shorten(record.hypothesis, HYPOTHESIS_CHARACTERS)
        line = Text.assemble(head, status, score, f"  {why}" if why else "")
        line.truncate(self._console.width, overflow="ellipsis")
        line.rstrip()
        self._print(line)

    def message(self, message: BaseAgentEvent | BaseChatMessage) -> None:
        """Show who speaks, while nothing else is known."""
        self._speaks = f"{message.source} speaks"

    def _print(self, line: Text) -> None:
        if self._held is None:
            self._console.print(line, soft_wrap=not self._console.is_terminal)
        else:
            self._held.append(line)

    def _now(self) -> Now | None:
        # What cannot be read for a moment is shown at the next look; a campaign is worth more.
        with suppress(RecipelabError, OSError):
            return self._look()
        return None

    def _picture(self) -> Group:
        """Return the lines at the bottom of a terminal."""
        now, width = self._now(), self._console.width
        lines = [Text(shorten(words, width)) for words in (self._status(now),) if words]
        if now is not None:
            shown = now.running[:PHASES]
            lines += [Text(shorten_line(phase_line(phase), width), "dim") for phase in shown]
            if more := len(now.running) - len(shown):
                lines.append(Text(f"     and {more} more phases", "dim"))
            lines += [Text(shorten(words, width), "dim") for words in (floor_words(now),) if words]
        return Group(*lines)

    def _status(self, now: Now | None) -> str:
        """Return in a line how far the campaign is."""
        if now is None:
            return self._speaks
        parts = [
            f"{amount(one.used)} of {amount(one.limit)} {one.kind.replace('_', ' ')}"
            for one in now.budget[:2]
        ]
        parts.append(self._best)
        parts.append(duration(time.time() - now.since))
        if now.paused:
            parts.append("paused")
        elif now.seconds_left is not None:
            parts.append(f"some {duration(now.seconds_left)} left")
        if (test := now.confirming) is not None:
            parts.append(f"confirming {test.trial}, look {test.look} of {test.of}")
        return " · ".join(part for part in parts if part)

    def _tell_at_times(self) -> None:
        """Print a line from time to time, where lines are all that can be shown."""
        while not self._over.wait(LINE_SECONDS):
            if self._held is None and (now := self._now()) is not None:
                self._print(Text(self._line(now)))

    def _line(self, now: Now) -> str:
        """Return what goes on as one line without bars."""
        runs = ", ".join(
            f"trial {phase.trial} {phase.phase} {duration(time.time() - phase.began)} of "
            f"{duration(phase.budget)}"
            for phase in now.running[:PHASES]
        )
        return " · ".join(filter(None, (self._status(now), runs or floor_words(now))))


def best_words(number: int, outcome: Outcome) -> str:
    """Return the best so far in words."""
    return f"best {score_text(outcome)} (trial {number})"


def floor_words(now: Now) -> str:
    """Return who has the floor; empty if nobody has."""
    return ", ".join(
        f"{one.specialist} {one.doing} for {duration(time.time() - one.call_since)}"
        for one in now.floor
    )


def shorten_line(line: str, width: int) -> str:
    """Return a line cut to a width; spaces stay where they are."""
    return line if len(line) <= width else f"{line[: width - 1]}…"


def print_summary(console: Console, campaign: Campaign) -> None:
    """Print the trials, the totals, the best recipe against the baseline, and the papers."""
    store, name, metric = campaign.store, campaign.name, campaign.metric
    console.print()
    print_trials(console, campaign, SUMMARY_TRIALS)
    counts = store.counts(name)
    totals = ", ".join(
        f"{count} {status or 'in flight'}"
        for status, count in counts.items()
        if status is not Status.BASELINE
    )
    console.print(f"{spent(counts)} trials: {totals or 'none'}", markup=False)
    baseline, best = campaign.trial(0), campaign.best
    console.print(comparison(baseline, best, metric=metric.name, unit=metric.unit))
    if words := racing_words(store.racing(name)):
        console.print(words, markup=False)
    if words := projected_words(store.projected(name)):
        console.print(words, markup=False, soft_wrap=True)
    if best.number != baseline.number:
        console.print(newest_words(store, name, best.number), markup=False, soft_wrap=True)
    papers = (("patch", PATCH), ("head", HEAD_PATCH), ("transcript", TRANSCRIPT))
    for label, file in papers:
        path = campaign.folder / file
        if path.is_file():
            # Soft wrap keeps a long path in one piece, to be copied.
            console.print(Text(f"{label + ':':<12}{os.path.relpath(path)}"), soft_wrap=True)


def print_trials(console: Console, campaign: Campaign, limit: int) -> None:
    """Print the newest trials of a campaign, and how many there are before them."""
    records = campaign.newest_trials(limit)
    unit, title = campaign.metric.unit, headed(f"Campaign {campaign.name}", campaign.record)
    console.print(trials_table(records, unit=unit, title=title, width=console.width))
    if earlier := campaign.store.trial_count(campaign.name) - len(records):
        text = f"{earlier:,} earlier trials are not shown: recipelab trials --limit N, or --json"
        console.print(text, markup=False, soft_wrap=True)
