"""Runs phases in threads, and stops them when the awaiting task is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from recipelab.sandbox.base import PhaseResult

T = TypeVar("T")


def in_thread(work: Callable[[], T], *, name: str) -> Future[T]:
    """Starts ``work`` in a new daemon thread.

    The event loop's own pool has a few threads only. Phases would hold all of them for minutes,
    and then nothing could kill a phase at its deadline; so each gets a thread of its own.
    """
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()

    def body() -> None:
        try:
            result = work()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=body, name=name, daemon=True).start()
    return future


class Stoppable(Protocol):
    """A phase as a blocking call that another thread can end."""

    def run(self) -> PhaseResult:
        """Runs to the end. Called once."""
        ...

    def stop(self) -> None:
        """Makes :meth:`run` end soon, whatever it is at. May be called at any time."""


class RunningPhases:
    """The phases that run now, each in its thread. It knows nothing of how they run."""

    def __init__(self) -> None:
        self._running: dict[Stoppable, Future[PhaseResult]] = {}

    async def run(self, phase: Stoppable, *, name: str) -> PhaseResult:
        """Awaits a phase; on cancellation stops it and waits for its end first.

        Args:
            phase: What to run.
            name: Name of its thread.
        """
        future = in_thread(phase.run, name=name)
        self._running[phase] = future
        awaited = asyncio.wrap_future(future)
        # A shield whose outside is cancelled forgets its inside; asyncio would report that.
        awaited.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            return await asyncio.shield(awaited)
        except asyncio.CancelledError:
            await self._stopped({phase: future})
            raise
        finally:
            del self._running[phase]

    async def stop_all(self) -> None:
        """Stops all phases and waits for their end."""
        await self._stopped(dict(self._running))

    async def _stopped(self, phases: dict[Stoppable, Future[PhaseResult]]) -> None:
        waiters: list[asyncio.Future[Any]] = []
        for phase, future in phases.items():
            stopping = in_thread(phase.stop, name="phase-stop")
            waiters += [asyncio.wrap_future(future), asyncio.wrap_future(stopping)]
        # Further cancellations wait: nothing may be left running.
        while pending := [waiter for waiter in waiters if not waiter.done()]:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait(pending)
        for waiter in waiters:
            waiter.exception()  # Looked at, so that asyncio does not report it as forgotten.
