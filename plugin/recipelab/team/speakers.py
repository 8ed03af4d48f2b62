"""Policies that say which specialist speaks next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class SpeakerPolicy(Protocol):
    """Picks among specialists; knows nothing of trials that run (the team sees to that)."""

    def next_specialist(self, spoken: Sequence[str]) -> str:
        """The specialist to speak next, given who has spoken so far in this round."""
        ...


class RoundRobin:
    """Everybody in turn, beginning at an offset, so that short rounds do not favor the first.

    Args:
        names: Names of the specialists.
        offset: How many turns were taken in earlier rounds.
    """

    def __init__(self, names: Sequence[str], *, offset: int = 0) -> None:
        self._names = tuple(names)
        self._offset = offset

    def next_specialist(self, spoken: Sequence[str]) -> str:
        """See :class:`SpeakerPolicy`."""
        return self._names[(self._offset + len(spoken)) % len(self._names)]


POLICIES: Mapping[str, type[RoundRobin]] = {"round-robin": RoundRobin}
"""The policies by name."""
