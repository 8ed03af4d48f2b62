"""Say which trials are asked for, and find them: a filter becomes the WHERE of plain SQL."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from itertools import count
from typing import Any

from recipelab.core.errors import LineageError, unknown_name
from recipelab.core.trial import FailureKind, Standing, Status
from recipelab.lineage.database import Transaction
from recipelab.lineage.lookup import (
    LARGEST_NUMBER,
    goal_of,
    last_trial_id,
    number_of,
    trial_key,
)
from recipelab.lineage.values import LARGEST_INTEGER, clean, cut_name, to_stamp

ORDERS = ("newest", "oldest", "best", "worst")
GOALS = ("minimize", "maximize")
MAX_LIMIT = 200
MAX_TEXT = 1_000
MAX_NAMES = 50
"""Names that one part of a filter may list."""
COUNTED = 1_001
"""Counting what matches a filter stops here."""

MAX_PHRASES = 32
"""Phrases that a text may ask for; the rest is left out."""

FAMILY = 2_000
"""Up to so many descendants are gathered; among more, trials are asked whether they are one."""

WALKED = 1_000
"""Trials that are asked so at once."""

_BELOW = """
WITH RECURSIVE below (id) AS (
  SELECT trial_id FROM parent WHERE parent_id = :id AND position = 0
  UNION ALL SELECT p.trial_id FROM below b JOIN parent p ON p.parent_id = b.id
  WHERE p.position = 0
)
SELECT id FROM below LIMIT :limit
"""
_ABOVE = """
WITH RECURSIVE above (id, parent_id) AS (
  SELECT id, parent_id FROM trial WHERE id IN :ids
  UNION SELECT t.id, t.parent_id FROM above a JOIN trial t ON t.id = a.parent_id
  WHERE a.parent_id <> :ancestor
)
SELECT id, parent_id FROM above
"""

_FAILURES = "SELECT id, kind, signature FROM failure WHERE campaign_id = :campaign"

WORD = re.compile(r"[^\W_]+")
"""A word as the text index parts them: letters and digits."""


_KINDS: dict[str, type[StrEnum]] = {
    "statuses": Status,
    "standings": Standing,
    "failure_kinds": FailureKind,
}


def words_of(
    what: str, given: str | Iterable[str], kind: type[StrEnum] | None = None
) -> tuple[str, ...]:
    """Return the words of one part of a filter.

    Args:
        what: What the part is called in an error.
        given: Words, or members of the enumeration; a single one may stand alone.
        kind: The enumeration that the words are of; ``None`` takes any word.

    Raises:
        LineageError: A word is none of the enumeration's; the message lists those.
    """
    words = (given,) if isinstance(given, str) else tuple(given)
    if kind is None:
        return words
    for word in words:
        check_name(what, word, tuple(kind))
    return tuple(kind(word) for word in words)


@dataclass(frozen=True)
class TrialFilter:
    """Which trials to give, and in which order. All that is given must hold.

    Statuses, standings and kinds of failure may be given as words: ``statuses=("kept",)``.

    Attributes:
        statuses: Only trials that ended so; empty for any.
        standings: Only kept trials whose gain is proven so well by now; empty for any.
        surfaces: Only trials on these surfaces; empty for any.
        specialists: Only trials by these specialists; empty for any.
        failure_kinds: Only trials that failed so; empty for any.
        signature: Text that the failure's signature contains, in any case.
        parent: Only children of the trial with this number.
        ancestor: Only trials that descend from the trial with this number, by first parents.
        text: Words that all occur in hypothesis, reason, diff, or the failure's excerpt or
            signature, in any case and order. Whole words, parted by all but letters and digits:
            ``rate`` finds ``learning_rate`` and ``rate=0.1``, not ``rates``; ``learning_rate``
            finds those two words beside each other.
        in_flight: Only trials that wait for their outcome, or only judged ones.
        min_score: Only trials with at least this score.
        max_score: Only trials with at most this score.
        since: Only trials proposed at this time or later. A time without a zone is in UTC.
        until: Only trials proposed before this time.
        order: ``newest``, ``oldest``, ``best`` or ``worst`` first. Trials without a score come
            last in the last two, and of equal scores the older trial comes first.
        goal: Which scores are best: ``minimize`` or ``maximize``; ``None`` for what the campaign
            says.
        limit: How many trials at most, from 1 to 200.
        offset: How many to pass over.

    Raises:
        LineageError: A word is none of those that are valid, which the message lists, or limit,
            offset, a text, a list or a score is out of bounds.
    """

    statuses: tuple[Status, ...] = ()
    standings: tuple[Standing, ...] = ()
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
    goal: str | None = None
    limit: int = 50
    offset: int = 0

    def __post_init__(self) -> None:
        for name, kind in _KINDS.items():
            object.__setattr__(self, name, words_of(name, getattr(self, name), kind))
        for name in ("surfaces", "specialists"):
            object.__setattr__(self, name, words_of(name, getattr(self, name)))
        check_name("order", self.order, ORDERS)
        if self.goal is not None:
            check_name("goal", self.goal, GOALS)
        check_page(self.limit, self.offset)
        check_text(self.text, self.signature)
        if max(len(self.surfaces), len(self.specialists)) > MAX_NAMES:
            raise LineageError(f"a filter may list {MAX_NAMES} surfaces or specialists at most")
        for bound in (self.min_score, self.max_score):
            if bound is not None and not math.isfinite(bound):
                raise LineageError(f"a score must be a finite number, not {bound}")

    @property
    def by_number(self) -> bool:
        """Whether the order is that of the numbers."""
        return self.order in ("newest", "oldest")

    @property
    def is_plain(self) -> bool:
        """Whether all trials match."""
        return self == TrialFilter(
            order=self.order, goal=self.goal, limit=self.limit, offset=self.offset
        )

    @property
    def is_tallied(self) -> bool:
        """Whether the tally knows how many trials match."""
        tallied = TrialFilter(
            statuses=self.statuses,
            surfaces=self.surfaces,
            specialists=self.specialists,
            failure_kinds=self.failure_kinds,
            signature=self.signature,
            in_flight=self.in_flight,
            order=self.order,
            goal=self.goal,
            limit=self.limit,
            offset=self.offset,
        )
        return self == tallied


def check_name(what: str, name: str, valid: tuple[str, ...]) -> None:
    """Check that a name is one of the valid ones.

    Raises:
        LineageError: It is not; the message lists them.
    """
    if name not in valid:
        raise LineageError(unknown_name(what, name, valid))


def check_page(limit: int, offset: int) -> None:
    """Check the bounds of a page.

    Raises:
        LineageError: The limit is not from 1 to 200, or the offset is negative.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise LineageError(f"limit must be from 1 to {MAX_LIMIT}, not {limit}")
    if offset < 0:
        raise LineageError(f"offset must not be negative: {offset}")


