"""Policies that pick the specialist that speaks next."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from recipelab.agents import Charter
from recipelab.core.trial import Status
from recipelab.evaluation.queue import TrialQueue
from recipelab.lineage import TrialBrief, TrialFilter, TrialRecord
from recipelab.packs.judging_sections import Goal
from recipelab.plan import SPEAKERS, Plan
from recipelab.team.turns import TurnOutcome, TurnResult

WINDOW = 100
"""Newest trials that a policy hears of at the start and that :class:`UCBSpeaker` counts."""


@dataclass(frozen=True)
class TrialResult:
    """The result of a judged trial, as far as a speaker policy needs it.

    Attributes:
        number: The trial's number.
        specialist: The specialist or person that proposed it.
        surface: The part of the recipe that it changed.
        status: Its status.
        delta: Its score minus the score of the best trial then; ``None`` if it has no score.
    """

    number: int
    specialist: str
    surface: str
    status: Status
    delta: float | None

    @classmethod
    def of_brief(cls, trial: TrialBrief) -> TrialResult:
        """Return the result of a judged trial of the lineage."""
        if trial.status is None:
            raise ValueError(f"trial {trial.number} is in flight")
        return cls(trial.number, trial.specialist, trial.surface, trial.status, trial.delta)

    @classmethod
    def of_record(cls, trial: TrialRecord) -> TrialResult:
        """Return the result of a trial that was judged just now."""
        if trial.outcome is None:
            raise ValueError(f"trial {trial.number} is in flight")
        status, delta = trial.outcome.status, trial.outcome.delta
        return cls(trial.number, trial.specialist, trial.surface, status, delta)


@dataclass(frozen=True)
class SpeakerContext:
    """The campaign that a speaker policy works for; a policy is made from it alone.

    Attributes:
        surfaces: The surfaces of each specialist, in the order of the pack.
        goal: The direction in which the metric is better.
        exploration: How much the plan wants surfaces explored; 0 follows past gains alone.
        blind: Whether outcomes of trials must not show in the order of turns.
        past: The newest judged trials of the campaign, oldest first.
        shares: Shares of the trials that specialists have whatever their credit, by name.
    """

    surfaces: Mapping[str, Sequence[str]]
    goal: Goal
    exploration: float = 0.7
    blind: bool = False
    past: Sequence[TrialResult] = ()
    shares: Mapping[str, float] = field(default_factory=dict[str, float])


class SpeakerPolicy(Protocol):
    """Picks the specialist that speaks next among those that may.

    A policy knows nothing of slots and budgets; :class:`recipelab.team.scheduler.TurnScheduler`
    sees to them. Another distribution adds a policy by an entry point of the group
    ``recipelab.speakers`` that names a class, or a function, which takes a
    :class:`SpeakerContext`. A class that derives from this one need only define :meth:`choose`.

    Examples:
        .. code-block:: python

            class LastFirst(SpeakerPolicy):
                def __init__(self, context: SpeakerContext) -> None:
                    self._order = list(context.surfaces)

                def choose(self, candidates: Sequence[str], busy: Mapping[str, int]) -> str:
                    return max(candidates, key=self._order.index)
    """

    def choose(self, candidates: Sequence[str], busy: Mapping[str, int]) -> str:
        """Return the specialist that speaks next.

        Args:
            candidates: Specialists that may speak, in the order of the pack; never empty.
            busy: Number of proposals of each specialist that are being made or in flight.
        """
        ...

    def turn_ended(self, turn: TurnOutcome) -> None:
        """Learn how a turn ended."""
        return

    def trial_judged(self, trial: TrialResult) -> None:
        """Learn how a trial ended."""
        return


class SpeakerFactory(Protocol):
    """Makes a policy for a campaign; the class of a policy is one."""

    def __call__(self, context: SpeakerContext, /) -> SpeakerPolicy:
        """Return a policy."""
        ...


class RoundRobin(SpeakerPolicy):
    """Picks the specialist with the fewest turns; the order of the pack breaks ties.

    Args:
        context: The campaign; its past trials count as turns.
    """

    def __init__(self, context: SpeakerContext) -> None:
        self._turns = Counter(trial.specialist for trial in context.past)

    def choose(self, candidates: Sequence[str], busy: Mapping[str, int]) -> str:
        """See :class:`SpeakerPolicy`."""
        chosen = min(candidates, key=lambda name: self._turns[name])
        self._turns[chosen] += 1
        return chosen


NEAR_MISS = 0.2
"""Reward of a near miss, as a share of that of a kept trial with the same gain."""


@dataclass(frozen=True)
class _Pull:
    specialist: str
    surface: str
    gain: float


class UCBSpeaker(SpeakerPolicy):
    """Picks by a sliding-window upper confidence bound on measured gains.

    Specialists are the arms of a bandit. With ``n`` of the newest ``N`` trials belonging to a
    specialist (its own trials, and those of others on its surfaces), its bound is
    ``mean + exploration * sqrt(ln N / n)``, and the largest bound is chosen; a specialist without
    a trial comes first. The reward of a trial is its gain as a share of the largest gain in the
    window, and zero if it was not kept; a near miss earns a part of it. A proposal that is being
    made or in flight counts as a trial without gain, so that specialists who think at the same
    time are not all the same one. A turn that brought no trial counts so, too, whether the
    specialist passed, was rejected or its model failed: it is not untried any more.

    A specialist with a share of its own comes before all others while its part of the window is
    smaller than that.

    The bound is UCB1 with the weight of its second term left to the user (UCB1 has ``sqrt(2)``):
    P. Auer, N. Cesa-Bianchi, P. Fischer, "Finite-time Analysis of the Multiarmed Bandit Problem",
    Machine Learning 47, 235-256 (2002). The window is that of SW-UCB: A. Garivier, E. Moulines,
    "On Upper-Confidence Bound Policies for Switching Bandit Problems", Algorithmic Learning
    Theory, LNCS 6925, 174-188 (2011). Gains of a surface run dry, which makes the bandit a
    non-stationary one.

    Args:
        context: The campaign.
    """

    def __init__(self, context: SpeakerContext) -> None:
        # A specialist that owns every surface is judged by its own proposals: otherwise every
        # gain of the campaign would count as its own.
        surfaces = context.surfaces
        every = set().union(*map(set, surfaces.values()))
        self._surfaces = {
            name: frozenset(owned) if len(surfaces) == 1 or set(owned) != every else frozenset()
            for name, owned in surfaces.items()
        }
        self._goal = context.goal
        self._shares = context.shares
        self._exploration = context.exploration
        self._window: deque[_Pull] = deque(maxlen=WINDOW)
        for trial in context.past:
            self.trial_judged(trial)

    def trial_judged(self, trial: TrialResult) -> None:
        """Count a trial; one that never ran says nothing of its surface."""
        if trial.status in (Status.BASELINE, Status.ABORTED, Status.REJECTED):
            return
        gain = max(0.0, self._goal.sign * (trial.delta or 0.0))
        if trial.status in (Status.GATE_MISSED, Status.OVERSIZE):
            gain *= NEAR_MISS
        elif trial.status is not Status.KEPT:
            gain = 0.0
        self._window.append(_Pull(trial.specialist, trial.surface, gain))

    def turn_ended(self, turn: TurnOutcome) -> None:
        """Count a turn that brought no trial; it says nothing of a surface."""
        if turn.result not in (TurnResult.SUBMITTED, TurnResult.WAITED):
            self._window.append(_Pull(turn.specialist, "", 0.0))

    def choose(self, candidates: Sequence[str], busy: Mapping[str, int]) -> str:
        """See :class:`SpeakerPolicy`."""
        if due := [name for name in candidates if self._is_due(name, busy)]:
            return due[0]
        rewards = self.rewards()
        log_total = math.log(max(len(self._window) + sum(busy.values()), 2))

        def bound(name: str) -> float:
            trials, mean = rewards[name]
            pulls = trials + busy.get(name, 0)
            if not pulls:
                return math.inf
            return mean * trials / pulls + self._exploration * math.sqrt(log_total / pulls)

        return max(candidates, key=bound)

    def _is_due(self, name: str, busy: Mapping[str, int]) -> bool:
        """Return whether a specialist has had less than its own share of the trials."""
        total = len(self._window) + sum(busy.values()) + 1
        own = sum(pull.specialist == name for pull in self._window) + busy.get(name, 0)
        return own + 1 <= self._shares.get(name, 0.0) * total

    def rewards(self) -> dict[str, tuple[int, float]]:
        """Return each specialist's number of trials in the window and their mean reward."""
        largest = max((pull.gain for pull in self._window), default=0.0) or 1.0
        return {name: self._reward(name, largest) for name in self._surfaces}

    def _reward(self, name: str, largest: float) -> tuple[int, float]:
        owned = self._surfaces[name]
        gains = [
            pull.gain / largest
            for pull in self._window
            if pull.specialist == name or pull.surface in owned
        ]
        return len(gains), sum(gains) / len(gains) if gains else 0.0


