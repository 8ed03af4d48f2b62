"""The turns of one round: how many specialists may think at the same time."""

from __future__ import annotations

import asyncio
import math
from collections import Counter, defaultdict, deque
from collections.abc import Sequence

from recipelab.agents import EVALUATOR
from recipelab.evaluation.pace import TurnPace
from recipelab.evaluation.queue import TrialQueue
from recipelab.team.turns import Silence, TurnOutcome

_SHORT_TURN = 0.05
"""A turn this long, as a share of a trial, begins when a slot is free, and not before."""

_LOOKS_A_TURN = 10
"""Looks for room in the time of a turn at most, while nothing else happens."""


class TurnScheduler:
    """Gives out as many turns as there will be free slots for the trials that come of them.

    Turns overlap: several specialists think at the same time, and trials run meanwhile. Where there
    are slots for more turns than specialists, one has several turns at the same time. The
    scheduler says who may take a turn; a :class:`recipelab.team.speakers.SpeakerPolicy` picks
    among them. The evaluator takes a turn whenever a trial may end, beside the specialists, and
    guests take one each at the beginning of the round.

    Attributes:
        closing: Set when no further turn is given out and the evaluator is to wait no longer.
        turns_taken: Turns of specialists so far.
        turn_pace: How the newest turns went, those that waited for a trial left out.
        round_over: Whether the round ended by itself, and not by a condition of the user.

    Args:
        queue: The campaign's trial queue.
        specialists: Their names, in the order of the pack.
        guests: Names of the other participants.
        turns: Turns of specialists in the round.
        most_barren: Turns in a row that may bring no trial; ``None`` for any number.
        ahead: Trials that may wait for a slot; ``None`` lets a turn begin when a slot is likely to
            be free by the time of its trial, as turns and trials have gone so far.
        turn_pace: How turns went in earlier rounds; those of this round are added.
        silence: Who had nothing to say, over all rounds; ``None`` to ask everybody.
    """

    def __init__(
        self,
        queue: TrialQueue,
        specialists: Sequence[str],
        *,
        guests: Sequence[str] = (),
        turns: int,
        most_barren: int | None = None,
        ahead: int | None = None,
        turn_pace: TurnPace | None = None,
        silence: Silence | None = None,
    ) -> None:
        self._silence = silence
        self.closing = asyncio.Event()
        self.turns_taken = 0
        self.turn_pace = TurnPace() if turn_pace is None else turn_pace
        self.round_over = False
        self._queue = queue
        self._specialists = tuple(specialists)
        self._guests = list(guests)
        self._turns = turns
        self._most_barren = most_barren
        self._ahead = ahead
        self._started: dict[str, list[float]] = {}
        self._outcomes: defaultdict[str, deque[TurnOutcome]] = defaultdict(deque)
        self._lasted: defaultdict[str, deque[float]] = defaultdict(deque)
        self._barren = 0

    @property
    def specialists(self) -> tuple[str, ...]:
        """Names of the specialists, in the order of the pack."""
        return self._specialists

    def learn(self, turn: TurnOutcome) -> None:
        """Hear how the turn of a specialist went, just before it ends."""
        self._outcomes[turn.specialist].append(turn)
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
        if not self._turns_left and self._queue.remaining != 0:
            return f"{self._barren} turns in a row brought no trial"
        if not self._queue.paused and not self._queue.running and not self.idle():
            return "nobody has anything to propose"
        return None

    @property
    def horizon(self) -> float:
        """Seconds in which turns that begin now are likely to have brought a trial.

        It is 0 where turns are short beside trials: one that begins when a slot is free is early
        enough.
        """
        trial, turn = self._queue.trial_seconds, self.turn_pace.seconds_to_trial
        return 0.0 if not trial or not turn or turn <= _SHORT_TURN * trial else turn

    @property
    def thinking(self) -> int:
        """Number of specialists whose turn it is."""
        return sum(self._thinking().values())

    def _thinking(self) -> Counter[str]:
        """Return how many turns each specialist has now."""
        return Counter(
            {name: len(turns) for name, turns in self._started.items() if name in self._specialists}
        )

    def busy(self) -> Counter[str]:
        """Return how many proposals of each specialist are being made or in flight."""
        return self._thinking() + self._queue.owners()

    def next_guests(self) -> list[str]:
        """Return the guests that have had no turn yet; each is returned once."""
        waiting, self._guests = self._guests, []
        return waiting

    def openings(self) -> int:
        """Return how many specialists may start a turn now."""
        if self.closing.is_set() or self._queue.paused:
            return 0
        room = self._room()
        if self._queue.remaining is not None:
            room = min(room, self._queue.remaining - self._making)
        if not self._again():
            room = min(room, len(self.idle()))
        return max(0, min(room, self._turns_left))

    def next_look(self) -> float | None:
        """Return after how many seconds a turn may begin though nothing happens until then.

        ``None`` if that depends on what ends first: a turn, a trial, a pause.
        """
        horizon = self.horizon
        if self._ahead is not None or not horizon or self._most_ahead() <= 0:
            return None
        if self.closing.is_set() or self._queue.paused or not self._turns_left:
            return None
        if self.openings() or not self.candidates():
            return None
        soon = self._free_slots()[0] - horizon
        return max(soon, horizon / _LOOKS_A_TURN)

    @property
    def _turns_left(self) -> int:
        """How many turns may still begin in the round; none where too many brought no trial."""
        if self._most_barren is not None and self._barren >= self._most_barren:
            return 0
        return max(0, self._turns - self.turns_taken)

    @property
    def _making(self) -> int:
        """Turns that may bring a trial: who waits for one makes none, and it holds its slot."""
        return max(0, self.thinking - self._queue.waited_for)

    def _most_ahead(self) -> int:
        """Return how many turns more may begin, however long they take: one ahead of each slot.

        Where slots are few, none is ahead until the first outcome is there: who is asked before
        knows nothing that the others do not, and has the same idea.
        """
        few = self._queue.slots < len(self._specialists)
        waits = few and self._silence is not None and not self._silence.has_outcomes
        ahead = (0 if waits else self._queue.slots) if self._ahead is None else self._ahead
        return self._queue.slots + ahead - self._queue.flying - self._making

    def _room(self) -> int:
        """Return for how many more turns a slot will be free when they bring their trial."""
        most = self._most_ahead()
        if self._ahead is not None:
            return most
        free, horizon, found = self._free_slots(), self.horizon, 0
        while found < most and free[0] <= horizon:
            self._queue.pace.take(free, horizon)
            found += 1
        return found

    def _free_slots(self) -> list[float]:
        """Return when slots will be free beside all trials that are in flight or thought about."""
        now = asyncio.get_running_loop().time()
        turns = [self._started[name] for name in self._specialists if name in self._started]
        thinking = [began for of_one in turns for began in of_one]
        lengths = self.turn_pace.lengths
        elapsed = sorted(now - began for began in thinking)
        coming = sorted(lengths.all_remaining(elapsed))
        return self._queue.free_slots(coming[: self._making])

    def candidates(self) -> list[str]:
        """Return who may take a turn: those without one, or if there is nobody, those with one."""
        return self.idle() or self._again()

    def _again(self) -> list[str]:
        """Return the specialists who may take a turn, whether they have one or not."""
        silence = self._silence
        names = [n for n in self._specialists if silence is None or silence.may_speak(n)]
        most = math.ceil(self._needed / max(1, len(names)))
        return [name for name in names if len(self._started.get(name, ())) < most]

    @property
    def _needed(self) -> int:
        """How many turns at the same time bring as many trials as the slots take."""
        slots, trial = self._queue.slots, self._queue.trial_seconds
        turn = self.turn_pace.mean_to_trial
        return slots if not trial or not turn else min(2 * slots, math.ceil(slots * turn / trial))

    def idle(self) -> list[str]:
        """Return the specialists whose turn it is not, and who may have something to say."""
        names = [name for name in self._specialists if name not in self._started]
        if self._silence is None:
            return names
        return self._silence.among(
            names,
            nothing_goes_on=not self.thinking and not self._queue.running,
            slot_waits=self._is_slot_waiting,
        )

    @property
    def _is_slot_waiting(self) -> bool:
        """Whether more slots are free than specialists think, and a question costs them little."""
        if self._queue.flying + self._making >= self._queue.slots:
            return False
        if not self.thinking and not self._queue.flying:
            return True
        turn, trial = self.turn_pace.lengths.mean, self._queue.trial_seconds
        return not turn or not trial or turn < trial

    def evaluator_is_due(self) -> bool:
        """Return whether the evaluator should take a turn: a trial has ended, or will."""
        waits = bool(self._queue.running) or self._queue.paused
        return waits and EVALUATOR not in self._started and not self.closing.is_set()

    def start_turn(self, name: str) -> None:
        """Note that the turn of a participant begins."""
        self._started.setdefault(name, []).append(asyncio.get_running_loop().time())
        if name != EVALUATOR:
            self._queue.now.took_floor(name)
        self.turns_taken += name in self._specialists
        if self._silence is not None:
            self._silence.turn_began(name)

    def end_turn(self, name: str) -> None:
        """Note that a turn of a participant has ended."""
        now, turns = asyncio.get_running_loop().time(), self._started[name]
        lasted = self._lasted[name].popleft() if self._lasted[name] else now - turns[0]
        turns.remove(min(turns, key=lambda began: abs(now - lasted - began)))
        if not turns:
            del self._started[name]
        self._queue.now.left_floor(name)
        turn = self._outcomes[name].popleft() if self._outcomes[name] else None
        if name not in self._specialists:
            return
        self._barren = 0 if turn and turn.trials else self._barren + 1
        if not (turn and turn.waited):
            self.turn_pace.add(lasted, brought=bool(turn and turn.trials))

    def turn_lasted(self, name: str, seconds: float) -> None:
        """Hear how long a turn of a specialist took, in seconds, before it ends.

        Of several turns of one specialist, the chat does not say which has ended.
        """
        self._lasted[name].append(seconds)
