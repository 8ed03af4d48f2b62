"""Blocking work beside the event loop that a cancellation does not leave half done."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TypeVar

from recipelab.sandbox.threads import in_thread

T = TypeVar("T")


async def finished(work: Callable[[], T]) -> T:
    """Runs short work in a thread; a cancellation goes on only when it is done.

    Args:
        work: What to run. It must end by itself.
    """
    future = asyncio.wrap_future(in_thread(work, name="code-executor"))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([future])
        future.exception()  # Looked at, so that asyncio does not report it as forgotten.
        raise
