"""The part of the store that answers questions. It never writes, and never waits for a writer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, Select, func, literal, select
from sqlmodel import col

from recipelab.lineage.finding import check_round, find_campaign, find_trial, ids_of
from recipelab.lineage.loading import campaign_record, message_record, trial_records
from recipelab.lineage.query import TrialFilter, count_query, page_query
from recipelab.lineage.records import CampaignRecord, MessageRecord, Page, TrialRecord
from recipelab.lineage.tables import (
    CampaignRow,
    MessageRow,
    ParentRow,
    RecipeFileRow,
    TrialFileRow,
    TrialRow,
)
from recipelab.lineage.text import clean
from recipelab.trial import Status


class LineageReader:
    """Answers questions about campaigns, trials and messages.

    Every method that takes the name of a campaign raises :class:`LineageError`, which lists the
    campaigns there are, if there is none of that name.

    Args:
        engine: The open database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def _asking(self, campaign: str) -> Iterator[tuple[Connection, int]]:
        # A connection is one transaction: all the queries of an answer see the same moment.
        with self._engine.connect() as connection:
            yield connection, find_campaign(connection, campaign)["id"]

    def campaign(self, name: str) -> CampaignRecord:
        """One campaign."""
        with self._engine.connect() as connection:
            return campaign_record(find_campaign(connection, name))

    def campaigns(self) -> tuple[CampaignRecord, ...]:
        """All campaigns, oldest first."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(CampaignRow).order_by(col(CampaignRow.id)))
            return tuple(campaign_record(row) for row in rows.mappings())

    def trial(self, campaign: str, number: int) -> TrialRecord:
        """One trial.

        Raises:
            LineageError: There is no such trial; the message says which there are.
        """
        with self._asking(campaign) as (connection, campaign_id):
            trial_id = find_trial(connection, campaign_id, number, campaign)
            return trial_records(connection, [trial_id])[0]

    def files(self, campaign: str, number: int) -> dict[str, str]:
        """The files of a trial's recipe: path to text. Empty if it has no recipe.

        Raises:
            LineageError: There is no such trial; the message says which there are.
        """
        with self._asking(campaign) as (connection, campaign_id):
            trial_id = find_trial(connection, campaign_id, number, campaign)
            statement = (
                select(col(TrialFileRow.path), col(RecipeFileRow.content))
                .join(RecipeFileRow, col(TrialFileRow.sha256) == col(RecipeFileRow.sha256))
                .where(col(TrialFileRow.trial_id) == trial_id)
                .order_by(col(TrialFileRow.path))
            )
            return {path: content for path, content in connection.execute(statement)}

    def trial_count(self, campaign: str) -> int:
        """How many trials the campaign has, those in flight included."""
        return sum(self.counts(campaign).values())

    def counts(self, campaign: str) -> dict[Status | None, int]:
        """How many trials ended in each way; ``None`` counts those in flight.

        Returns:
            Only what there is, in the order of :class:`Status`, with ``None`` last.
        """
        with self._asking(campaign) as (connection, campaign_id):
            statement = (
                select(col(TrialRow.status), func.count())
                .where(col(TrialRow.campaign_id) == campaign_id)
                .group_by(col(TrialRow.status))
            )
            found = {status: count for status, count in connection.execute(statement)}
        return {status: found[status] for status in (*Status, None) if status in found}

    def find_digest(self, campaign: str, digest: str) -> TrialRecord | None:
        """The first trial that measured this recipe or is about to, if there is one.

        Rejected and aborted trials measured nothing, so they do not count.
        """
        unmeasured = (Status.REJECTED.value, Status.ABORTED.value)
        status = col(TrialRow.status)
        with self._asking(campaign) as (connection, campaign_id):
            statement = (
                ids_of(campaign_id)
                .where(col(TrialRow.digest) == clean(digest))
                .where(status.is_(None) | status.not_in(unmeasured))
                .order_by(col(TrialRow.number))
                .limit(1)
            )
            return next(iter(trial_records(connection, connection.scalars(statement))), None)

    def in_flight(self, campaign: str) -> tuple[TrialRecord, ...]:
        """The trials that have no outcome yet, lowest number first."""
        with self._asking(campaign) as (connection, campaign_id):
            # Few are in flight. Ordered in SQL, SQLite would walk through all by number.
            unjudged = ids_of(campaign_id).where(col(TrialRow.status).is_(None))
            records = trial_records(connection, connection.scalars(unjudged))
        return tuple(sorted(records, key=lambda record: record.number))

    def best(self, campaign: str) -> TrialRecord:
        """The best trial: the last one that was judged kept, or else the baseline.

        Raises:
            LineageError: The campaign has no trials yet.
        """
        with self._asking(campaign) as (connection, campaign_id):
            kept = (
                ids_of(campaign_id)
                .where(col(TrialRow.status) == Status.KEPT.value)
                .order_by(col(TrialRow.judged_order).desc())
                .limit(1)
            )
            trial_id = connection.scalar(kept)
            if trial_id is None:
                trial_id = find_trial(connection, campaign_id, 0, campaign)
            return trial_records(connection, [trial_id])[0]

    def chain(self, campaign: str, number: int) -> tuple[TrialRecord, ...]:
        """The trials that led to a trial, from the root to itself, by first parents.

        Raises:
            LineageError: There is no such trial; the message says which there are.
        """
        with self._asking(campaign) as (connection, campaign_id):
            trial_id = find_trial(connection, campaign_id, number, campaign)
            # A parent is older than its children, so numbers order the chain.
            statement = _ancestors(trial_id).order_by(col(TrialRow.number))
            return trial_records(connection, connection.scalars(statement))

    def query(self, campaign: str, wanted: TrialFilter) -> Page[TrialRecord]:
        """The trials that match a filter, one page of them."""
        with self._asking(campaign) as (connection, campaign_id):
            ids = connection.scalars(page_query(campaign_id, wanted))
            items = trial_records(connection, ids)
            total = connection.scalar(count_query(campaign_id, wanted)) or 0
            return Page(items, total)

    def messages(
        self, campaign: str, round_number: int | None = None, trial: int | None = None
    ) -> tuple[MessageRecord, ...]:
        """The messages of a campaign in the order in which they were said.

        Args:
            campaign: Name of the campaign.
            round_number: Only this round; ``None`` for all.
            trial: Only what is about the trial with this number; ``None`` for all.

        Raises:
            LineageError: There is no such round or trial; the message says which there are.
        """
        with self._asking(campaign) as (connection, campaign_id):
            statement = select(MessageRow).where(col(MessageRow.campaign_id) == campaign_id)
            if round_number is not None:
                check_round(connection, campaign_id, round_number, campaign)
                statement = statement.where(col(MessageRow.round_number) == round_number)
            if trial is not None:
                find_trial(connection, campaign_id, trial, campaign)
                statement = statement.where(col(MessageRow.trial_number) == trial)
            rows = connection.execute(statement.order_by(col(MessageRow.position)))
            return tuple(message_record(row) for row in rows.mappings())


def _ancestors(trial_id: int) -> Select[int]:
    chain = select(literal(trial_id).label("id")).cte("chain", recursive=True)
    older = select(col(ParentRow.parent_id)).where(
        col(ParentRow.trial_id) == chain.c.id, col(ParentRow.position) == 0
    )
    chain = chain.union_all(older)
    return select(col(TrialRow.id)).join(chain, col(TrialRow.id) == chain.c.id)
