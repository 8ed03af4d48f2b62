"""Asks a person on the terminal before each trial."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.text import Text

from recipelab.cli.answering import AnswerLines
from recipelab.cli.common import err
from recipelab.core.text import plain

if TYPE_CHECKING:
    from recipelab.cli.progress import Progress
    from recipelab.evaluation.proposals import Approve
    from recipelab.lineage import TrialRecord

DIFF_CHARACTERS = 8_000

YES = "yes"


def approver(progress: Progress, stop: Callable[[], object]) -> Approve:
    """Asks one question at a time.

    Args:
        progress: The display; it is silent while a question waits.
        stop: Ends the command. It is called when standard input has ended: with nobody to ask,
            agents would propose for ever, and nothing would be tried.
    """
    turn = asyncio.Lock()
    lines = AnswerLines()

    async def ask(record: TrialRecord) -> str | None:
        async with turn:
            with progress.silent():
                answer = await _answer(record, lines)
            if answer is None:
                progress.note("nobody is there to ask: standard input has ended")
                stop()
                await asyncio.Event().wait()
            return None if answer == YES else answer

    return ask


async def _answer(record: TrialRecord, lines: AnswerLines) -> str | None:
    """``YES``, or why not; ``None`` at the end of the input."""
    lines.forget()
    told = f"Trial {record.number} ({record.surface} by {record.specialist})"
    diff = record.diff[:DIFF_CHARACTERS]
    cut = f"\n... ({len(record.diff):,} characters in all)" if len(diff) < len(record.diff) else ""
    err.print(Text(f"\n{plain(told)}\n{plain(record.hypothesis)}\n{plain(diff)}{cut}"))
    while True:
        err.print("Run it? [y]es, or say why not: ", markup=False, end="")
        line = await lines.next()
        if line is None:
            return None
        answer = line.strip()
        if answer.lower() in ("y", "yes"):
            return YES
        if answer:
            return "" if answer.lower() in ("n", "no") else answer
