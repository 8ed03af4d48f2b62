"""Finds the trials that match a filter, a page of them, without walking through all trials.

There are two ways. If some part of the filter leaves few trials, those are looked at one by one.
Else a match is never far, and the trials are walked in the order asked for until the page is full.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Float,
    Select,
    bindparam,
    func,
    select,
    type_coerce,
)
from sqlmodel import col

from recipelab.lineage.finding import last_trial
from recipelab.lineage.query import LARGEST, TrialFilter
from recipelab.lineage.reading.ancestors import Descent, few_descendants
from recipelab.lineage.reading.conditions import WORDS, conditions_of, matches
from recipelab.lineage.tables import TrialRow, number_of, trial_key

CAP = 1_001
"""Counting stops here."""
CHUNK = 500
MANY = 20_000
"""Up to so many trials are sorted rather than walked through in the order of an index."""
FAMILY = 2_000
"""Up to so many descendants are gathered rather than looked for among all trials."""

_TRIAL = type_coerce(col(TrialRow.id), BigInteger)
# Sums that no index has, so that databases find the matches first and sort them then.
_SORTED_ID, _SORTED_SCORE = _TRIAL + 0, col(TrialRow.score) + 0.0


@dataclass(frozen=True)
class Found:
    """Ids of a page of trials, and how many match in all; if ``capped``, at least so many."""

    ids: tuple[int, ...]
    total: int
    capped: bool


def search(
    connection: Connection, campaign_id: int, wanted: TrialFilter, ancestor_id: int | None
) -> Found:
    """Finds a page of trials.

    Args:
        connection: Where to look.
        campaign_id: Whose trials.
        wanted: Which ones, and in which order.
        ancestor_id: The id of the filter's ancestor, if it has one.
    """
    if wanted.plain and wanted.newest_or_oldest:
        return _numbered(connection, campaign_id, wanted)
    asked = _Search(connection, campaign_id, wanted, ancestor_id)
    few = asked.few()
    return asked.among(few) if few is not None else asked.walked()


def _numbered(connection: Connection, campaign_id: int, wanted: TrialFilter) -> Found:
    """A page of all trials. Numbers have no gaps, so nothing needs to be walked over."""
    last = last_trial(connection, campaign_id)
    total = 0 if last is None else number_of(last) + 1
    numbers = range(total) if wanted.order == "oldest" else range(total)[::-1]
    page = numbers[min(wanted.offset, total) :][: wanted.limit]
    return Found(tuple(trial_key(campaign_id, number) for number in page), total, capped=False)


class _Search:
    def __init__(
        self,
        connection: Connection,
        campaign_id: int,
        wanted: TrialFilter,
        ancestor_id: int | None,
    ) -> None:
        self._connection = connection
        self._campaign_id = campaign_id
        self._wanted = wanted
        self._ancestor_id = ancestor_id
        self._asked = conditions_of(connection, campaign_id, wanted)
        self._descent = None if ancestor_id is None else Descent(connection, ancestor_id)
        self._many = False

    def few(self) -> set[int] | None:
        """The ids that one part of the filter leaves, if it leaves few."""
        if self._by_score and (ids := self._at_most(self._scored)) is not None:
            return ids
        if self._wanted.since is not None or self._wanted.until is not None:
            proposed = select(col(TrialRow.id)).where(self._between)
            if (ids := self._at_most(proposed)) is not None:
                return ids
        if self._ancestor_id is not None:
            ids = few_descendants(self._connection, self._ancestor_id, FAMILY)
            if ids is not None:
                return ids
        if not self._asked.words or self._narrow:
            return None
        # An order by score, or a condition that the words know nothing of, needs all matches.
        if self._wanted.newest_or_oldest and not self._asked.beside and not self._ancestor_id:
            return None
        ids = self._at_most(self._indexed(self._asked.words))
        self._many = ids is None and not self._asked.beside and self._descent is None
        return ids

    def among(self, ids: set[int]) -> Found:
        """The matches among a few trials."""
        if self._wanted.only_ancestor and self._wanted.newest_or_oldest:
            ordered = sorted(ids, reverse=self._wanted.order == "newest")
            page = ordered[self._wanted.offset :][: self._wanted.limit]
            return Found(tuple(page), len(ordered), capped=False)
        columns = (col(TrialRow.id), col(TrialRow.score))
        few = col(TrialRow.id).in_(bindparam("ids", expanding=True))
        # The ids say which campaign; to name it would draw SQLite to an index that starts with it.
        statement = select(*columns).where(few, self._between, *self._asked.rows)
        found = self._connection.execute(statement, {"ids": sorted(ids)})
        rows = [(key, score) for key, score in found]
        if self._asked.text and rows:
            texts = self._having_text([key for key, _ in rows])
            rows = [row for row in rows if row[0] in texts]
        if self._descent:
            stem = self._descent.among(key for key, _ in rows)
            rows = [row for row in rows if row[0] in stem]
        ordered = self._ordered(rows)
        page = ordered[self._wanted.offset :][: self._wanted.limit]
        return Found(tuple(page), len(ordered), capped=False)

    def _ordered(self, rows: list[tuple[int, float | None]]) -> list[int]:
        if self._wanted.newest_or_oldest:
            return sorted((key for key, _ in rows), reverse=self._wanted.order == "newest")
        sign = 1.0 if self._wanted.low_first else -1.0

        def rank(row: tuple[int, float | None]) -> tuple[bool, float, int]:
            key, score = row
            return score is None, 0.0 if score is None else sign * score, key

        return [key for key, _ in sorted(rows, key=rank)]

    def _having_text(self, ids: list[int]) -> set[int]:
        near = WORDS.c.rowid.between(min(ids), max(ids))
        among = WORDS.c.rowid.in_(bindparam("ids", expanding=True))
        statement = select(WORDS.c.rowid).where(
            matches(self._connection, self._asked.text), near, among
        )
        return set(self._connection.scalars(statement, {"ids": ids}))

    def walked(self) -> Found:
        """The matches in order, up to the end of the page; the rest is counted up to the cap."""
        offset = min(self._wanted.offset, LARGEST)
        page = list(islice(self._walk(offset), self._wanted.limit))
        total = CAP if self._many else self._count()
        return Found(tuple(page), total, capped=total >= CAP)

    def _walk(self, offset: int) -> Iterator[int]:
        statements = self._walks()
        if self._descent:
            yield from islice(self._stemming(statements), offset, None)
            return
        for statement in statements:
            needed = statement.limit(self._wanted.limit).offset(offset)
            ids = self._connection.scalars(needed).all()
            yield from ids
            if not ids and offset:
                # What comes after must know how many the first ones were.
                offset -= self._number(statement, offset)
            else:
                offset = 0

    def _stemming(self, statements: Iterable[Select[int]]) -> Iterator[int]:
        assert self._descent
        for statement in statements:
            place = 0
            while ids := self._connection.scalars(statement.limit(CHUNK).offset(place)).all():
                stem = self._descent.among(ids)
                yield from (key for key in ids if key in stem)
                place += CHUNK

    def _walks(self) -> list[Select[int]]:
        """All matches in order, as one statement, or as two if those without a score come last."""
        if self._wanted.newest_or_oldest:
            return [self._by_number()]
        score: ColumnElement[float | None] = type_coerce(col(TrialRow.score), Float)
        key = col(TrialRow.id)
        matching = select(key).where(self._campaign, self._between, *self._asked.rows)
        if self._asked.text:
            found = self._indexed(self._asked.words)
            if self._number(found, MANY) < MANY:
                score = _SORTED_SCORE
                matching = found.join(TrialRow, key == WORDS.c.rowid).where(*self._asked.rows)
            else:
                matching = matching.where(key.in_(found))
        ranked = score.asc() if self._wanted.low_first else score.desc()
        scored = matching.where(score.is_not(None)).order_by(ranked, key.asc())
        return [scored, matching.where(score.is_(None)).order_by(key.asc())]

    def _by_number(self) -> Select[int]:
        statement, key = self._matching()
        if self._by_score and not self._asked.words and self._number(self._scored, MANY) < MANY:
            key = _SORTED_ID
        return statement.order_by(key.desc() if self._wanted.order == "newest" else key.asc())

    def _matching(self) -> tuple[Select[int], ColumnElement[int]]:
        """All matches in any order, and the column that has their ids."""
        if not self._asked.words and self._by_score:
            return self._scored, _TRIAL
        if not self._asked.words or self._narrow:
            return select(col(TrialRow.id)).where(self._between, *self._asked.rows), _TRIAL
        statement = self._indexed(self._asked.words)
        if self._asked.beside:
            statement = statement.join(TrialRow, col(TrialRow.id) == WORDS.c.rowid)
            statement = statement.where(*self._asked.beside)
        return statement, WORDS.c.rowid

    def _count(self) -> int:
        if self._descent:
            statement, key = self._matching()
            return sum(1 for _ in islice(self._stemming([statement.order_by(key.desc())]), CAP))
        return self._number(self._matching()[0], CAP)

    def _number(self, statement: Select[int], most: int) -> int:
        some = statement.order_by(None).limit(most).subquery()
        return self._connection.scalar(select(func.count()).select_from(some)) or 0

    def _at_most(self, statement: Select[int]) -> set[int] | None:
        ids = self._connection.scalars(statement.limit(CAP)).all()
        return set(ids) if len(ids) < CAP else None

    def _indexed(self, words: tuple[list[str], ...]) -> Select[int]:
        between = WORDS.c.rowid.between(self._asked.low, self._asked.high)
        return select(WORDS.c.rowid).where(matches(self._connection, words), between)

    @property
    def _by_score(self) -> bool:
        """Whether the filter bounds scores."""
        return self._wanted.min_score is not None or self._wanted.max_score is not None

    @property
    def _scored(self) -> Select[int]:
        """All within the bounds of scores and time, to be found by the index of scores."""
        statement = select(col(TrialRow.id)).where(self._campaign, *self._asked.beside)
        timed = self._wanted.since is not None or self._wanted.until is not None
        return statement.where(self._between) if timed else statement

    @property
    def _narrow(self) -> bool:
        """Whether the times leave so few rows that walking through them is best."""
        return not self._asked.text and self._asked.high - self._asked.low < MANY

    @property
    def _campaign(self) -> ColumnElement[bool]:
        return col(TrialRow.campaign_id) == self._campaign_id

    @property
    def _between(self) -> ColumnElement[bool]:
        return col(TrialRow.id).between(self._asked.low, self._asked.high)