def check_text(*texts: str | None) -> None:
    """Check the length of texts to look for.

    Raises:
        LineageError: One is too long.
    """
    if any(len(text or "") > MAX_TEXT for text in texts):
        raise LineageError(f"text to look for may have {MAX_TEXT:,} characters at most")


@dataclass(frozen=True)
class Found:
    """Ids of a page of trials, and how many match in all; if ``capped``, at least so many."""

    ids: tuple[int, ...]
    total: int
    capped: bool = False


def find_trials(transaction: Transaction, campaign_id: int, wanted: TrialFilter) -> Found:
    """Find a page of the trials that match a filter.

    Args:
        transaction: Where to look.
        campaign_id: Whose trials.
        wanted: Which ones, and in which order.
    """
    if wanted.is_plain and wanted.by_number:
        return _numbered(transaction, campaign_id, wanted)
    if wanted.goal is None and not wanted.by_number:
        wanted = replace(wanted, goal=goal_of(transaction, campaign_id))
    matching = _Matching(transaction, campaign_id, wanted)
    if wanted.is_tallied:
        ids = matching.ids(wanted.limit, min(wanted.offset, LARGEST_INTEGER))
        return Found(tuple(ids), _tallied(transaction, campaign_id, wanted))
    # One walk finds the page and counts what matches, up to the cap.
    end = wanted.offset + wanted.limit
    ids = matching.ids(max(end, COUNTED)) if end <= LARGEST_INTEGER else matching.ids(COUNTED)
    total = len(ids)
    page = ids[min(wanted.offset, total) : end]
    return Found(tuple(page), min(total, COUNTED), capped=total >= COUNTED)


