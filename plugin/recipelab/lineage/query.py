"""What can be asked of the lineage, and the SQL that answers it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, UnaryExpression, false, func, or_, select
from sqlalchemy.orm import Mapped, aliased
from sqlmodel import col

from recipelab.errors import LineageError, unknown_name
from recipelab.lineage.tables import FailureRow, ParentRow, TrialRow
from recipelab.lineage.text import NAME_CHARACTERS, clean, cut
from recipelab.trial import FailureKind, Status

ORDERS = ("newest", "oldest", "best", "worst")
GOALS = ("minimize", "maximize")
MAX_LIMIT = 200
MAX_TEXT = 1_000
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
        text: Text that hypothesis, reason, diff, or the failure's excerpt or signature contains,
            whatever its case. It is text, not a pattern.
        in_flight: Only trials that wait for their outcome, or only judged ones.
        order: ``newest``, ``oldest``, ``best`` or ``worst`` first. Trials without a score come
            last in the last two, and of equal scores the older trial comes first.
        goal: Which scores are best: ``minimize`` or ``maximize``.
        limit: How many trials at most, from 1 to 200.
        offset: How many to pass over.

    Raises:
        LineageError: Order, goal, limit, offset or a text is out of bounds.
    """

    statuses: tuple[Status, ...] = ()
    surfaces: tuple[str, ...] = ()
    specialists: tuple[str, ...] = ()
    failure_kinds: tuple[FailureKind, ...] = ()
    signature: str | None = None
    parent: int | None = None
    text: str | None = None
    in_flight: bool | None = None
    order: str = "newest"
    goal: str = "minimize"
    limit: int = 50
    offset: int = 0

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise LineageError(unknown_name("order", self.order, ORDERS))
        if self.goal not in GOALS:
            raise LineageError(unknown_name("goal", self.goal, GOALS))
        if not 1 <= self.limit <= MAX_LIMIT:
            raise LineageError(f"limit must be from 1 to {MAX_LIMIT}, not {self.limit}")
        if self.offset < 0:
            raise LineageError(f"offset must not be negative: {self.offset}")
        if max(len(self.text or ""), len(self.signature or "")) > MAX_TEXT:
            raise LineageError(f"text to look for may have {MAX_TEXT:,} characters at most")


def page_query(campaign_id: int, wanted: TrialFilter) -> Select[int]:
    """Selects the ids of the trials of the page asked for, in order."""
    offset = min(wanted.offset, LARGEST)
    statement = select(col(TrialRow.id)).where(*_conditions(campaign_id, wanted))
    return statement.order_by(*_ordering(wanted)).limit(wanted.limit).offset(offset)


def count_query(campaign_id: int, wanted: TrialFilter) -> Select[int]:
    """Counts the trials that match, on this page or not."""
    return select(func.count()).select_from(TrialRow).where(*_conditions(campaign_id, wanted))


def _conditions(campaign_id: int, wanted: TrialFilter) -> list[ColumnElement[bool]]:
    conditions = [col(TrialRow.campaign_id) == campaign_id]
    if wanted.statuses:
        conditions.append(col(TrialRow.status).in_([s.value for s in wanted.statuses]))
    if wanted.surfaces:
        conditions.append(col(TrialRow.surface).in_(_names(wanted.surfaces)))
    if wanted.specialists:
        conditions.append(col(TrialRow.specialist).in_(_names(wanted.specialists)))
    if wanted.in_flight is not None:
        unjudged = col(TrialRow.status).is_(None)
        conditions.append(unjudged if wanted.in_flight else ~unjudged)
    if wanted.parent is not None:
        conditions.append(_child_of(campaign_id, wanted.parent))
    return conditions + _failure_conditions(wanted) + _text_conditions(wanted)


def _names(names: tuple[str, ...]) -> list[str]:
    return [cut(name, NAME_CHARACTERS) for name in names]


def _child_of(campaign_id: int, number: int) -> ColumnElement[bool]:
    if not 0 <= number <= LARGEST:
        return false()
    parent = aliased(TrialRow)
    children = (
        select(col(ParentRow.trial_id))
        .join(parent, col(ParentRow.parent_id) == col(parent.id))
        .where(col(parent.campaign_id) == campaign_id, col(parent.number) == number)
    )
    return col(TrialRow.id).in_(children)


def _failed_with(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    same = col(FailureRow.trial_id) == col(TrialRow.id)
    return select(col(FailureRow.trial_id)).where(same, *conditions).exists()


def _failure_conditions(wanted: TrialFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.failure_kinds:
        conditions.append(col(FailureRow.kind).in_([kind.value for kind in wanted.failure_kinds]))
    if wanted.signature:
        conditions.append(_contains(col(FailureRow.signature), wanted.signature))
    return [_failed_with(*conditions)] if conditions else []


def _text_conditions(wanted: TrialFilter) -> list[ColumnElement[bool]]:
    if not wanted.text:
        return []
    columns = (col(TrialRow.hypothesis), col(TrialRow.reason), col(TrialRow.diff))
    failed = _failed_with(
        or_(
            _contains(col(FailureRow.excerpt), wanted.text),
            _contains(col(FailureRow.signature), wanted.text),
        )
    )
    return [or_(*(_contains(column, wanted.text) for column in columns), failed)]


def _contains(column: Mapped[str], text: str) -> ColumnElement[bool]:
    return column.icontains(clean(text), autoescape=True)


def _ordering(wanted: TrialFilter) -> list[UnaryExpression[int] | UnaryExpression[float | None]]:
    number, score = col(TrialRow.number), col(TrialRow.score)
    if wanted.order == "newest":
        return [number.desc()]
    if wanted.order == "oldest":
        return [number.asc()]
    low_first = (wanted.order == "best") == (wanted.goal == "minimize")
    ranked = score.asc() if low_first else score.desc()
    return [ranked.nulls_last(), number.asc()]
