"""Turns a filter into what the word index and the rows of trials are asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    bindparam,
    cast,
    column,
    false,
    func,
    literal_column,
    select,
    table,
)
from sqlalchemy.dialects.postgresql import TSQUERY
from sqlmodel import col

from recipelab.lineage.ledgers import FailureGroupRow, HourRow
from recipelab.lineage.query import TrialFilter
from recipelab.lineage.tables import LARGEST_NUMBER, ParentRow, TrialRow, trial_key
from recipelab.lineage.text import NAME_CHARACTERS, clean, cut
from recipelab.lineage.words import asked_words, mark, postgres_match, sqlite_match, status_mark
from recipelab.lineage.writing.tallies import HOUR

MANY_GROUPS = 50
"""Groups of failures that the word index is asked for at once; of more the rows are asked."""

_BOUNDS = select(func.min(col(HourRow.first_id)), func.max(col(HourRow.last_id))).where(
    col(HourRow.campaign_id) == bindparam("campaign_id"),
    col(HourRow.hour).between(bindparam("first"), bindparam("last")),
)
_SIGNATURES = select(col(FailureGroupRow.id), col(FailureGroupRow.signature)).where(
    col(FailureGroupRow.campaign_id) == bindparam("campaign_id")
)
_LAST_HOUR = 10**9


@dataclass(frozen=True)
class Conditions:
    """What must hold of a trial.

    Attributes:
        low: The smallest id.
        high: The largest id.
        rows: Conditions on its row: all of the filter but its text.
        beside: Those of them that the word index knows nothing of.
        words: Words and marks that the word index must have of it: one of each inner list.
        text: Those of them that are words of the filter's text.
    """

    low: int
    high: int
    rows: tuple[ColumnElement[bool], ...]
    beside: tuple[ColumnElement[bool], ...]
    words: tuple[list[str], ...]
    text: tuple[list[str], ...]


def conditions_of(connection: Connection, campaign_id: int, wanted: TrialFilter) -> Conditions:
    """What a filter asks of a trial of a campaign."""
    low, high = _bounds(connection, campaign_id, wanted)
    groups = _signed(connection, campaign_id, wanted.signature) if wanted.signature else None
    beside = _score_and_time(wanted)
    if wanted.in_flight is False:
        beside.append(col(TrialRow.status).is_not(None))
    if wanted.text and not asked_words(wanted.text):
        beside.append(false())
    if groups is not None and not 0 < len(groups) <= MANY_GROUPS:
        beside.append(col(TrialRow.failure_id).in_(groups))
    text = tuple([word] for word in asked_words(wanted.text or ""))
    return Conditions(
        low=low,
        high=high,
        rows=(*_row_conditions(campaign_id, wanted, groups), *beside),
        beside=tuple(beside),
        words=(*_marks(wanted, groups), *text),
        text=text,
    )


def _bounds(connection: Connection, campaign_id: int, wanted: TrialFilter) -> tuple[int, int]:
    first = trial_key(campaign_id, 0)
    low, high = first, first + LARGEST_NUMBER
    if wanted.since is None and wanted.until is None:
        return low, high
    hours = {
        "campaign_id": campaign_id,
        "first": -_LAST_HOUR if wanted.since is None else _hour(wanted.since),
        "last": _LAST_HOUR if wanted.until is None else _hour(wanted.until),
    }
    found = connection.execute(_BOUNDS, hours).one()
    return (high, low) if found[0] is None else (found[0], found[1])


def _hour(when: datetime) -> int:
    return int(_utc(when).timestamp()) // HOUR


def _utc(when: datetime) -> datetime:
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


def _score_and_time(wanted: TrialFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.min_score is not None:
        conditions.append(col(TrialRow.score) >= wanted.min_score)
    if wanted.max_score is not None:
        conditions.append(col(TrialRow.score) <= wanted.max_score)
    if wanted.since is not None:
        conditions.append(col(TrialRow.proposed_at) >= _utc(wanted.since))
    if wanted.until is not None:
        conditions.append(col(TrialRow.proposed_at) < _utc(wanted.until))
    return conditions


def _signed(connection: Connection, campaign_id: int, signature: str) -> list[int]:
    """The groups of failures whose signature contains a text."""
    # Looked through here: databases fold the case of letters in ways of their own.
    wanted = clean(signature).casefold()
    groups = connection.execute(_SIGNATURES, {"campaign_id": campaign_id})
    return [key for key, text in groups if wanted in text.casefold()]


def _marks(wanted: TrialFilter, groups: list[int] | None) -> list[list[str]]:
    marks = [
        [status_mark(status.value) for status in wanted.statuses],
        [mark("u", name) for name in _names(wanted.surfaces)],
        [mark("p", name) for name in _names(wanted.specialists)],
        [mark("k", kind.value) for kind in wanted.failure_kinds],
        [] if wanted.parent is None else [mark("c", wanted.parent)],
        [mark("g", group) for group in groups or () if len(groups or ()) <= MANY_GROUPS],
        [status_mark(None)] if wanted.in_flight else [],
    ]
    return [group for group in marks if group]


def _row_conditions(
    campaign_id: int, wanted: TrialFilter, groups: list[int] | None
) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.statuses:
        conditions.append(col(TrialRow.status).in_([s.value for s in wanted.statuses]))
    if wanted.surfaces:
        conditions.append(col(TrialRow.surface).in_(_names(wanted.surfaces)))
    if wanted.specialists:
        conditions.append(col(TrialRow.specialist).in_(_names(wanted.specialists)))
    if wanted.in_flight:
        conditions.append(col(TrialRow.status).is_(None))
    if wanted.failure_kinds:
        kinds = [kind.value for kind in wanted.failure_kinds]
        failed = select(col(FailureGroupRow.id)).where(
            col(FailureGroupRow.campaign_id) == campaign_id, col(FailureGroupRow.kind).in_(kinds)
        )
        conditions.append(col(TrialRow.failure_id).in_(failed))
    if groups is not None:
        conditions.append(col(TrialRow.failure_id).in_(groups))
    if wanted.parent is not None:
        conditions.append(_child_of(campaign_id, wanted.parent))
    return conditions


def _names(names: tuple[str, ...]) -> list[str]:
    return [cut(name, NAME_CHARACTERS) for name in names]


def _child_of(campaign_id: int, number: int) -> ColumnElement[bool]:
    if not 0 <= number <= LARGEST_NUMBER:
        return false()
    children = select(col(ParentRow.trial_id)).where(
        col(ParentRow.parent_id) == trial_key(campaign_id, number)
    )
    return col(TrialRow.id).in_(children)


WORDS = table("words", column("rowid", BigInteger))


def matches(connection: Connection, words: Sequence[Sequence[str]]) -> ColumnElement[bool]:
    """The condition on the word index that it has all of the words."""
    if connection.dialect.name == "sqlite":
        return literal_column("words.words").op("MATCH")(sqlite_match(words))
    return literal_column("words.w").op("@@")(cast(postgres_match(words), TSQUERY))