class ModelSpeaker(SpeakerPolicy):
    """Leaves the choice to the model of the selector, and picks itself when the model fails to.

    The group chat asks the model (see :class:`recipelab.team.round.RoundManager`). When the model
    names nobody who may speak, the choice is that of :class:`UCBSpeaker`, or of
    :class:`RoundRobin` in a campaign whose order of turns must not show outcomes.

    Args:
        context: The campaign.
    """

    def __init__(self, context: SpeakerContext) -> None:
        self._fallback: SpeakerPolicy = (RoundRobin if context.blind else UCBSpeaker)(context)

    def choose(self, candidates: Sequence[str], busy: Mapping[str, int]) -> str:
        """Return the choice for a model that names nobody valid."""
        return self._fallback.choose(candidates, busy)

    def turn_ended(self, turn: TurnOutcome) -> None:
        """See :class:`SpeakerPolicy`."""
        self._fallback.turn_ended(turn)

    def trial_judged(self, trial: TrialResult) -> None:
        """See :class:`SpeakerPolicy`."""
        self._fallback.trial_judged(trial)


def open_policy(plan: Plan, charters: Sequence[Charter], queue: TrialQueue) -> SpeakerPolicy:
    """Return the speaker policy of a campaign, with what the lineage holds of past trials.

    Agents of a blind campaign take turns, whatever the plan says: who is asked would tell of
    gains. A selector's model may still pick, because it is told no outcome either.

    Raises:
        RecipelabError: No policy has that name, or it cannot be loaded.
    """
    newest = queue.store.briefs(queue.campaign, TrialFilter(in_flight=False, limit=WINDOW)).items
    context = SpeakerContext(
        {charter.name: charter.surfaces for charter in charters},
        queue.pack.metric.goal,
        exploration=plan.exploration,
        blind=plan.blind,
        shares={charter.name: charter.share for charter in charters if charter.share},
        past=[TrialResult.of_brief(trial) for trial in reversed(newest)],
    )
    make = SPEAKERS.get(plan.speakers)
    return RoundRobin(context) if plan.blind and make is not ModelSpeaker else make(context)
