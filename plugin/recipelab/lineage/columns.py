"""Read trials as columns, all of them or those that have changed: what a page draws of each."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from recipelab.lineage.database import Row, Transaction
from recipelab.lineage.lookup import (
    LARGEST_NUMBER,
    OpenLineage,
    last_trial_id,
    number_of,
    trial_key,
)
from recipelab.lineage.past import spent_of_runs
from recipelab.lineage.values import from_stamp, parent_numbers

SHOWN_CHARACTERS = 160
"""Characters of hypothesis and reason in a row."""

_PAGE = 2_000
"""Rows whose seed runs are in memory at once."""

_COLUMNS = f"""
SELECT t.number, t.status, t.state, t.standing, t.phase, t.specialist, t.surface, t.parents,
  t.score, t.score_se, t.delta, t.delta_se, t.proposed_at, t.judged_at, t.judged_order,
  t.cpu_seconds, t.round_number, f.kind, f.signature, substr(x.hypothesis, 1, {SHOWN_CHARACTERS}),
  substr(x.reason, 1, {SHOWN_CHARACTERS}), e.against, e.confirmed, e.p, e.level, x.seed_runs
FROM trial t JOIN trial_text x ON x.trial_id = t.id LEFT JOIN failure f ON f.id = t.failure_id
LEFT JOIN evidence e ON e.trial_id = t.id
"""
_ALL = f"{_COLUMNS} WHERE t.id BETWEEN :low AND :high ORDER BY t.id LIMIT :limit"
_SOME = f"{_COLUMNS} WHERE t.id IN :ids ORDER BY t.id"
_IN_FLIGHT = """
SELECT id, state, phase, parents FROM trial
WHERE campaign_id = :campaign AND status IS NULL ORDER BY id
"""
_LAST_JUDGED = """
SELECT judged_order, number FROM trial
WHERE campaign_id = :campaign AND judged_order IS NOT NULL ORDER BY judged_order DESC LIMIT 1
"""
_JUDGED_AT = """
SELECT number FROM trial WHERE campaign_id = :campaign AND judged_order = :place
"""
_JUDGED_SINCE = """
SELECT id FROM trial WHERE campaign_id = :campaign AND judged_order > :place
"""
_CHECKPOINTS = "SELECT count(*) FROM checkpoint WHERE campaign_id = :campaign"
_STANDING = "SELECT id FROM trial WHERE campaign_id = :campaign AND standing IS NOT NULL"
_TESTED = """
SELECT t.number, e.against, t.status, e.p, e.level, e.confirmed, t.judged_at
FROM evidence e JOIN trial t ON t.id = e.trial_id
WHERE t.campaign_id = :campaign AND e.level IS NOT NULL ORDER BY t.judged_order
"""
_FIXES = """
SELECT f.kind, f.phase, f.signature, x.trial_id FROM fix x JOIN failure f ON f.id = x.failure_id
WHERE f.campaign_id = :campaign
"""
_OF_TRIAL = """
 AND (x.trial_id = :id OR x.failure_id = (SELECT failure_id FROM trial WHERE id = :id))
