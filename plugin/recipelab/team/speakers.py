"""Policies that say which specialist speaks next."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from recipelab.agents import Charter
from recipelab.core.trial import Status
from recipelab.evaluation.queue import TrialQueue
from recipelab.lineage import TrialBrief, TrialFilter
from recipelab.packs.sections import Goal
from recipelab.plan import Plan, Speakers


class SpeakerPolicy(Protocol):
    """Picks among specialists; knows nothing of slots and budgets (the floor sees to that)."""

    def choose(self, candidates: Sequence[str], busy: Mapping[str, int]) -> str:
        """The specialist to speak next.

        Args:
            candidates: Those that may, in the order of the pack; never empty.
            busy: Proposals of each specialist that are being thought about or in flight.
        """
        ...

    def learn(self, trial: TrialBrief) -> None:
        """Takes in how a trial ended."""
        ...


class RoundRobin:
    """Whoever has had the floor least often, in the order of the pack.

    Args:
        taken: How often each specialist has had the floor in earlier rounds.
    """

    def __init__(self, taken: Mapping[str, int] | None = None) -> None:
        self._taken = Counter(taken or {})

    def choose(self, candidates: Sequence[str], busy: Mapping[str, int]) -> str:
        """See :class:`SpeakerPolicy`."""
        chosen = min(candidates, key=lambda name: self._taken[name])
        self._taken[chosen] += 1
        return chosen

    def learn(self, trial: TrialBrief) -> None:
        """Turns do not depend on outcomes."""


WINDOW = 100
"""How many of the newest trials count: gains of a surface run dry, and others begin to matter."""

NEAR_MISS = 0.2
"""Worth of a near miss beside a kept trial of the same gain."""


@dataclass(frozen=True)
class _Pull:
    specialist: str
    surface: str
    gain: float


class UCBSpeaker:
    """A sliding-window upper confidence bound on measured gains.

    With ``n`` trials of a specialist (its own, and others' on its surfaces) among the newest
    ``N``, it chooses the largest ``mean + exploration * sqrt(ln N / n)``. The reward of a trial is
    its gain as a share of the largest gain in the window, nothing if it was not kept; a near miss
    counts a little. Who has no trial yet comes first. What is in flight counts as a trial without
    gain, so that several who think at once are not all the same.

    The bound is UCB1 of Auer, Cesa-Bianchi and Fischer (2002), the window that of Garivier and
    Moulines (2011).

    Args:
        surfaces: The surfaces of each specialist.
        goal: Which way the metric is better.
        exploration: Weight of the second term; 0 goes where gains were alone.
        past: Judged trials, oldest first.
    """

    def __init__(
        self,
        surfaces: Mapping[str, Sequence[str]],
        goal: Goal,
        *,
        exploration: float = 0.7,
        past: Iterable[TrialBrief] = (),
    ) -> None:
        # Who owns everything is judged by what it proposed itself, or all gains would be its own.
        every = set().union(*map(set, surfaces.values()))
        self._surfaces = {
            name: frozenset(owned) if len(surfaces) == 1 or set(owned) != every else frozenset()
            for name, owned in surfaces.items()
        }
        self._goal = goal
        self._exploration = exploration
        self._window: deque[_Pull] = deque(maxlen=WINDOW)
        for trial in past:
            self.learn(trial)

    def learn(self, trial: TrialBrief) -> None:
        """Takes in how a trial ended; what never ran says nothing of its surface."""
        if trial.status in (None, Status.BASELINE, Status.ABORTED, Status.REJECTED):
            return
        self._window.append(_Pull(trial.specialist, trial.surface, self._gain(trial)))

    def choose(self, candidates: Sequence[str], busy: Mapping[str, int]) -> str:
        """See :class:`recipelab.team.speakers.SpeakerPolicy`."""
        most = max((pull.gain for pull in self._window), default=0.0) or 1.0
        total = len(self._window) + sum(busy.values())
        return max(candidates, key=lambda name: self._bound(name, busy, most, total))

    def scores(self) -> dict[str, tuple[int, float]]:
        """Trials in the window and their mean reward, for each specialist."""
        most = max((pull.gain for pull in self._window), default=0.0) or 1.0
        return {name: self._mean(name, most) for name in self._surfaces}

    def _bound(self, name: str, busy: Mapping[str, int], most: float, total: int) -> float:
        trials, mean = self._mean(name, most)
        tried = trials + busy.get(name, 0)
        if not tried:
            return math.inf
        share = trials / tried
        return mean * share + self._exploration * math.sqrt(math.log(max(total, 2)) / tried)

    def _mean(self, name: str, most: float) -> tuple[int, float]:
        owned = self._surfaces[name]
        gains = [
            pull.gain / most
            for pull in self._window
            if pull.specialist == name or pull.surface in owned
        ]
        return len(gains), sum(gains) / len(gains) if gains else 0.0

    def _gain(self, trial: TrialBrief) -> float:
        gain = max(0.0, self._goal.sign * (trial.delta or 0.0))
        if trial.status is Status.KEPT:
            return gain
        missed = trial.status in (Status.GATE_MISSED, Status.OVERSIZE)
        return NEAR_MISS * gain if missed else 0.0


def policy_of(plan: Plan, charters: Sequence[Charter], desk: TrialQueue) -> SpeakerPolicy:
    """The policy of a campaign, which knows what the lineage tells.

    With ``model`` it is what steps in when the model names nobody who may speak. Agents who are
    told nothing of past trials take turns: who is asked would tell of gains.
    """
    past = desk.store.briefs(desk.campaign, TrialFilter(in_flight=False, limit=WINDOW)).items
    if plan.blind or plan.speakers is Speakers.ROUND_ROBIN:
        return RoundRobin(Counter(brief.specialist for brief in past))
    return UCBSpeaker(
        {charter.name: charter.surfaces for charter in charters},
        desk.pack.metric.goal,
        exploration=plan.exploration,
        past=reversed(past),
    )
