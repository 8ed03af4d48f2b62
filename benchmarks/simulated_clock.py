"""An event loop whose clock jumps: hours of waiting take milliseconds, in the right order."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    """Never waits: where it would, the clock is put forward instead."""

    skipped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if timeout and not ready:
            self.skipped += timeout
        return ready


class SimulatedLoop(asyncio.SelectorEventLoop):
    """A loop with a clock of its own.

    When nothing is ready, the clock jumps to the next timer. Work for threads is done at once, in
    the loop's own thread, so that no thread races with the clock.
    """

    def __init__(self) -> None:
        self._jumping = _Selector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Seconds on the simulated clock, from 0."""
        return self._jumping.skipped

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Runs a function at once."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # it is the caller's, who awaits the future
            future.set_exception(error)
        return future


def run_simulated(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine on a simulated clock, like :func:`asyncio.run`."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(work)