"""
_CHILDREN = "SELECT trial_id FROM parent WHERE parent_id = :id ORDER BY trial_id DESC LIMIT :limit"
_LAST_MESSAGE = "SELECT max(position) FROM message WHERE campaign_id = :campaign"
_GROUPED = """
SELECT surface, specialist, sum(cpu_seconds) FROM trial
WHERE campaign_id = :campaign GROUP BY surface, specialist
"""


class ColumnRow(NamedTuple):
    """A trial as a row of columns; times are in seconds since 1970."""

    number: int
    status: str | None
    state: str
    standing: str | None
    phase: str | None
    specialist: str
    surface: str
    parents: tuple[int, ...]
    score: float | None
    score_se: float | None
    delta: float | None
    delta_se: float | None
    proposed_at: float
    judged_at: float | None
    judged_order: int | None
    cpu_seconds: float
    round: int | None
    failure_kind: str | None
    signature: str | None
    hypothesis: str
    reason: str
    against: int | None
    confirmed: int | None
    p: float | None
    level: float | None
    wall_seconds: float | None


class Fix(NamedTuple):
    """A failure, and a trial that measured validly after it."""

    kind: str
    phase: str
    signature: str
    trial: int


@dataclass(frozen=True)
class ChangeMark:
    """How far a campaign had come at a moment; two marks are equal if no trial has changed.

    Attributes:
        last: Number of the newest trial; -1 if there is none.
        judged: How many judgments there were.
        judged_last: Number of the trial that was judged last; -1 if there is none.
        checkpoints: How many checkpoints there were.
        flying: Checksum of the trials in flight, their states and phases.
    """

    last: int
    judged: int
    judged_last: int
    checkpoints: int
    flying: int

    def __str__(self) -> str:
        return ".".join(map(str, vars(self).values()))

    @classmethod
    def parsed(cls, text: str) -> Self | None:
        """Return the mark that a text was made of; ``None`` for any other text."""
        try:
            return cls(*(int(part) for part in text[:80].split(".")))
        except (TypeError, ValueError):
            return None


@dataclass(frozen=True)
class TrialColumns:
    """Trials as rows, lowest number first.

    Attributes:
        mark: How far the campaign had come when they were read.
        rows: The trials.
        whole: Whether these are all trials, and not those alone that have changed.
    """

    mark: ChangeMark
    rows: list[ColumnRow]
    whole: bool


class ColumnReader(OpenLineage):
    """Reads trials as columns.

    Args:
        database: The open database.
    """

    def change_mark(self, campaign: str) -> ChangeMark:
        """Return how far a campaign has come; it costs some five lookups."""
        with self._asking(campaign) as (transaction, campaign_id):
            return _mark(transaction, campaign_id)

    def trial_columns(self, campaign: str, since: ChangeMark | None = None) -> TrialColumns:
        """Return the trials of a campaign as rows.

        Args:
            campaign: Name of the campaign.
            since: Only those that have changed since this mark; ``None`` for all. All are given
                too where a trial that was judged runs again.
        """
        with self._asking(campaign) as (transaction, campaign_id):
            mark = _mark(transaction, campaign_id)
            ids = None if since is None else _changed(transaction, campaign_id, since, mark)
            if ids is None:
                rows = list(_all_rows(transaction, campaign_id))
            else:
                rows = list(map(_column_row, transaction.rows(_SOME, ids=ids))) if ids else []
        return TrialColumns(mark, rows, ids is None)

    def tested_trials(self, campaign: str) -> list[dict[str, Any]]:
        """Return the trials that were tested by themselves, in the order of their judgment.

        Returns:
            For each ``kind`` (``trial``), ``trial``, ``against``, whether it ``held``, ``p``,
            ``level``, fresh ``seeds``, and when it was made (``made_at``, seconds since 1970).
        """
        with self._asking(campaign) as (transaction, campaign_id):
            rows = transaction.rows(_TESTED, campaign=campaign_id)
        return [
            {
                "kind": "trial", "trial": number, "against": against, "held": status == "kept",
                "p": p, "level": level, "seeds": seeds, "made_at": _seconds(judged_at),
            }
            for number, against, status, p, level, seeds, judged_at in rows
        ]  # fmt: skip

    def child_numbers(self, campaign: str, number: int, *, limit: int) -> list[int]:
        """Return the newest trials made from a trial, as first or other parent, oldest first."""
        with self._asking(campaign) as (transaction, campaign_id):
            asked = trial_key(campaign_id, number)
            return sorted(map(number_of, transaction.values(_CHILDREN, id=asked, limit=limit)))

    def fixes(self, campaign: str, number: int | None = None) -> list[Fix]:
        """Return which trials measured validly after which failures.

        Args:
            campaign: Name of the campaign.
            number: Only what this trial mended, and what mended its failure; ``None`` for all.
        """
        with self._asking(campaign) as (transaction, campaign_id):
            values: dict[str, Any] = {"campaign": campaign_id}
            if number is not None:
                values["id"] = trial_key(campaign_id, number)
            rows = transaction.rows(_FIXES + (_OF_TRIAL if number is not None else ""), **values)
        return [Fix(kind, phase, signature, number_of(key)) for kind, phase, signature, key in rows]

    def message_count(self, campaign: str) -> int:
        """Return how many messages the group chat has; their positions go up to one less."""
        with self._asking(campaign) as (transaction, campaign_id):
            last = transaction.value(_LAST_MESSAGE, campaign=campaign_id)
        return 0 if last is None else int(last) + 1

    def cpu_seconds(self, campaign: str) -> dict[tuple[str, str], float]:
        """Return the CPU seconds of all trials by surface and specialist."""
        with self._asking(campaign) as (transaction, campaign_id):
            rows = transaction.rows(_GROUPED, campaign=campaign_id)
        return {(surface, specialist): float(spent) for surface, specialist, spent in rows}


def _mark(transaction: Transaction, campaign_id: int) -> ChangeMark:
    last = last_trial_id(transaction, campaign_id)
    judged = transaction.row(_LAST_JUDGED, campaign=campaign_id) or (0, -1)
    flying = transaction.rows(_IN_FLIGHT, campaign=campaign_id)
    return ChangeMark(
        last=-1 if last is None else number_of(last),
        judged=judged[0],
        judged_last=judged[1],
        checkpoints=transaction.value(_CHECKPOINTS, campaign=campaign_id),
        flying=zlib.crc32(repr(flying).encode()),
    )


def _changed(
    transaction: Transaction, campaign_id: int, since: ChangeMark, now: ChangeMark
) -> list[int] | None:
    """Return the ids of the trials that have changed; ``None`` where that may be any."""
    if since == now:
        return []
    if since.last > now.last or since.judged > now.judged:
        return None
    judged = transaction.value(_JUDGED_AT, campaign=campaign_id, place=since.judged)
    if (-1 if judged is None else judged) != since.judged_last:
        return None  # It was aborted, and runs again: its place in the order is another's.
    ids = transaction.values(_JUDGED_SINCE, campaign=campaign_id, place=since.judged)
    ids += [row[0] for row in transaction.rows(_IN_FLIGHT, campaign=campaign_id)]
    if since.checkpoints != now.checkpoints:
        ids += transaction.values(_STANDING, campaign=campaign_id)
    return sorted(set(ids))


def _all_rows(transaction: Transaction, campaign_id: int) -> Iterator[ColumnRow]:
    low, high = trial_key(campaign_id, 0), trial_key(campaign_id, LARGEST_NUMBER)
    while True:
        rows = transaction.rows(_ALL, low=low, high=high, limit=_PAGE)
        yield from map(_column_row, rows)
        if len(rows) < _PAGE:
            return
        low = trial_key(campaign_id, rows[-1][0] + 1)


def _column_row(row: Row) -> ColumnRow:
    number, status, state, standing, phase, specialist, surface, parents, *figures = row
    score, score_se, delta, delta_se, proposed_at, judged_at, *rest, seed_runs = figures
    return ColumnRow(
        number, status, state, standing, phase, specialist, surface, parent_numbers(parents),
        score, score_se, delta, delta_se, _seconds(proposed_at),
        None if judged_at is None else _seconds(judged_at), *rest, _wall_seconds(seed_runs),
    )  # fmt: skip


def _seconds(stamp: str) -> float:
    return from_stamp(stamp).timestamp()


def _wall_seconds(seed_runs: str) -> float | None:
    if seed_runs == "[]":
        return None
    return spent_of_runs(json.loads(seed_runs))[0]


def columns_of(rows: Sequence[Sequence[Any]], names: Sequence[str]) -> dict[str, list[Any]]:
    """Return rows by column."""
    columns = list(map(list, zip(*rows, strict=True))) or [[] for _ in names]
    return dict(zip(names, columns, strict=True))
