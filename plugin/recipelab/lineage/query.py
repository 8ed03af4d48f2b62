"""What can be asked of the trials of a campaign."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime

from recipelab.core.errors import LineageError, unknown_name
from recipelab.core.trial import FailureKind, Status

ORDERS = ("newest", "oldest", "best", "worst")
GOALS = ("minimize", "maximize")
MAX_LIMIT = 200
MAX_TEXT = 1_000
MAX_NAMES = 50
"""Names that one part of a filter may list."""
LARGEST = 2**63 - 1
"""Largest whole number that a database takes; models send larger ones."""


@dataclass(frozen=True)
class TrialFilter:
    """Which trials to give, and in which order. All that is given must hold.

    Attributes:
        statuses: Only trials that ended so; empty for any.
        surfaces: Only trials on these surfaces; empty for any.
        specialists: Only trials by these specialists; empty for any.
        failure_kinds: Only trials that failed so; empty for any.
        signature: Text that the failure's signature contains, whatever its case.
        parent: Only children of the trial with this number.
        ancestor: Only trials that descend from the trial with this number, by first parents.
        text: Words that all occur in hypothesis, reason, diff, or the failure's excerpt or
            signature, whatever their case and order. Whole words: ``rate`` finds ``learning_rate``
            and ``rate=0.1``, not ``rates``.
        in_flight: Only trials that wait for their outcome, or only judged ones.
        min_score: Only trials with at least this score.
        max_score: Only trials with at most this score.
        since: Only trials proposed at this time or later. A time without a zone is in UTC.
        until: Only trials proposed before this time.
        order: ``newest``, ``oldest``, ``best`` or ``worst`` first. Trials without a score come
            last in the last two, and of equal scores the older trial comes first.
        goal: Which scores are best: ``minimize`` or ``maximize``.
        limit: How many trials at most, from 1 to 200.
        offset: How many to pass over.

    Raises:
        LineageError: Order, goal, limit, offset, a text, a list or a score is out of bounds.
    """

    statuses: tuple[Status, ...] = ()
    surfaces: tuple[str, ...] = ()
    specialists: tuple[str, ...] = ()
    failure_kinds: tuple[FailureKind, ...] = ()
    signature: str | None = None
    parent: int | None = None
    ancestor: int | None = None
    text: str | None = None
    in_flight: bool | None = None
    min_score: float | None = None
    max_score: float | None = None
    since: datetime | None = None
    until: datetime | None = None
    order: str = "newest"
    goal: str = "minimize"
    limit: int = 50
    offset: int = 0

    def __post_init__(self) -> None:
        check_name("order", self.order, ORDERS)
        check_name("goal", self.goal, GOALS)
        check_page(self.limit, self.offset)
        check_text(self.text, self.signature)
        if max(len(self.surfaces), len(self.specialists)) > MAX_NAMES:
            raise LineageError(f"a filter may list {MAX_NAMES} surfaces or specialists at most")
        for bound in (self.min_score, self.max_score):
            if bound is not None and not math.isfinite(bound):
                raise LineageError(f"a score must be a finite number, not {bound}")

    @property
    def newest_or_oldest(self) -> bool:
        """Whether the order is that of the numbers."""
        return self.order in ("newest", "oldest")

    @property
    def plain(self) -> bool:
        """Whether all trials match."""
        return self == TrialFilter(
            order=self.order, goal=self.goal, limit=self.limit, offset=self.offset
        )

    @property
    def only_ancestor(self) -> bool:
        """Whether all descendants of a trial match."""
        return self.ancestor is not None and replace(self, ancestor=None).plain

    @property
    def low_first(self) -> bool:
        """Whether low scores come first, when the order is by score."""
        return (self.order == "best") == (self.goal == "minimize")


def check_name(what: str, name: str, valid: tuple[str, ...]) -> None:
    """Checks that a name is one of the valid ones.

    Raises:
        LineageError: It is not; the message lists them.
    """
    if name not in valid:
        raise LineageError(unknown_name(what, name, valid))


def check_page(limit: int, offset: int) -> None:
    """Checks the bounds of a page.

    Raises:
        LineageError: The limit is not from 1 to 200, or the offset is negative.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise LineageError(f"limit must be from 1 to {MAX_LIMIT}, not {limit}")
    if offset < 0:
        raise LineageError(f"offset must not be negative: {offset}")


def check_text(*texts: str | None) -> None:
    """Checks the length of texts to look for.

    Raises:
        LineageError: One is too long.
    """
    if any(len(text or "") > MAX_TEXT for text in texts):
        raise LineageError(f"text to look for may have {MAX_TEXT:,} characters at most")
