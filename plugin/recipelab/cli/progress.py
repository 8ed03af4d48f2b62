"""How a campaign goes on and how it ended, on a terminal: a line a trial, then the whole table."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.status import Status as Spinner
from rich.text import Text

from recipelab.core.logs import logger
from recipelab.core.text import plain, shorten
from recipelab.core.trial import Phase, Status
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
from recipelab.team.notes import Listener

if TYPE_CHECKING:
    from autogen_agentchat.messages import BaseAgentEvent, BaseChatMessage

    from recipelab.campaign.campaign import Campaign
    from recipelab.lineage import TrialRecord

SUMMARY_TRIALS = 200
"""Trials in the table at the end of a campaign; ``recipelab trials`` has all."""


_log = logger(__name__)


class Progress(Listener):
    """Shows a campaign: a line for each trial and, on a terminal, what runs now below them.

    Args:
        console: Where to show it.
        budget: Trials that may be spent, if there is a bound.
    """

    def __init__(self, console: Console, budget: int | None) -> None:
        self._console = console
        self._budget = budget
        self._spinner = Spinner("getting ready", console=console)
        self._done = 0
        self._running: dict[int, str] = {}
        self._held: list[Text] | None = None
        self._best = ""
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._spinner.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._spinner.stop()

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Hold back all lines while a question waits, and show them afterwards."""
        self._spinner.stop()
        self._held = []
        try:
            yield
        finally:
            held, self._held = self._held, None
            for line in held:
                self._print(line)
            if self._console.is_terminal:
                self._spinner.start()

    def note(self, text: str) -> None:
        """Show a text that a person should read."""
        self._print(Text(plain(text), style="cyan"))

    def warning(self, text: str) -> None:
        """Show a text that a person should not miss; the log has it from ``info`` up."""
        _log.info(text)
        self._print(Text(plain(text), style="yellow"))

    def phase(self, trial: int, phase: Phase, seed: int | None) -> None:
        """Show the phase that a trial has begun."""
        self._running[trial] = f"trial {trial}: {phase}" + (f", seed {seed}" if seed else "")
        self._show()

    def judged(self, record: TrialRecord) -> None:
        """Show how a trial ended."""
        outcome = record.outcome
        if outcome is None:
            return
        self._running.pop(record.number, None)
        self._done += outcome.status.counts
        if outcome.status in (Status.BASELINE, Status.KEPT):
            self._best = f"best {score_text(outcome)} (trial {record.number})"
        head = f"{record.number:>4}  {plain(record.surface):<9}"
        status = status_text(outcome)
        status.pad_right(max(0, 14 - len(status)))
        score = f"{score_text(outcome):>15}  "
        line = Text.assemble(head, status, score, shorten(record.hypothesis, 90))
        line.no_wrap = True
        self._print(line)
        self._show()

    def message(self, message: BaseAgentEvent | BaseChatMessage) -> None:
        """Show who speaks, while no trial runs."""
        self._show(f"{message.source} speaks")

    def _print(self, line: Text) -> None:
        if self._held is None:
            self._console.print(line, crop=True)
        else:
            self._held.append(line)

    def _show(self, otherwise: str = "") -> None:
        now = "; ".join(self._running.values()) or otherwise
        budget = f"/{self._budget}" if self._budget is not None else ""
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        parts = (f"{self._done}{budget} trials", self._best, now, f"{minutes}:{seconds:02d}")
        self._spinner.update(Text(" · ".join(part for part in parts if part)))


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
