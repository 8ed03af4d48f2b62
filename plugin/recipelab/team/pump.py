"""Runs a stream in a task of its own, so that whoever listens can leave at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import TypeVar

from autogen_core import CancellationToken

T = TypeVar("T")

STOP_SECONDS = 5.0
"""How long a stream is given to end after it was cancelled."""

_END = object()


async def pumped(source: AsyncGenerator[T], token: CancellationToken) -> AsyncGenerator[T]:
    """Passes the items of a stream on.

    AutoGen ends a run cleanly only through its token: a task that is cancelled while it listens
    waits until every agent has come to its end, which may be hours. Here the token is cancelled
    when the listener is, or goes away, and what does not end then is given up.

    Args:
        source: The stream. It is at its end when this is.
        token: Ends it.

    Yields:
        Its items, in order.

    Raises:
        Exception: What the stream raised.
        asyncio.CancelledError: The listener or the token was cancelled.
    """
    queue: asyncio.Queue[object] = asyncio.Queue(maxsize=1)

    async def pump() -> None:
        try:
            async with aclosing(source):
                async for item in source:
                    if not alone:
                        await queue.put(item)
        finally:
            ending.append(_END)
            if queue.empty():
                queue.put_nowait(_END)

    ending: list[object] = []
    alone: list[bool] = []
    task = asyncio.ensure_future(pump())
    try:
        while not (ending and queue.empty()):
            item = await queue.get()
            if item is _END:
                break
            yield item  # type: ignore[misc]
        await task
    finally:
        if not task.done():
            token.cancel()
            alone.append(True)
            if not queue.empty():
                queue.get_nowait()  # It may be waiting for room.
            await _ended(task)


async def _ended(task: asyncio.Future[None]) -> None:
    """Waits for a cancelled stream; gives it up when it takes too long."""
    with suppress(asyncio.CancelledError, Exception):
        await asyncio.wait_for(asyncio.shield(task), STOP_SECONDS)
    task.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await task
