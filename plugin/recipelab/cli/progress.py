"""Shows how a campaign goes on: a line a trial, and below it what runs now."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.status import Status as Spinner
from rich.text import Text

from recipelab.core.text import plain, shorten
from recipelab.core.trial import Phase, Status
from recipelab.report.trial import score_text, status_text
from recipelab.team.loop import Listener

if TYPE_CHECKING:
    from autogen_agentchat.messages import BaseAgentEvent, BaseChatMessage

    from recipelab.lineage import TrialRecord


class Progress(Listener):
    """A campaign's listener for a terminal; on anything else it prints a line a trial.

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
        """Shows nothing for a while, so that a question can be read; it is shown afterwards."""
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
        """See :class:`recipelab.team.Listener`."""
        self._print(Text(plain(text), style="cyan"))

    def phase(self, trial: int, phase: Phase, seed: int | None) -> None:
        """See :class:`recipelab.team.Listener`."""
        self._running[trial] = f"trial {trial}: {phase}" + (f", seed {seed}" if seed else "")
        self._show()

    def judged(self, record: TrialRecord) -> None:
        """See :class:`recipelab.team.Listener`."""
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
        told = shorten(record.hypothesis, 90)
        line = Text.assemble(head, status, score, told)
        line.no_wrap = True
        self._print(line)
        self._show()

    def message(self, message: BaseAgentEvent | BaseChatMessage) -> None:
        """See :class:`recipelab.team.Listener`."""
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