def _numbered(transaction: Transaction, campaign_id: int, wanted: TrialFilter) -> Found:
    """Find a page of all trials. Numbers have no gaps, so nothing needs to be looked for."""
    last = last_trial_id(transaction, campaign_id)
    total = 0 if last is None else number_of(last) + 1
    numbers = range(total) if wanted.order == "oldest" else range(total)[::-1]
    page = numbers[min(wanted.offset, total) :][: wanted.limit]
    return Found(tuple(trial_key(campaign_id, number) for number in page), total)


class _Matching:
    """The query of a filter: what it reads from, its conditions, its order and its parameters."""

    def __init__(self, transaction: Transaction, campaign_id: int, wanted: TrialFilter) -> None:
        low = trial_key(campaign_id, 0)
        self._transaction = transaction
        self._wanted = wanted
        self._source = "trial t"
        self._key = "t.id"
        self._ancestor_id: int | None = None
        self._conditions: list[str] = []
        self._values: dict[str, Any] = {
            "campaign": campaign_id,
            "low": low,
            "high": low + LARGEST_NUMBER,
        }
        for condition, values in listed_conditions(transaction, campaign_id, wanted):
            self._add(condition, **values)
        self._add_bounds()
        if wanted.standings:
            self._add("t.standing IN :standings", standings=[s.value for s in wanted.standings])
        if wanted.signature:
            pass  # Its failures are few, and of this campaign alone.
        elif self._conditions or not wanted.by_number:
            # Indexes that begin with the campaign help with these conditions, and with scores.
            self._add("t.campaign_id = :campaign")
        elif not wanted.text:
            self._add("t.id BETWEEN :low AND :high")
        if wanted.statuses and wanted.surfaces:
            # A sum, so that SQLite finds the few matches by both and sorts them then.
            self._key = "t.id + 0"
        if wanted.in_flight is not None:
            self._add(f"t.status IS {'' if wanted.in_flight else 'NOT '}NULL")
        self._add_relatives()
        if wanted.text:
            self._add_text(wanted.text)

    def ids(self, limit: int, offset: int = 0) -> list[int]:
        """Return the ids of what matches, in order."""
        if self._ancestor_id is None:
            return self._page(limit, offset)
        found: list[int] = []
        for place in count(0, WALKED):
            page = self._page(WALKED, place)
            descend = descendants_among(self._transaction, page, self._ancestor_id)
            found += [trial_id for trial_id in page if trial_id in descend]
            if len(page) < WALKED or len(found) >= offset + limit:
                break
        return found[offset:][:limit]

    def _page(self, limit: int, offset: int) -> list[int]:
        return self._transaction.values(
            f"SELECT {self._key} FROM {self._source} WHERE {' AND '.join(self._conditions)} "
            f"ORDER BY {self._order} LIMIT :limit OFFSET :offset",
            **self._values,
            limit=limit,
            offset=offset,
        )

    @property
    def _order(self) -> str:
        if self._wanted.by_number:
            return f"{self._key} {'DESC' if self._wanted.order == 'newest' else 'ASC'}"
        low_first = (self._wanted.order == "best") == (self._wanted.goal == "minimize")
        return f"t.score {'ASC' if low_first else 'DESC'} NULLS LAST, {self._key}"

    def _add(self, condition: str, **values: Any) -> None:
        self._conditions.append(condition)
        self._values |= values

    def _add_bounds(self) -> None:
        wanted = self._wanted
        if wanted.min_score is not None:
            self._add("t.score >= :min_score", min_score=wanted.min_score)
        if wanted.max_score is not None:
            self._add("t.score <= :max_score", max_score=wanted.max_score)
        if wanted.since is not None:
            self._add("t.proposed_at >= :since", since=to_stamp(wanted.since))
        if wanted.until is not None:
            self._add("t.proposed_at < :until", until=to_stamp(wanted.until))

    def _add_relatives(self) -> None:
        parent, ancestor = self._wanted.parent, self._wanted.ancestor
        if parent is not None and not 0 <= parent <= LARGEST_NUMBER:
            self._add("1 = 0")
        elif parent is not None:
            self._add(
                "t.id IN (SELECT trial_id FROM parent WHERE parent_id = :parent)",
                parent=self._values["low"] + parent,
            )
        if ancestor is not None:
            ancestor_id = self._values["low"] + ancestor
            few = self._transaction.values(_BELOW, id=ancestor_id, limit=FAMILY + 1)
            if len(few) <= FAMILY:
                self._add("t.id IN :descendants", descendants=few)
            else:
                self._ancestor_id = ancestor_id

    def _add_text(self, text: str) -> None:
        phrases = phrases_of(text)
        if not phrases:
            self._add("1 = 0")
            return
        is_alone = not self._conditions and self._wanted.by_number
        self._source, self._key = word_source(self._transaction, with_trials=not is_alone)
        condition, values = match_all(self._transaction, phrases)
        self._add(condition, **values)
        self._add(f"{self._key} BETWEEN :low AND :high")


