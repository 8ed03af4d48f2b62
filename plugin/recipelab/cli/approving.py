"""Asks a person on the terminal before each trial."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rich.text import Text

from recipelab.cli.answering import AnswerLines
from recipelab.cli.common import err
from recipelab.shown import plain

if TYPE_CHECKING:
    from recipelab.cli.progress import Progress
    from recipelab.evaluation.approval import Approve
    from recipelab.lineage import TrialRecord

DIFF_CHARACTERS = 8_000

NOBODY = "nobody is there to ask: standard input has ended"


def approver(progress: Progress) -> Approve:
    """Asks one question at a time.

    Args:
        progress: The display; it is silent while a question waits.
    """
    turn = asyncio.Lock()
    lines = AnswerLines()

    async def ask(record: TrialRecord) -> str | None:
        async with turn:
            with progress.silent():
                return await _ask(record, lines)

    return ask


async def _ask(record: TrialRecord, lines: AnswerLines) -> str | None:
    lines.forget()
    told = f"Trial {record.number} ({record.surface} by {record.specialist})"
    diff = record.diff[:DIFF_CHARACTERS]
    cut = f"\n... ({len(record.diff):,} characters in all)" if len(diff) < len(record.diff) else ""
    err.print(Text(f"\n{plain(told)}\n{plain(record.hypothesis)}\n{plain(diff)}{cut}"))
    while True:
        err.print("Run it? [y]es, or say why not: ", markup=False, end="")
        line = await lines.next()
        if line is None:
            return NOBODY
        answer = line.strip()
        if answer.lower() in ("y", "yes"):
            return None
        if answer:
            return "" if answer.lower() in ("n", "no") else answer
