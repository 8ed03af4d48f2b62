"""Policies that say which specialist speaks next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

from recipelab.lineage import TrialBrief


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
