"""Read trials: whole ones as records, many as briefs, and their parts."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from typing import Any

from recipelab.core.errors import LineageError
from recipelab.core.trial import (
    Edit,
    GateResult,
    Standing,
    Status,
)
from recipelab.lineage.database import Transaction
from recipelab.lineage.filter import (
    MAX_LIMIT,
    TrialFilter,
    check_name,
    check_page,
    find_trials,
    words_of,
)
from recipelab.lineage.lookup import (
    LARGEST_NUMBER,
    Found,
    OpenLineage,
    number_of,
    read_trial,
    trial_id_of,
    trial_ids_of,
    trial_key,
)
from recipelab.lineage.past import PastTrial, past_trials
from recipelab.lineage.records import Page, TrialBrief, TrialBriefs, TrialRecord
from recipelab.lineage.trial_reads import (
    json_parts,
    load_briefs,
    recipes_of,
    trial_briefs,
    trial_records,
)
from recipelab.lineage.values import parent_numbers

STREAMED = 500
"""Trials that are in memory at once while they are read one by one."""

_MOST_PARTS = MAX_LIMIT + 1
"""Trials whose parts can be asked for at once: a page, and the best beside it."""

_PARTS = tuple(part.name for part in fields(TrialFilter))

_IN_FLIGHT = "SELECT id FROM trial WHERE campaign_id = :campaign AND status IS NULL ORDER BY id"
_CHAIN = """
WITH RECURSIVE chain (id, parent_id, steps) AS (
  SELECT id, parent_id, 0 FROM trial WHERE id = :id
  UNION ALL
  SELECT t.id, t.parent_id, c.steps + 1 FROM chain c JOIN trial t ON t.id = c.parent_id
)
SELECT id FROM chain ORDER BY steps DESC
"""


def _last_of(*standings: Standing) -> str:
    """Return the query of the last kept trial of some standings."""
    # One step in the index for each: in a list, all kept trials would have to be sorted first.
    each = " UNION ALL ".join(
        f"SELECT * FROM (SELECT id, judged_order FROM trial WHERE campaign_id = :campaign "
        f"AND standing = '{standing.value}' ORDER BY judged_order DESC LIMIT 1) AS {standing.value}"
        for standing in standings
    )
    return f"SELECT id FROM ({each}) AS last ORDER BY judged_order DESC LIMIT 1"


_HEAD = _last_of(*(standing for standing in Standing if standing is not Standing.UNPROVEN))
_CERTIFIED = _last_of(Standing.CERTIFIED)
_PROPOSED = "SELECT parent_id, parents, proposed_at FROM trial WHERE id = :id"
# A trial that is unproven by now was a head until its line fell back.
_HEAD_AT = """
SELECT id FROM trial t
WHERE t.campaign_id = :campaign AND t.status = 'kept' AND t.judged_at <= :at
AND NOT (t.standing = 'unproven' AND EXISTS (
  SELECT 1 FROM checkpoint c WHERE c.campaign_id = :campaign AND c.fell_back
  AND c.made_at > t.judged_at AND c.made_at <= :at
))
ORDER BY t.judged_order DESC LIMIT 1
"""


class TrialReader(OpenLineage):
    """Answers questions about trials.

    Args:
        database: The open database.
    """

    def trial(self, campaign: str, number: int) -> TrialRecord:
        """Return a trial.

        Raises:
            LineageError: There is no such trial; the message says which there are.
        """
        with self._asking(campaign) as (transaction, campaign_id):
            return read_trial(transaction, campaign_id, number, campaign, trial_records)[0]

    def records_of(self, campaign: str, numbers: Sequence[int]) -> tuple[TrialRecord, ...]:
        """Return several trials, in the order in which they are asked for.

        Raises:
            LineageError: There is no such trial; the message says which there are.
        """
        return self._some(campaign, numbers, trial_records)

    def brief(self, campaign: str, number: int) -> TrialBrief:
        """Return a trial in one row.

        Raises:
            LineageError: There is no such trial; the message says which there are.
        """
        with self._asking(campaign) as (transaction, campaign_id):
            return read_trial(transaction, campaign_id, number, campaign, trial_briefs)[0]

    def briefs_of(self, campaign: str, numbers: Sequence[int]) -> tuple[TrialBrief, ...]:
        """Return several trials, each in one row, in the order in which they are asked for.

        Raises:
            LineageError: There is no such trial; the message says which there are.
        """
        return self._some(campaign, numbers, trial_briefs)

    def files(self, campaign: str, number: int) -> dict[str, str]:
        """Return the files of a trial's recipe, path to text; none if it has no recipe.

        Raises:
            LineageError: There is no such trial; the message says which there are.
        """
        with self._asking(campaign) as (transaction, campaign_id):
            recipes = read_trial(transaction, campaign_id, number, campaign, recipes_of)
            return recipes[trial_key(campaign_id, number)]

    def query(self, campaign: str, wanted: TrialFilter) -> Page[TrialRecord]:
        """Return a page of the trials that match a filter, whole.

        Raises:
            LineageError: The filter's ancestor is no trial.
        """
        with self._asking(campaign) as (transaction, campaign_id):
            if wanted.ancestor is not None:
                trial_id_of(transaction, campaign_id, wanted.ancestor, campaign)
            found = find_trials(transaction, campaign_id, wanted)
            return Page(trial_records(transaction, found.ids), found.total, found.capped)

    def briefs(self, campaign: str, wanted: TrialFilter) -> Page[TrialBrief]:
        """Return a page of the trials that match a filter, each in one row.

        The total is counted up to 1,001, unless the filter is by statuses, surfaces and
        specialists alone, or the page is not full: then it is exact.

        Raises:
            LineageError: The filter's ancestor is no trial.
        """
        with self._asking(campaign) as (transaction, campaign_id):
            if wanted.ancestor is not None:
                trial_id_of(transaction, campaign_id, wanted.ancestor, campaign)
            found = find_trials(transaction, campaign_id, wanted)
            return Page(trial_briefs(transaction, found.ids), found.total, found.capped)

    def trials(self, campaign: str, **wanted: Any) -> TrialBriefs:
        """Return all trials that match, for scripts and notebooks.

        Args:
            campaign: Name of the campaign.
            **wanted: As in :class:`TrialFilter`, without a limit unless one is given.

        Returns:
            A sequence of briefs, oldest first unless an order is given; ``to_pandas()`` and
            ``to_polars()`` make a frame of it.

        Raises:
            LineageError: There is no such part of a filter, or a word in it is none of those that
                are valid; the message lists them.
        """
        for name in wanted:
            check_name("part of a filter", name, _PARTS)
        limit, offset = wanted.pop("limit", None), wanted.pop("offset", 0)
        wanted.setdefault("order", "oldest")
        items: list[TrialBrief] = []
        while limit is None or len(items) < limit:
            size = MAX_LIMIT if limit is None else min(MAX_LIMIT, limit - len(items))
            page = TrialFilter(**wanted, limit=size, offset=offset + len(items))
            more = self.briefs(campaign, page).items
            items += more
            if len(more) < size:
                break
        return TrialBriefs(items)

    def each_trial(
        self, campaign: str, statuses: Sequence[Status] = (), *, after: int = -1
    ) -> Iterator[TrialRecord]:
        """Yield the trials of a campaign one by one, oldest first, however many there are.

        No transaction stays open meanwhile; trials that are proposed in the meantime are given
        too.

        Args:
            campaign: Name of the campaign.
            statuses: Only trials that ended so; empty for all.
            after: Only trials with a higher number.
        """
        while True:
            with self._asking(campaign) as (transaction, campaign_id):
                ids = _ids_after(transaction, campaign_id, statuses, after)
                page = trial_records(transaction, ids)
            yield from page
            if len(page) < STREAMED:
                return
            after = page[-1].number

    def each_brief(
        self, campaign: str, statuses: Sequence[Status] = (), *, after: int = -1
    ) -> Iterator[TrialBrief]:
        """Yield the trials of a campaign one by one, as :meth:`each_trial`, each in one row."""
        while True:
            with self._asking(campaign) as (transaction, campaign_id):
                ids = _ids_after(transaction, campaign_id, statuses, after)
                page = load_briefs(transaction, ids)
            yield from (page[key] for key in ids)
            if len(ids) < STREAMED:
                return
            after = number_of(ids[-1])

    def each_past_trial(self, campaign: str, *, after: int = -1) -> Iterator[PastTrial]:
        """Yield the trials of a campaign one by one, as :meth:`each_trial`, as statistics need
        them."""
        while True:
            with self._asking(campaign) as (transaction, campaign_id):
                page = past_trials(transaction, campaign_id, after=after, limit=STREAMED)
            yield from page
            if len(page) < STREAMED:
                return
            after = page[-1].number

    def children(
        self, campaign: str, number: int, *, limit: int = 50, offset: int = 0
    ) -> Page[TrialBrief]:
        """Return the trials made from a trial, as first or other parent, newest first.

        Raises:
            LineageError: There is no such trial, or limit or offset is out of bounds.
        """
        with self._asking(campaign) as (transaction, campaign_id):
            trial_id_of(transaction, campaign_id, number, campaign)
            wanted = TrialFilter(parent=number, limit=limit, offset=offset)
            found = find_trials(transaction, campaign_id, wanted)
            return Page(trial_briefs(transaction, found.ids), found.total, found.capped)

    def in_flight(self, campaign: str) -> tuple[TrialRecord, ...]:
        """Return the trials that have no outcome yet, lowest number first."""
        with self._asking(campaign) as (transaction, campaign_id):
            return trial_records(transaction, transaction.values(_IN_FLIGHT, campaign=campaign_id))

    def in_flight_briefs(
        self, campaign: str, *, limit: int | None = None
    ) -> tuple[TrialBrief, ...]:
        """Return the trials that have no outcome yet, lowest number first, each in one row.

        Args:
            campaign: Name of the campaign.
            limit: How many at most; ``None`` for all.
        """
        with self._asking(campaign) as (transaction, campaign_id):
            ids = transaction.values(_IN_FLIGHT, campaign=campaign_id)
            return trial_briefs(transaction, ids[:limit])

    def best(self, campaign: str) -> TrialRecord:
        """Return the head of the working line, or else the baseline.

        It is the last trial that was judged kept and whose standing is not ``unproven``: what
        others build on and are compared with. See :meth:`certified` for what is proven.

        Raises:
            LineageError: The campaign has no trials yet.
        """
        with self._asking(campaign) as (transaction, campaign_id):
            return trial_records(transaction, [best_id(transaction, campaign_id, campaign)])[0]

    def best_brief(self, campaign: str) -> TrialBrief:
        """Return the head of the working line, as :meth:`best`, in one row.

        Raises:
            LineageError: The campaign has no trials yet.
        """
        with self._asking(campaign) as (transaction, campaign_id):
            return trial_briefs(transaction, [best_id(transaction, campaign_id, campaign)])[0]

    def certified(self, campaign: str) -> TrialRecord:
        """Return the last kept trial whose standing is ``certified``, or else the baseline.

        Raises:
            LineageError: The campaign has no trials yet.
        """
        with self._asking(campaign) as (transaction, campaign_id):
            return trial_records(transaction, [certified_id(transaction, campaign_id, campaign)])[0]

    def certified_brief(self, campaign: str) -> TrialBrief:
        """Return the certified trial, as :meth:`certified`, in one row.

        Raises:
            LineageError: The campaign has no trials yet.
        """
        with self._asking(campaign) as (transaction, campaign_id):
            return trial_briefs(transaction, [certified_id(transaction, campaign_id, campaign)])[0]

    def winner_brief(self, campaign: str, *, head: bool = False) -> TrialBrief:
        """Return the trial that is taken home, in one row.

        It is the certified one. Where nothing is certified, it is the head if its policy tests
        nothing, else the baseline.

        Args:
            campaign: Name of the campaign.
            head: Whether the head of the working line is wanted, however well it is proven.

        Raises:
            LineageError: The campaign has no trials yet.
        """
        with self._asking(campaign) as (transaction, campaign_id):
            best, certified = (
                found(transaction, campaign_id, campaign) for found in (best_id, certified_id)
            )
            last = trial_briefs(transaction, [best])[0]
            is_proven = number_of(certified) or last.standing is not Standing.UNTESTED
            return last if head or not is_proven else trial_briefs(transaction, [certified])[0]

    def proposed_on_head(self, campaign: str, number: int) -> int | None:
        """Return the parent of a trial that was proposed on the head of its moment.

        Returns:
            Its parent of now: the head of that moment, or the one that the trial was moved onto
            since. ``None`` for a trial that was proposed on another one.

        Raises:
            LineageError: There is no such trial; the message says which there are.
        """
        with self._asking(campaign) as (transaction, campaign_id):
            trial_id = trial_id_of(transaction, campaign_id, number, campaign)
            ((parent_id, parents, proposed_at),) = transaction.rows(_PROPOSED, id=trial_id)
            if parent_id is None:
                return None
            head = transaction.value(_HEAD_AT, campaign=campaign_id, at=proposed_at)
            # A proposal has one parent; where its edit was moved, the old one follows the new one.
            was_moved = len(parent_numbers(parents)) > 1
            on_head = parent_id == (trial_key(campaign_id, 0) if head is None else head)
            return number_of(parent_id) if on_head or was_moved else None

    def chain(self, campaign: str, number: int) -> tuple[TrialRecord, ...]:
        """Return the trials that led to a trial, from the root to itself, by first parents.

        Raises:
            LineageError: There is no such trial; the message says which there are.
        """
        with self._asking(campaign) as (transaction, campaign_id):
            trial_id = trial_id_of(transaction, campaign_id, number, campaign)
            return trial_records(transaction, chain_ids(transaction, trial_id))

    def chain_briefs(self, campaign: str, number: int, *, limit: int = 50) -> Page[TrialBrief]:
        """Return the last trials that led to a trial, the oldest of them first, itself last.

        Raises:
            LineageError: There is no such trial, or the limit is out of bounds.
        """
        check_page(limit, 0)
        with self._asking(campaign) as (transaction, campaign_id):
            trial_id = trial_id_of(transaction, campaign_id, number, campaign)
            ids = chain_ids(transaction, trial_id)
            return Page(trial_briefs(transaction, ids[-limit:]), len(ids))

    def edits(self, campaign: str, numbers: Sequence[int]) -> dict[int, tuple[Edit, ...]]:
        """Return the edits of some trials.

        Args:
            campaign: Name of the campaign.
            numbers: Numbers of at most 201 trials.

        Returns:
            Edits by number, in order; trials without edits are left out.

        Raises:
            LineageError: Too many are asked for.
        """
        found = self._parts("edits", campaign, numbers)
        return {number: tuple(Edit(*edit) for edit in edits) for number, edits in found.items()}

    def gates(self, campaign: str, numbers: Sequence[int]) -> dict[int, tuple[GateResult, ...]]:
        """Return the gates of some trials, as far as they were judged.

        Args:
            campaign: Name of the campaign.
            numbers: Numbers of at most 201 trials.

        Returns:
            Gates by number, in order; trials without gates are left out.

        Raises:
            LineageError: Too many are asked for.
        """
        found = self._parts("gates", campaign, numbers)
        return {number: tuple(GateResult(*gate) for gate in part) for number, part in found.items()}

    def file_hashes(self, campaign: str, numbers: Sequence[int]) -> dict[int, dict[str, str]]:
        """Return the recipes of some trials without their texts, which many trials share.

        Args:
            campaign: Name of the campaign.
            numbers: Numbers of at most 201 trials.

        Returns:
            Path to SHA-256 by number, in the order of the paths; see :meth:`file_text`.

        Raises:
            LineageError: Too many are asked for.
        """
        found = self._parts("files", campaign, numbers)
        ids = {key for files in found.values() for key in files.values()}
        with self._reading() as transaction:
            hashes = transaction.pairs(
                "SELECT id, sha256 FROM recipe_file WHERE id IN :ids", ids=sorted(ids)
            )
        return {
            n: {path: hashes[files[path]] for path in sorted(files)} for n, files in found.items()
        }

    def file_text(self, sha256: str) -> str:
        """Return the text of a recipe's file by its SHA-256.

        Raises:
            LineageError: No recipe has such a file.
        """
        with self._reading() as transaction:
            data = transaction.value(
                "SELECT data FROM recipe_file WHERE sha256 = :sha256", sha256=sha256
            )
        if data is None:
            raise LineageError(f"no recipe in the lineage has a file with SHA-256 {sha256}")
        return zlib.decompress(data).decode()

    def _some(
        self,
        campaign: str,
        numbers: Sequence[int],
        read: Callable[[Transaction, Sequence[int]], tuple[Found, ...]],
    ) -> tuple[Found, ...]:
        with self._asking(campaign) as (transaction, campaign_id):
            return read(transaction, trial_ids_of(transaction, campaign_id, numbers, campaign))

    def _parts(self, column: str, campaign: str, numbers: Sequence[int]) -> dict[int, Any]:
        if len(numbers) > _MOST_PARTS:
            raise LineageError(f"at most {_MOST_PARTS} trials can be asked for, not {len(numbers)}")
        with self._asking(campaign) as (transaction, campaign_id):
            ids = [trial_key(campaign_id, n) for n in numbers if 0 <= n <= LARGEST_NUMBER]
            parts = json_parts(transaction, column, ids)
            return {number_of(trial_id): part for trial_id, part in parts.items()}

    def judged_order(self, campaign: str) -> tuple[int, ...]:
        """Return the numbers of the judged trials in the order in which they were judged."""
        with self._asking(campaign) as (transaction, campaign_id):
            numbers = transaction.values(
                "SELECT number FROM trial WHERE campaign_id = :campaign "
                "AND judged_order IS NOT NULL ORDER BY judged_order",
                campaign=campaign_id,
            )
            return tuple(numbers)

    def judged_after(self, campaign: str, place: int, *, limit: int) -> tuple[tuple[int, int], ...]:
        """Return the next judged trials, in the order in which they were judged.

        Args:
            campaign: Name of the campaign.
            place: The place in that order after which they are; -1 for the first of all.
            limit: How many at most.

        Returns:
            Of each its place and its number.
        """
        with self._asking(campaign) as (transaction, campaign_id):
            rows = transaction.rows(
                "SELECT judged_order, number FROM trial WHERE campaign_id = :campaign "
                "AND judged_order > :place ORDER BY judged_order LIMIT :limit",
                campaign=campaign_id,
                place=place,
                limit=limit,
            )
            return tuple((place, number) for place, number in rows)


def best_id(transaction: Transaction, campaign_id: int, campaign: str) -> int:
    """Return the id of the head of the working line, or else of the baseline.

    Raises:
        LineageError: The campaign has no trials yet.
    """
    return _found_or_baseline(transaction, _HEAD, campaign_id, campaign)


def certified_id(transaction: Transaction, campaign_id: int, campaign: str) -> int:
    """Return the id of the last certified trial, or else of the baseline.

    Raises:
        LineageError: The campaign has no trials yet.
    """
    return _found_or_baseline(transaction, _CERTIFIED, campaign_id, campaign)


def _found_or_baseline(
    transaction: Transaction, statement: str, campaign_id: int, campaign: str
) -> int:
    known = transaction.memo.get((statement, campaign_id))
    if known is not None:
        return int(known)
    found: int | None = transaction.value(statement, campaign=campaign_id)
    best = trial_id_of(transaction, campaign_id, 0, campaign) if found is None else found
    if transaction.reads_only:
        transaction.memo[statement, campaign_id] = best
    return best


def chain_ids(transaction: Transaction, trial_id: int) -> list[int]:
    """Return the ids from the root down to a trial, by first parents."""
    return transaction.values(_CHAIN, id=trial_id)


def _ids_after(
    transaction: Transaction, campaign_id: int, statuses: Sequence[Status], after: int
) -> list[int]:
    """Return the ids of the next trials for a reader that takes all, one page after another."""
    condition = "AND status IN :statuses " if statuses else ""
    return transaction.values(
        f"SELECT id FROM trial WHERE id BETWEEN :low AND :high {condition}ORDER BY id LIMIT :limit",
        low=trial_key(campaign_id, after + 1),
        high=trial_key(campaign_id, LARGEST_NUMBER),
        limit=STREAMED,
        **({"statuses": list(words_of("statuses", statuses, Status))} if statuses else {}),
    )
