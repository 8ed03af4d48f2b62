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
SELECT judged_order, number, judged_at FROM trial
WHERE campaign_id = :campaign AND judged_order IS NOT NULL ORDER BY judged_order DESC LIMIT 1
"""
_JUDGED_AT = """
SELECT judged_order, number, judged_at FROM trial
WHERE campaign_id = :campaign AND judged_order = :place
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
_REST = """
SELECT c.state, c.ended_at,
  (SELECT max(position) FROM message WHERE campaign_id = :campaign),
  (SELECT count(*) + count(retired_at) FROM note WHERE campaign_id = :campaign),
  (SELECT max(number) FROM round WHERE campaign_id = :campaign),
  (SELECT count(*) FROM certificate WHERE trial_id IN (
    SELECT id FROM trial WHERE campaign_id = :campaign AND standing IS NOT NULL))
FROM campaign c WHERE c.id = :campaign
"""
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
        last_judgment: Checksum of the last one: its trial, and when it was.
        checkpoints: How many checkpoints there were.
        flying: Checksum of the trials in flight, their states and phases.
    """

    last: int
    judged: int
    last_judgment: int
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

    def watch(self, campaign: str) -> CampaignWatch:
        """Return what tells whether a campaign has changed; to be closed in the end."""
        return CampaignWatch(self, campaign)

    def commit_connection(self) -> Any:
        """Return a connection that counts commits; ``None`` where the database has no count."""
        return self._database.commit_connection()

    def commits_seen(self, campaign: str, connection: Any) -> object:
        """Return what is another after each commit; see :class:`CampaignWatch`."""
        if connection is not None:
            return self._database.commits_seen(connection)
        with self._asking(campaign) as (transaction, campaign_id):
            mark = _mark(transaction, campaign_id)
            return mark, transaction.rows(_REST, campaign=campaign_id)

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
    judged = transaction.row(_LAST_JUDGED, campaign=campaign_id)
    flying = transaction.rows(_IN_FLIGHT, campaign=campaign_id)
    return ChangeMark(
        last=-1 if last is None else number_of(last),
        judged=0 if judged is None else judged[0],
        last_judgment=_checksum(judged),
        checkpoints=transaction.value(_CHECKPOINTS, campaign=campaign_id),
        flying=_checksum(flying),
    )


def _checksum(rows: object) -> int:
    """Return a number that is another for other rows; 0 for none."""
    return zlib.crc32(repr(rows).encode()) if rows else 0


def _changed(
    transaction: Transaction, campaign_id: int, since: ChangeMark, now: ChangeMark
) -> list[int] | None:
    """Return the ids of the trials that have changed; ``None`` where that may be any."""
    if since == now:
        return []
    if since.last > now.last or since.judged > now.judged:
        return None
    judged = transaction.row(_JUDGED_AT, campaign=campaign_id, place=since.judged)
    if _checksum(judged) != since.last_judgment:
        return None  # It was aborted, and ran again: its place in the order is another's.
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


_PARENTS, _PROPOSED, _JUDGED = map(ColumnRow._fields.index, ("parents", "proposed_at", "judged_at"))


def _column_row(row: Row) -> ColumnRow:
    """Return a row as it is but for parents and times, and its seed runs summed up."""
    values: list[Any] = list(row)
    values[_PARENTS] = parent_numbers(values[_PARENTS])
    values[_PROPOSED] = _seconds(values[_PROPOSED])
    if values[_JUDGED] is not None:
        values[_JUDGED] = _seconds(values[_JUDGED])
    values[-1] = _wall_seconds(values[-1])
    return ColumnRow._make(values)


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


class CampaignWatch:
    """Tells whether something was committed to a lineage since it was last asked.

    SQLite counts the commits of other connections; PostgreSQL has no such count, so the newest rows
    of the campaign stand for it.

    Args:
        reader: The open lineage.
        campaign: Name of the campaign.
    """

    def __init__(self, reader: ColumnReader, campaign: str) -> None:
        self._reader = reader
        self._campaign = campaign
        self._connection = reader.commit_connection()
        self._last: object = None

    def changed(self) -> bool:
        """Return whether something was committed, by any connection but this one.

        Raises:
            LineageError: The lineage cannot be read.
        """
        now = self._reader.commits_seen(self._campaign, self._connection)
        changed, self._last = now != self._last, now
        return changed

    def close(self) -> None:
        """Close the connection that it looks through."""
        if self._connection is not None:
            self._connection.close()
