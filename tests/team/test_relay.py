"""A stream that is left, or whose listener is cancelled, has ended when the listener goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from autogen_core import CancellationToken

from recipelab.team import runtime


async def numbers(token: CancellationToken, events: list[str]) -> AsyncGenerator[int]:
    """Counts until the token is cancelled, and takes its time to close."""
    number = 0
    try:
        while not token.is_cancelled():
            yield number
            number += 1
            await asyncio.sleep(0)
        events.append("heard")
    finally:
        await asyncio.sleep(0.01)
        events.append("closed")


async def deaf(events: list[str]) -> AsyncGenerator[int]:
    """Speaks once, and never looks at a token."""
    try:
        yield 0
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0.01)
        events.append("closed")


async def counted(items: AsyncGenerator[int], upto: int) -> list[int]:
    found = []
    async with aclosing(items):
        async for item in items:
            found.append(item)
            if len(found) == upto:
                break
    return found


async def test_who_leaves_finds_the_stream_ended_by_its_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runtime, "STOP_SECONDS", 3600.0)  # It must not come to that.
    events: list[str] = []
    token = CancellationToken()
    items = runtime.relay(numbers(token, events), token)
    assert await asyncio.wait_for(counted(items, 3), 30) == [0, 1, 2]
    assert events == ["heard", "closed"]


async def test_a_stream_that_does_not_end_is_given_up_and_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runtime, "STOP_SECONDS", 0.05)
    events: list[str] = []
    assert await asyncio.wait_for(counted(runtime.relay(deaf(events), CancellationToken()), 1), 30)
    assert events == ["closed"]


async def test_a_cancelled_listener_closes_it_too() -> None:
    events: list[str] = []
    token = CancellationToken()
    listening = asyncio.ensure_future(counted(runtime.relay(numbers(token, events), token), -1))
    await asyncio.sleep(0.02)
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening
    assert events == ["heard", "closed"]


async def test_what_goes_wrong_comes_out_after_what_was_said() -> None:
    async def wrong() -> AsyncGenerator[int]:
        yield 1
        raise LookupError("lost")

    seen = []
    with pytest.raises(LookupError, match="lost"):
        async for item in runtime.relay(wrong(), CancellationToken()):
            seen.append(item)
    assert seen == [1]
