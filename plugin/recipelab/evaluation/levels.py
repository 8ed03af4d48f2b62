"""Tests that run at the same time: the level of each, and whose turn it is to judge."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

History = tuple[bool, ...]
"""For each test of a campaign so far, in order, whether it ended in a claim."""


class RunningTests:
    """The tests on fresh seeds of a campaign that run right now, trials and lines alike.

    **A turn to judge.** A verdict is given and recorded in a turn (:meth:`judging`), one at a time:
    so whoever is kept beats the best that there is at that moment, and the tests have an order.
    Seeds run without one, on as many slots as are free.

    **Levels.** A test has its level when it begins, as nobody knows then which of those that run
    will end first. It is the level that the next test would have if all that run had ended
    without a claim: :func:`~recipelab.acceptance.spending.level_of_next` of the history and a
    ``False`` for each of them. So no two that run have the same place, and what a claim passes on
    goes to one test alone, and to none while another runs. The levels of all tests that have not
    ended in a claim never sum up to more than the campaign's rate, which is the condition of alpha
    spending; a test that ends without a verdict gives its place back. (Asynchronous online
    testing: T. Zrnic, A. Ramdas and M. I. Jordan, Journal of Machine Learning Research 22, 2021.)

    Where several drivers work at one campaign, a subclass sees to it that a turn is that of one
    driver, and that :attr:`running` counts the tests of all. To count one too many makes levels
    smaller, and loses nothing but power.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._names: list[str] = []

    @asynccontextmanager
    async def judging(self) -> AsyncIterator[None]:
        """Hold the turn to judge, as long as the context lasts."""
        async with self._turn:
            yield

    @property
    def is_judging(self) -> bool:
        """Whether somebody has the turn, so that others wait."""
        return self._turn.locked()

    @property
    def running(self) -> int:
        """How many tests run that have no verdict yet."""
        return len(self._names)

    def begin(self, name: str) -> None:
        """Note that a test begins, in a turn to judge.

        Args:
            name: What it tests, as ``trial 7``.
        """
        self._names.append(name)

    def end(self, name: str) -> None:
        """Note that a test has ended: its verdict is recorded, or there will be none."""
        self._names.remove(name)

    @asynccontextmanager
    async def testing(self, name: str, history: Callable[[], History]) -> AsyncIterator[History]:
        """Run a test, which ends with the context.

        Args:
            name: What it tests.
            history: Returns the tests that have ended by now.

        Yields:
            The history by which it has its level: those that run count as no claims.
        """
        async with self.judging():
            before = (*history(), *[False] * self.running)
            self.begin(name)
        try:
            yield before
        finally:
            self.end(name)
