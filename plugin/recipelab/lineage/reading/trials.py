"""The part of the reader that gives trials."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Select, bindparam, select
from sqlmodel import col

from recipelab.core.trial import Status
from recipelab.lineage.answers import TrialBrief
from recipelab.lineage.finding import find_trial
from recipelab.lineage.keys import hashed
from recipelab.lineage.query import LARGEST, MAX_LIMIT, TrialFilter, check_page
from recipelab.lineage.reading.ancestors import chain_ids, depth_of
from recipelab.lineage.reading.base import Asking
from recipelab.lineage.reading.briefs import trial_briefs
from recipelab.lineage.reading.counting import exact_total, last_kept
from recipelab.lineage.reading.frames import TrialBriefs
from recipelab.lineage.reading.loading import trial_records
from recipelab.lineage.reading.recipes import recipe_files
from recipelab.lineage.reading.search import Found, search
from recipelab.lineage.records import Page, TrialRecord
from recipelab.lineage.tables import TrialKeyRow, TrialRow
from recipelab.lineage.text import clean

_UNMEASURED = (Status.REJECTED.value, Status.ABORTED.value)


class TrialReader(Asking):
    """Gives trials: whole ones as records, many as briefs."""

    def trial(self, campaign: str, number: int) -> TrialRecord:
        """One trial.

        Raises:
            LineageError: There is no such trial; the message says which there are.
        """
        with self._asking(campaign) as (connection, campaign_id):
            trial_id = find_trial(connection, campaign_id, number, campaign)
            return trial_records(connection, [trial_id])[0]

    def brief(self, campaign: str, number: int) -> TrialBrief:
        """One trial in one row.

        Raises:
            LineageError: There is no such trial; the message says which there are.
        """
        with self._asking(campaign) as (connection, campaign_id):
            trial_id = find_trial(connection, campaign_id, number, campaign)
            return trial_briefs(connection, [trial_id])[0]

    def files(self, campaign: str, number: int) -> dict[str, str]:
        """The files of a trial's recipe: path to text. Empty if it has no recipe.

        Raises:
            LineageError: There is no such trial; the message says which there are.
        """
        with self._asking(campaign) as (connection, campaign_id):
            return recipe_files(connection, find_trial(connection, campaign_id, number, campaign))

    def query(self, campaign: str, wanted: TrialFilter) -> Page[TrialRecord]:
        """The trials that match a filter, one page of them, whole.

        Raises:
            LineageError: The filter's ancestor is no trial.
        """
        with self._finding(campaign, wanted) as (connection, found):
            return Page(trial_records(connection, found.ids), found.total, found.capped)

    def briefs(self, campaign: str, wanted: TrialFilter) -> Page[TrialBrief]:
        """The trials that match a filter, one page of them, each in one row.

        The total is counted up to 1,001, unless the filter is by statuses, by surfaces or by
        specialists alone, or leaves few trials: then it is exact.

        Raises:
            LineageError: The filter's ancestor is no trial.
        """
        with self._finding(campaign, wanted) as (connection, found):
            return Page(trial_briefs(connection, found.ids), found.total, found.capped)

    @contextmanager
    def _finding(self, campaign: str, wanted: TrialFilter) -> Iterator[tuple[Connection, Found]]:
        with self._asking(campaign) as (connection, campaign_id):
            ancestor_id = None
            if wanted.ancestor is not None:
                ancestor_id = find_trial(connection, campaign_id, wanted.ancestor, campaign)
            found = search(connection, campaign_id, wanted, ancestor_id)
            if found.capped:
                exact = exact_total(connection, campaign_id, wanted)
                found = found if exact is None else Found(found.ids, exact, capped=False)
            yield connection, found

    def trials(self, campaign: str, **wanted: Any) -> TrialBriefs:
        """All trials that match, for scripts and notebooks.

        Args:
            campaign: Name of the campaign.
            **wanted: As in :class:`TrialFilter`, without a limit unless one is given.

        Returns:
            A sequence of briefs, oldest first unless an order is given; ``to_pandas()`` and
            ``to_polars()`` make a frame of it.
        """
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

    def children(
        self, campaign: str, number: int, *, limit: int = 50, offset: int = 0
    ) -> Page[TrialBrief]:
        """The trials made from a trial, as first or other parent, newest first.

        Raises:
            LineageError: There is no such trial, or limit or offset is out of bounds.
        """
        with self._asking(campaign) as (connection, campaign_id):
            find_trial(connection, campaign_id, number, campaign)
        return self.briefs(campaign, TrialFilter(parent=number, limit=limit, offset=offset))

    def in_flight(self, campaign: str) -> tuple[TrialRecord, ...]:
        """The trials that have no outcome yet, lowest number first."""
        with self._asking(campaign) as (connection, campaign_id):
            return trial_records(connection, _in_flight(connection, campaign_id))

    def in_flight_briefs(self, campaign: str) -> tuple[TrialBrief, ...]:
        """The trials that have no outcome yet, lowest number first, each in one row."""
        with self._asking(campaign) as (connection, campaign_id):
            return trial_briefs(connection, _in_flight(connection, campaign_id))

    def best(self, campaign: str) -> TrialRecord:
        """The best trial: the last one that was judged kept, or else the baseline.

        Raises:
            LineageError: The campaign has no trials yet.
        """
        with self._asking(campaign) as (connection, campaign_id):
            return trial_records(connection, [best_id(connection, campaign_id, campaign)])[0]

    def best_brief(self, campaign: str) -> TrialBrief:
        """The best trial in one row.

        Raises:
            LineageError: The campaign has no trials yet.
        """
        with self._asking(campaign) as (connection, campaign_id):
            return trial_briefs(connection, [best_id(connection, campaign_id, campaign)])[0]

    def chain(self, campaign: str, number: int) -> tuple[TrialRecord, ...]:
        """The trials that led to a trial, from the root to itself, by first parents.

        Raises:
            LineageError: There is no such trial; the message says which there are.
        """
        with self._asking(campaign) as (connection, campaign_id):
            trial_id = find_trial(connection, campaign_id, number, campaign)
            return trial_records(connection, chain_ids(connection, trial_id, LARGEST))

    def chain_briefs(self, campaign: str, number: int, *, limit: int = 50) -> Page[TrialBrief]:
        """The last trials that led to a trial, the oldest of them first, itself last.

        Raises:
            LineageError: There is no such trial, or the limit is out of bounds.
        """
        check_page(limit, 0)
        with self._asking(campaign) as (connection, campaign_id):
            trial_id = find_trial(connection, campaign_id, number, campaign)
            items = trial_briefs(connection, chain_ids(connection, trial_id, limit))
            return Page(items, depth_of(connection, trial_id) + 1)

    def find_digest(self, campaign: str, digest: str) -> TrialRecord | None:
        """The first trial that measured this recipe or is about to, if there is one.

        Rejected and aborted trials measured nothing, so they do not count.
        """
        with self._asking(campaign) as (connection, campaign_id):
            found = connection.scalars(with_digest(campaign_id, digest).limit(1))
            return next(iter(trial_records(connection, found)), None)


def with_digest(campaign_id: int, digest: str) -> Select[int]:
    """Selects the trials that measured a recipe or are about to, lowest number first."""
    key = hashed(campaign_id, "digest", clean(digest))
    return with_key(key).where(col(TrialRow.digest) == clean(digest))


def with_key(key: int) -> Select[int]:
    """Selects the trials under a key that measured something or are about to, lowest first."""
    status = col(TrialRow.status)
    return (
        select(col(TrialRow.id))
        .join(TrialKeyRow, col(TrialKeyRow.trial_id) == col(TrialRow.id))
        .where(col(TrialKeyRow.key) == key)
        .where(status.is_(None) | status.not_in(_UNMEASURED))
        .order_by(col(TrialRow.id))
    )


_UNJUDGED = (
    select(col(TrialRow.id))
    .where(col(TrialRow.campaign_id) == bindparam("campaign_id"), col(TrialRow.status).is_(None))
    .order_by(col(TrialRow.id))
)


def _in_flight(connection: Connection, campaign_id: int) -> list[int]:
    return list(connection.scalars(_UNJUDGED, {"campaign_id": campaign_id}))


def best_id(connection: Connection, campaign_id: int, campaign: str) -> int:
    """The id of the best trial.

    Raises:
        LineageError: The campaign has no trials yet.
    """
    kept = last_kept(connection, campaign_id)
    return find_trial(connection, campaign_id, 0, campaign) if kept is None else kept