def descendants_among(transaction: Transaction, ids: Sequence[int], ancestor_id: int) -> set[int]:
    """Return those of some trials that descend from one by first parents."""
    above = transaction.pairs(_ABOVE, ids=list(ids), ancestor=ancestor_id)
    descends = {ancestor_id: True}
    for trial_id in above:
        # A parent may have the higher number, so numbers do not order the steps.
        path: list[int] = []
        step: int | None = trial_id
        while step is not None and step not in descends:
            path.append(step)
            step = above.get(step)
        descends |= dict.fromkeys(path, step is not None and descends[step])
    return {trial_id for trial_id in above if descends[trial_id]} - {ancestor_id}


Condition = tuple[str, dict[str, Any]]
"""A condition in SQL, and its parameters."""


def listed_conditions(
    transaction: Transaction, campaign_id: int, wanted: TrialFilter
) -> Iterator[Condition]:
    """Yield the conditions of a filter on columns that trials and tallies have in common."""
    listed = {
        "status": [status.value for status in wanted.statuses],
        "surface": [cut_name(name) for name in wanted.surfaces],
        "specialist": [cut_name(name) for name in wanted.specialists],
    }
    for column, names in listed.items():
        # Equality leaves an index in the order of what comes after; a list does not.
        if len(names) == 1:
            yield f"{column} = :{column}", {column: names[0]}
        elif names:
            yield f"{column} IN :{column}", {column: names}
    if wanted.failure_kinds or wanted.signature:
        kinds, sought = wanted.failure_kinds, clean(wanted.signature or "").casefold()
        # Looked through here: databases fold the case of letters in ways of their own.
        failures = [
            failure_id
            for failure_id, kind, signature in transaction.rows(_FAILURES, campaign=campaign_id)
            if (not kinds or kind in kinds) and sought in signature.casefold()
        ]
        yield "failure_id IN :failures", {"failures": failures}


def _tallied(transaction: Transaction, campaign_id: int, wanted: TrialFilter) -> int:
    """Count what matches a filter that the tally can answer."""
    conditions, parameters = ["campaign_id = :campaign"], dict[str, Any](campaign=campaign_id)
    for condition, values in listed_conditions(transaction, campaign_id, wanted):
        conditions.append(condition)
        parameters |= values
    if wanted.in_flight is not None:
        conditions.append("status = ''" if wanted.in_flight else "status <> ''")
    total = transaction.value(
        f"SELECT sum(trials) FROM tally WHERE {' AND '.join(conditions)}", **parameters
    )
    return int(total or 0)


def phrases_of(text: str) -> list[str]:
    """Return what a text asks for: the words of each of its pieces between spaces."""
    pieces = (" ".join(WORD.findall(piece)) for piece in clean(text).split())
    return list(dict.fromkeys(piece for piece in pieces if piece))[:MAX_PHRASES]


def word_source(transaction: Transaction, *, with_trials: bool = False) -> tuple[str, str]:
    """Return the tables of a query that asks the text index, and the column of the trial's id."""
    if transaction.database.is_sqlite:
        # CROSS, so that SQLite asks the index first.
        trials = " CROSS JOIN trial t ON t.id = trial_words.rowid" if with_trials else ""
        return f"trial_words{trials}", "trial_words.rowid"
    trials = " JOIN trial t ON t.id = x.trial_id" if with_trials else ""
    return f"trial_text x{trials}", "x.trial_id"


def match_all(transaction: Transaction, phrases: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Return the condition that a trial has all of some phrases, and its parameters."""
    if transaction.database.is_sqlite:
        return "trial_words MATCH :phrases", {"phrases": " AND ".join(map(_quoted, phrases))}
    values = {f"phrase{place}": phrase for place, phrase in enumerate(phrases)}
    asked = " && ".join(f"phraseto_tsquery('simple', :{name})" for name in values)
    return f"x.words @@ ({asked})", values


def _quoted(phrase: str) -> str:
    return f'"{phrase}"'  # No word holds a quote.
