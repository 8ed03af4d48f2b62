"""The floor of one round: who has it, and how many more may be given it."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Sequence

from recipelab.agents import EVALUATOR
from recipelab.evaluation.queue import TrialQueue

_SMALL = 0.05
"""A turn that takes this share of a trial or less need not be taken ahead of a free slot."""

_NEW = 0.3
"""Weight of the newest turn in the mean of their lengths."""


class TurnScheduler:
    """Keeps the slots busy: gives out as many turns as there will be slots for their trials.

    Attributes:
        closing: Set when nobody is given the floor any more, and the seat is to wait no longer.
        taken: Turns of specialists so far.
        turn_seconds: How long a turn takes, in seconds; ``None`` before the first.
        round_over: Whether it is the round that has come to its end, and not the user who ends it.

    Args:
        desk: The campaign's desk.
        names: The specialists, in the order of the pack.
        guests: Other participants, who each have the floor once, at the beginning.
        turns: How many turns of specialists the round has.
        ahead: Trials that may wait for a slot; ``None`` measures how many it takes.
        turn_seconds: How long turns took in earlier rounds, in seconds.
    """

    def __init__(
        self,
        desk: TrialQueue,
        names: Sequence[str],
        *,
        guests: Sequence[str] = (),
        turns: int,
        ahead: int | None = None,
        turn_seconds: float | None = None,
    ) -> None:
        self.closing = asyncio.Event()
        self.taken = 0
        self.round_over = False
        self.turn_seconds = turn_seconds
        self._desk = desk
        self._names = tuple(names)
        self._guests = list(guests)
        self._turns = turns
        self._ahead = ahead
        self._since: dict[str, float] = {}

    @property
    def only_waiting(self) -> bool:
        """Whether nobody has the floor but the seat, which waits for trials."""
        return not set(self._since) - {EVALUATOR}

    @property
    def empty(self) -> bool:
        """Whether nobody has the floor."""
        return not self._since

    @property
    def ended(self) -> str | None:
        """Why the round is over; ``None`` while it is not.

        Trials that are in flight when the turns are taken go on, and the next round tells of
        them. When the budget is spent they are waited for, as an aborted one gives its share back.
        """
        if self._desk.remaining == 0 and not self._desk.running:
            return self._desk.ledger.over or "the budget has no room for another trial"
        if self.taken >= self._turns and self._desk.remaining != 0:
            return "every turn of the round is taken"
        return None

    @property
    def ahead(self) -> int:
        """Trials that should wait for a slot, so that none stands idle while agents think."""
        if self._ahead is not None:
            return self._ahead
        trial, turn = self._desk.trial_seconds, self.turn_seconds
        if not trial or not turn or turn <= _SMALL * trial:
            return 0
        # So many trials end during a turn; one more for turns that take longer than the mean.
        return min(self._desk.slots, math.ceil(self._desk.slots * turn / trial) + 1)

    @property
    def thinking(self) -> int:
        """How many specialists have the floor."""
        return sum(name in self._names for name in self._since)

    def busy(self) -> Counter[str]:
        """Proposals of each specialist that are being thought about or in flight."""
        return Counter(name for name in self._since if name in self._names) + self._desk.owners()

    def guests(self) -> list[str]:
        """Guests that have not had the floor; they are given it now."""
        waiting, self._guests = self._guests, []
        return waiting

    def openings(self) -> int:
        """How many specialists may be given the floor now."""
        if self.closing.is_set() or self._desk.paused:
            return 0
        room = self._desk.slots + self.ahead - len(self._desk.in_flight)
        if self._desk.remaining is not None:
            room = min(room, self._desk.remaining)
        room -= self.thinking
        return max(0, min(room, self._turns - self.taken, len(self.idle())))

    def idle(self) -> list[str]:
        """Specialists that do not have the floor."""
        return [name for name in self._names if name not in self._since]

    def seat_is_due(self) -> bool:
        """Whether the evaluator's seat should have the floor: a trial has ended, or will."""
        waits = bool(self._desk.running) or self._desk.paused
        return waits and EVALUATOR not in self._since and not self.closing.is_set()

    def give(self, name: str) -> None:
        """Somebody gets the floor."""
        self._since[name] = asyncio.get_running_loop().time()
        self.taken += name in self._names

    def back(self, name: str) -> None:
        """Somebody has spoken."""
        seconds = asyncio.get_running_loop().time() - self._since.pop(name)
        if name in self._names:
            before = self.turn_seconds
            self.turn_seconds = seconds if before is None else before + _NEW * (seconds - before)
