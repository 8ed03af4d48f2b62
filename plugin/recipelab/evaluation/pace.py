"""How long trials and turns take, and how likely a running one is to end soon."""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from heapq import heapify, heapreplace
from statistics import fmean

NEWEST = 20
"""Lengths that are remembered, so that a machine that slows down is followed."""

LIKELY = 0.15
"""Share of trials that must have ended for a slot to be counted on: one too early waits a little,
one too late leaves a slot idle."""

_SOON = 1e-3
"""Seconds for which a slot is held at least."""

_LATE = 0.9
"""Share of lengths that are below :attr:`Durations.high`."""


class Durations:
    """The lengths of the newest trials or turns, in seconds.

    Args:
        seconds: Lengths that are known already, oldest first.
    """

    def __init__(self, seconds: Iterable[float] = ()) -> None:
        self._newest: deque[float] = deque(seconds, maxlen=NEWEST)
        self._sorted = sorted(self._newest)

    def add(self, seconds: float) -> None:
        """Remember a length."""
        self._newest.append(seconds)
        self._sorted = sorted(self._newest)

    @property
    def mean(self) -> float | None:
        """Their mean, in seconds; ``None`` before the first."""
        return fmean(self._newest) if self._newest else None

    @property
    def high(self) -> float | None:
        """A length that nine of ten stay below, in seconds; ``None`` before the first."""
        if not self._newest:
            return None
        ordered = self._sorted
        return ordered[min(len(ordered) - 1, int(_LATE * len(ordered)))]

    def remaining(self, elapsed: float) -> float:
        """Return when one that goes on may well have ended, in seconds from now.

        That is the time after which :data:`LIKELY` of those ended that lasted as long as this one
        has; so short and long ones may mix, as crashed trials and whole ones do. It is 0 for one
        that has lasted longer than all before.

        Args:
            elapsed: How long it has lasted, in seconds.
        """
        first = bisect_right(self._sorted, elapsed)
        longer = len(self._sorted) - first
        return self._sorted[first + int(LIKELY * longer)] - elapsed if longer else 0.0

    def all_remaining(self, elapsed: Sequence[float]) -> list[float]:
        """Return :meth:`remaining` of many, as of a thousand trials that run.

        Args:
            elapsed: How long each has lasted, in seconds, the shortest first.
        """
        found: list[float] = []
        known = len(self._sorted)
        for first, length in enumerate(self._sorted):
            end = bisect_left(elapsed, length, lo=len(found))
            likely = self._sorted[first + int(LIKELY * (known - first))]
            found += [likely - lasted for lasted in elapsed[len(found) : end]]
        return found + [0.0] * (len(elapsed) - len(found))


class TurnPace:
    """How long turns take, and how many of them bring a trial.

    Attributes:
        lengths: How long the newest turns took.
    """

    def __init__(self) -> None:
        self.lengths = Durations()
        self._brought: deque[bool] = deque(maxlen=NEWEST)

    def add(self, seconds: float, *, brought: bool) -> None:
        """Remember a turn.

        Args:
            seconds: Its length, in seconds.
            brought: Whether it brought a trial.
        """
        self.lengths.add(seconds)
        self._brought.append(brought)

    @property
    def seconds_to_trial(self) -> float | None:
        """Time in which a trial has likely come, if one is asked after the other.

        A turn that takes long, by the mean number of turns that it takes; ``None`` before the
        first.
        """
        high = self.lengths.high
        return None if high is None else high / self._share

    @property
    def mean_to_trial(self) -> float | None:
        """Time that a trial takes in turns, in seconds, with those that bring none."""
        mean = self.lengths.mean
        return None if mean is None else mean / self._share

    @property
    def _share(self) -> float:
        return (sum(self._brought) + 1) / (len(self._brought) + 1)


class Pace:
    """How long trials take, and when those that run may end.

    Attributes:
        lengths: How long the newest trials took, from the moment when they got a slot.
    """

    def __init__(self) -> None:
        self.lengths = Durations()
        self._began: dict[int, float] = {}
        self._resting: set[int] = set()
        self._judged: set[int] = set()

    @contextmanager
    def trial(self, number: int) -> Iterator[None]:
        """Time a trial, which runs as long as the context lasts; one that raises is not counted."""
        clock = asyncio.get_running_loop().time
        self._began[number] = clock()
        try:
            yield
            self.judged(number)
        finally:
            del self._began[number]
            self._judged.discard(number)
            self._resting.discard(number)

    def judged(self, number: int) -> None:
        """Note that a trial has its outcome; what comes after is no part of its length."""
        if number not in self._judged:
            self._judged.add(number)
            self.lengths.add(asyncio.get_running_loop().time() - self._began[number])

    def rests(self, number: int, *, resting: bool) -> None:
        """Note whether a trial needs no slot for now, as one that waits for a person's word."""
        if resting:
            self._resting.add(number)
        else:
            self._resting.discard(number)

    @property
    def needing(self) -> int:
        """How many trials that run hold a slot or want one."""
        return len(self._began) - len(self._resting)

    def free_slots(self, slots: int, waiting: int, coming: Iterable[float] = ()) -> list[float]:
        """Return when slots will be free for one more trial each, in seconds from now.

        Args:
            slots: Slots that there are.
            waiting: Trials that wait for a slot.
            coming: When further trials will come, in seconds from now, the first one first.

        Returns:
            A time for each slot, as a heap; 0 for one that is free now.
        """
        now = asyncio.get_running_loop().time()
        # Even one that is overdue holds its slot.
        resting = self._resting
        began = [began for number, began in self._began.items() if number not in resting]
        # Those that began last are the last of them.
        elapsed = [now - when for when in reversed(began)]
        busy = [max(_SOON, left) for left in self.lengths.all_remaining(elapsed)]
        # Of more trials than slots, those that end last wait for the others' slots.
        free = [*sorted(busy)[:slots], *[0.0] * (slots - len(busy))]
        heapify(free)
        length = self._whole
        for when in (*[0.0] * waiting, *coming):
            heapreplace(free, max(when, free[0]) + length)
        return free

    def take(self, free: list[float], when: float) -> None:
        """Give the slot that is free first to a trial.

        Args:
            free: When slots will be free, as a heap.
            when: When the trial comes, in seconds from now.
        """
        heapreplace(free, max(when, free[0]) + self._whole)

    @property
    def _whole(self) -> float:
        """How long a trial that begins is likely to hold its slot, in seconds."""
        return max(_SOON, self.lengths.remaining(0.0))
