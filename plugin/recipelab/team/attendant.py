"""Looks for what people do to a campaign from outside: pauses, and proposals of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from recipelab.evaluation.desk import TrialDesk
from recipelab.lineage import PAUSED

LOOK_SECONDS = 1.0
"""How often it looks."""


@asynccontextmanager
async def attended(desk: TrialDesk, say: Callable[[str], None]) -> AsyncIterator[None]:
    """Looks every second, for as long as the context lasts.

    Args:
        desk: The campaign's desk.
        say: Told when the campaign is paused, goes on, or gets a proposal.
    """
    task = asyncio.ensure_future(_look(desk, say))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _look(desk: TrialDesk, say: Callable[[str], None]) -> None:
    while True:
        look(desk, say)
        await asyncio.sleep(LOOK_SECONDS)


def look(desk: TrialDesk, say: Callable[[str], None]) -> None:
    """Takes in what has changed since the last look."""
    paused = desk.store.campaign(desk.campaign).state == PAUSED
    if paused != desk.paused:
        say("paused: trials that run go on, none is begun" if paused else "going on")
        desk.paused = paused
    for number in desk.adopt():
        say(f"trial {number} was proposed from outside: it is queued")
