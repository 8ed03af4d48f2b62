"""What a round runs on: a runtime of AutoGen, a token that ends it, and a stream that is relayed.

The private names of AutoGen that this package touches are those of the versions in
:data:`AUTOGEN_VERSIONS`, which is checked when this module is imported.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractContextManager, aclosing, nullcontext, suppress
from importlib.metadata import version
from typing import Any, TypeVar

from autogen_core import EVENT_LOGGER_NAME, CancellationToken, SingleThreadedAgentRuntime
from opentelemetry.trace import INVALID_SPAN, NoOpTracerProvider, ProxyTracerProvider, Span

AUTOGEN_VERSIONS = ((0, 7, 5), (0, 8))
"""The first version of AutoGen whose private names are known, and the first that is not."""

STOP_SECONDS = 5.0
"""How long a canceled stream may take to end before it is abandoned."""

T = TypeVar("T")

_autogen_events = logging.getLogger(EVENT_LOGGER_NAME)


class _End:
    """Marks the end of a stream."""


def check_autogen_version(package: str, found: str) -> None:
    """Raise ``ImportError`` if a version of AutoGen is none whose private names are known.

    Args:
        package: Name of the distribution.
        found: Its version, as ``0.7.5``.
    """
    first, end = AUTOGEN_VERSIONS
    numbers = tuple(int(number) for number in re.findall(r"\d+", found)[:3])
    if not first <= numbers < end:
        wanted, below = (".".join(map(str, numbers)) for numbers in (first, end))
        raise ImportError(
            f"recipelab needs {package}>={wanted},<{below}, and {found} is installed: "
            f'pip install "{package}>={wanted},<{below}"'
        )


for _package in ("autogen-agentchat", "autogen-core"):
    check_autogen_version(_package, version(_package))


class RoundTokens:
    """Gives each round a cancellation token of its own, which the token of the run cancels too.

    A token of AutoGen holds every future that was ever linked to it, finished ones with all that
    they hold. One token for a whole campaign would keep every message of it in memory.

    Args:
        run: The token of the whole run.
    """

    def __init__(self, run: CancellationToken) -> None:
        self._run = run
        self._round = CancellationToken()
        # Not `self._round.cancel`: the callback must cancel the token of the round at that time.
        run.add_callback(lambda: self._round.cancel())

    def next_round(self) -> CancellationToken:
        """Return the token of the next round; it is canceled already if the run is."""
        self._round = CancellationToken()
        if self._run.is_cancelled():
            self._round.cancel()
        return self._round


async def relay(
    source: AsyncGenerator[T],
    token: CancellationToken,
    aside: Callable[[Callable[[T], None]], AbstractContextManager[None]] | None = None,
) -> AsyncGenerator[T]:
    """Yield the items of a stream, and end the stream by its token when the consumer stops.

    AutoGen ends a run cleanly only by its token: a task that is canceled while it consumes a run
    waits until every agent has finished, which may take hours. So the stream is consumed in a task
    of its own. When the consumer is canceled, or closes this generator, the token is canceled, and
    a stream that does not end then is abandoned after :data:`STOP_SECONDS`.

    Args:
        source: The stream; it has ended when this generator has.
        token: The token that ends it.
        aside: Takes a function for items from elsewhere, which go between those of the stream for
            as long as its context lasts.

    Raises:
        Exception: An exception of the stream, after the items before it.
        asyncio.CancelledError: The consumer or the token was canceled.
    """
    queue: asyncio.Queue[T | _End] = asyncio.Queue()
    taken = asyncio.Event()  # The stream goes on when its item was taken.
    abandoned = False

    async def consume() -> None:
        try:
            async with aclosing(source):
                async for item in source:
                    if not abandoned:
                        taken.clear()
                        queue.put_nowait(item)
                        await taken.wait()
        finally:
            queue.put_nowait(_End())

    task = asyncio.ensure_future(consume())
    try:
        with aside(queue.put_nowait) if aside else nullcontext():
            while not isinstance(item := await queue.get(), _End):
                # Of an item from elsewhere the stream knows nothing: it may go on one item early.
                taken.set()
                yield item
            await task
    finally:
        if not task.done():
            abandoned = True
            token.cancel()
            taken.set()
            with suppress(asyncio.CancelledError, Exception):
                await asyncio.wait_for(asyncio.shield(task), STOP_SECONDS)
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


class _NoTracing:
    """Stands for AutoGen's helper for spans where no tracer is set."""

    def trace_block(self, *args: Any, **options: Any) -> AbstractContextManager[Span]:
        return nullcontext(INVALID_SPAN)


class QuietRuntime(SingleThreadedAgentRuntime):
    """A runtime that logs and traces only where something receives the result.

    AutoGen turns every message into JSON once when it is sent and once for each receiver, and
    makes four spans of it, even if its event log is off and no tracer is set.
    """

    def __init__(self) -> None:
        # As in BaseGroupChat: an ignored exception would end the round without a word.
        super().__init__(ignore_unhandled_exceptions=False)
        provider = self._tracer_helper.tracer_provider
        self._is_traced = not isinstance(provider, ProxyTracerProvider | NoOpTracerProvider)
        if not self._is_traced:
            self._tracer_helper = _NoTracing()  # type: ignore[assignment]

    async def _create_otel_attributes(self, *args: Any, **facts: Any) -> Mapping[str, str]:
        if not self._is_traced:
            return {}
        return await super()._create_otel_attributes(*args, **facts)

    def _try_serialize(self, message: Any) -> str:
        if self._is_traced or _autogen_events.isEnabledFor(logging.INFO):
            return super()._try_serialize(message)
        return ""
