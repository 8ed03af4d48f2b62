"""The part of the reader that gives campaigns, notes, usage and leases."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import select
from sqlmodel import col

from recipelab.lineage.answers import Lease, Note, UsageTotal
from recipelab.lineage.finding import find_campaign
from recipelab.lineage.ledgers import LeaseRow, NoteRow, UsageTotalRow
from recipelab.lineage.reading.base import Asking
from recipelab.lineage.reading.loading import campaign_record
from recipelab.lineage.records import CampaignRecord
from recipelab.lineage.tables import CampaignRow


class LedgerReader(Asking):
    """Gives campaigns, notes, usage and leases."""

    def campaign(self, name: str) -> CampaignRecord:
        """One campaign."""
        with self._reading() as connection:
            return campaign_record(find_campaign(connection, name))

    def campaigns(self) -> tuple[CampaignRecord, ...]:
        """All campaigns, oldest first."""
        with self._reading() as connection:
            rows = connection.execute(select(CampaignRow).order_by(col(CampaignRow.id)))
            return tuple(campaign_record(row) for row in rows.mappings())

    def notes(
        self, campaign: str, *, specialist: str | None = None, retired: bool = False
    ) -> tuple[Note, ...]:
        """The notes from people, oldest first.

        Args:
            campaign: Name of the campaign.
            specialist: Only what is for this specialist or for all; ``None`` for every note.
            retired: Whether to give those too that hold no longer.
        """
        with self._asking(campaign) as (connection, campaign_id):
            statement = select(NoteRow).where(col(NoteRow.campaign_id) == campaign_id)
            if specialist is not None:
                whom = col(NoteRow.specialist)
                statement = statement.where(whom.is_(None) | (whom == specialist))
            if not retired:
                statement = statement.where(col(NoteRow.retired_at).is_(None))
            rows = connection.execute(statement.order_by(col(NoteRow.number)))
            return tuple(
                Note(
                    number=row.number,
                    text=row.text,
                    specialist=row.specialist,
                    trial=row.trial_number,
                    created_at=row.created_at,
                    retired_at=row.retired_at,
                )
                for row in rows
            )

    def usage(self, campaign: str) -> tuple[UsageTotal, ...]:
        """What the calls of models took in all, by specialist and model."""
        row = UsageTotalRow
        columns = (
            col(row.specialist),
            col(row.model),
            col(row.calls),
            col(row.prompt_tokens),
            col(row.completion_tokens),
            col(row.seconds),
            col(row.cost),
        )
        with self._asking(campaign) as (connection, campaign_id):
            statement = select(*columns).where(col(row.campaign_id) == campaign_id)
            totals = [UsageTotal(*values) for values in connection.execute(statement)]
        return tuple(sorted(totals, key=lambda total: (total.specialist, total.model)))

    def leases(self, campaign: str | None = None) -> tuple[Lease, ...]:
        """The slots that trials hold, in the order in which they were taken.

        Args:
            campaign: Name of a campaign; ``None`` for all.
        """
        row = LeaseRow
        columns = (
            col(CampaignRow.name),
            col(row.trial_number),
            col(row.slot),
            col(row.sandbox),
            col(row.owner),
            col(row.since),
        )
        statement = select(*columns).join(CampaignRow, col(CampaignRow.id) == col(row.campaign_id))
        with self._reading() as connection:
            if campaign is not None:
                found = find_campaign(connection, campaign)
                statement = statement.where(col(row.campaign_id) == found["id"])
            taken = connection.execute(statement.order_by(col(row.since), col(row.trial_number)))
            return tuple(Lease(*values) for values in taken)

    def dead_leases(self, is_alive: Callable[[str], bool]) -> tuple[Lease, ...]:
        """The leases of owners that are gone, as after a kill.

        Args:
            is_alive: Whether the process with an identity still lives.
        """
        return tuple(lease for lease in self.leases() if not is_alive(lease.owner))
