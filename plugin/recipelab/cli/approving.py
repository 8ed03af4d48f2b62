"""Asks a person on the terminal before each trial."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from rich.text import Text

from recipelab.cli.common import err
from recipelab.shown import plain

if TYPE_CHECKING:
    from recipelab.cli.progress import Progress
    from recipelab.evaluation.approval import Approve
    from recipelab.lineage import TrialRecord

DIFF_CHARACTERS = 8_000


def approver(progress: Progress) -> Approve:
    """Asks one question at a time.

    Args:
        progress: The display; it is silent while a question waits.
    """
    turn = asyncio.Lock()

    async def ask(record: TrialRecord) -> str | None:
        async with turn:
            with progress.silent():
                return await asyncio.to_thread(_ask, record)

    return ask


def _ask(record: TrialRecord) -> str | None:
    told = f"Trial {record.number} ({record.surface} by {record.specialist})"
    err.print(Text(f"\n{told}\n{plain(record.hypothesis)}\n{plain(record.diff[:DIFF_CHARACTERS])}"))
    err.print("Run it? [y]es, or say why not: ", markup=False, end="")
    answer = sys.stdin.readline()
    if not answer:
        return "nobody is there to ask: standard input has ended"
    answer = answer.strip()
    return None if answer.lower() in ("", "y", "yes") else answer
