"""The turns of one round: how many specialists may think at the same time."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Sequence

from recipelab.agents import EVALUATOR
from recipelab.evaluation.queue import TrialQueue
from recipelab.team.turns import Silence, TurnOutcome

_SHORT_TURN = 0.05
"""A turn this long, as a share of a trial, needs no trial queued ahead of a free slot."""

_NEWEST_WEIGHT = 0.3
"""Weight of the newest turn in the running mean of turn lengths."""


class TurnScheduler:
    """Gives out as many turns as there will be free slots for the trials that come of them.

    Turns overlap: several specialists think at the same time, and trials run meanwhile. The
    scheduler says who may take a turn; a :class:`recipelab.team.speakers.SpeakerPolicy` picks
    among them. The evaluator takes a turn whenever a trial may end, beside the specialists, and
    guests take one each at the beginning of the round.

    Attributes:
        closing: Set when no further turn is given out and the evaluator is to wait no longer.
        turns_taken: Turns of specialists so far.
        turn_seconds: Mean length of a turn, in seconds; ``None`` before the first.
        round_over: Whether the round ended by itself, and not by a condition of the user.

    Args:
        queue: The campaign's trial queue.
        specialists: Their names, in the order of the pack.
        guests: Names of the other participants.
        turns: Turns of specialists in the round.
        ahead: Trials that may wait for a slot; ``None`` measures how many keep the slots busy.
        turn_seconds: Mean length of a turn in earlier rounds, in seconds.
        silence: Who had nothing to say, over all rounds; ``None`` to ask everybody.
    """

    def __init__(
        self,
        queue: TrialQueue,
        specialists: Sequence[str],
        *,
        guests: Sequence[str] = (),
        turns: int,
        ahead: int | None = None,
        turn_seconds: float | None = None,
        silence: Silence | None = None,
    ) -> None:
        self._silence = silence
        self.closing = asyncio.Event()
        self.turns_taken = 0
        self.turn_seconds = turn_seconds
        self.round_over = False
        self._queue = queue
        self._specialists = tuple(specialists)
        self._guests = list(guests)
        self._turns = turns
        self._ahead = ahead
        self._started: dict[str, float] = {}

    @property
    def specialists(self) -> tuple[str, ...]:
        """Names of the specialists, in the order of the pack."""
        return self._specialists

    def learn(self, turn: TurnOutcome) -> None:
        """Hear how the turn of a specialist ended."""
        if self._silence is not None:
            self._silence.turn_ended(turn)

    @property
    def only_evaluator_active(self) -> bool:
        """Whether no turn is going on but the evaluator's, which waits for trials."""
        return not set(self._started) - {EVALUATOR}

    @property
    def nobody_active(self) -> bool:
        """Whether no turn is going on."""
        return not self._started

    @property
    def end_reason(self) -> str | None:
        """Why the round is over; ``None`` while it is not.

        Trials that are in flight when the last turn ends go on into the next round. When the
        budget is spent they are waited for, because an aborted trial gives its share back.
        """
        if self._queue.remaining == 0 and not self._queue.running:
            return self._queue.ledger.over or "the budget has no room for another trial"
        if self.turns_taken >= self._turns and self._queue.remaining != 0:
            return "every turn of the round is taken"
        if not self._queue.paused and not self._queue.running and not self.idle():
            return "nobody has anything to propose"
        return None

    @property
    def ahead(self) -> int:
        """Trials that should wait for a slot, so that no slot is idle while specialists think."""
        if self._ahead is not None:
            return self._ahead
        trial, turn = self._queue.trial_seconds, self.turn_seconds
        if not trial or not turn or turn <= _SHORT_TURN * trial:
            return 0
        # So many trials end during a turn; one more for turns that take longer than the mean.
        return min(self._queue.slots, math.ceil(self._queue.slots * turn / trial) + 1)

    @property
    def thinking(self) -> int:
        """Number of specialists whose turn it is."""
        return sum(name in self._specialists for name in self._started)

    def busy(self) -> Counter[str]:
        """Return how many proposals of each specialist are being made or in flight."""
        thinking = Counter(name for name in self._started if name in self._specialists)
        return thinking + self._queue.owners()

    def next_guests(self) -> list[str]:
        """Return the guests that have had no turn yet; each is returned once."""
        waiting, self._guests = self._guests, []
        return waiting

    def openings(self) -> int:
        """Return how many specialists may start a turn now."""
        if self.closing.is_set() or self._queue.paused:
            return 0
        room = self._queue.slots + self.ahead - len(self._queue.in_flight)
        if self._queue.remaining is not None:
            room = min(room, self._queue.remaining)
        # Who waits for a trial makes none now, and its trial holds the slot already.
        room -= max(0, self.thinking - self._queue.waited_for)
        return max(0, min(room, self._turns - self.turns_taken, len(self.idle())))

    def idle(self) -> list[str]:
        """Return the specialists whose turn it is not, and who may have something to say."""
        names = [name for name in self._specialists if name not in self._started]
        if self._silence is None:
            return names
        nothing_goes_on = not self.thinking and not self._queue.running
        return self._silence.among(names, nothing_goes_on=nothing_goes_on)

    def evaluator_is_due(self) -> bool:
        """Return whether the evaluator should take a turn: a trial has ended, or will."""
        waits = bool(self._queue.running) or self._queue.paused
        return waits and EVALUATOR not in self._started and not self.closing.is_set()

    def start_turn(self, name: str) -> None:
        """Note that the turn of a participant begins."""
        self._started[name] = asyncio.get_running_loop().time()
        if name != EVALUATOR:
            self._queue.now.took_floor(name)
        self.turns_taken += name in self._specialists

    def end_turn(self, name: str) -> None:
        """Note that the turn of a participant has ended."""
        seconds = asyncio.get_running_loop().time() - self._started.pop(name)
        self._queue.now.left_floor(name)
        if name in self._specialists:
            mean = self.turn_seconds
            self.turn_seconds = (
                seconds if mean is None else mean + _NEWEST_WEIGHT * (seconds - mean)
            )
