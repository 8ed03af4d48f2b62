"""Waiting for one of several things."""

from __future__ import annotations

import asyncio


def is_set(event: asyncio.Event | None) -> bool:
    """Whether there is an event, and it is set."""
    return event is not None and event.is_set()


async def either(one: asyncio.Event, other: asyncio.Event | None) -> None:
    """Waits until one of two events is set."""
    waits = [asyncio.ensure_future(event.wait()) for event in (one, other) if event is not None]
    try:
        await asyncio.wait(waits, return_when="FIRST_COMPLETED")
    finally:
        for wait in waits:
            wait.cancel()
