"""Answers what stands behind judgments: confirmations, further seed runs, certificates."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import bindparam, func, select
from sqlmodel import col

from recipelab.core.trial import SeedRun, Status
from recipelab.lineage.evidence import CertificateRow, EvidenceRow, FurtherRunRow
from recipelab.lineage.finding import find_trial
from recipelab.lineage.reading.base import Asking
from recipelab.lineage.reading.loading import seed_run
from recipelab.lineage.records import CertificateRecord, FurtherRunRecord
from recipelab.lineage.tables import TrialRow, number_of

_HISTORY = (
    select(col(TrialRow.status))
    .join(EvidenceRow, col(EvidenceRow.trial_id) == col(TrialRow.id))
    .where(col(TrialRow.campaign_id) == bindparam("campaign_id"))
    .where(col(EvidenceRow.confirmed) > 0)
    .order_by(col(TrialRow.judged_order))
)
_SAVED = (
    select(
        func.sum(col(EvidenceRow.planned) - col(EvidenceRow.screened)),
        func.sum(col(EvidenceRow.planned)),
        func.sum(col(EvidenceRow.saved_seconds)),
        func.sum(col(EvidenceRow.confirmed)),
    )
    .join(TrialRow, col(TrialRow.id) == col(EvidenceRow.trial_id))
    .where(col(TrialRow.campaign_id) == bindparam("campaign_id"))
)
_FURTHER = (
    select(col(FurtherRunRow.seed), col(FurtherRunRow.timings), col(FurtherRunRow.measures))
    .where(col(FurtherRunRow.trial_id) == bindparam("trial_id"))
    .order_by(col(FurtherRunRow.position))
)
_ALL_FURTHER = (
    select(
        col(FurtherRunRow.trial_id),
        col(FurtherRunRow.made_at),
        col(FurtherRunRow.seed),
        col(FurtherRunRow.timings),
        col(FurtherRunRow.measures),
    )
    .join(TrialRow, col(TrialRow.id) == col(FurtherRunRow.trial_id))
    .where(col(TrialRow.campaign_id) == bindparam("campaign_id"))
    .order_by(col(FurtherRunRow.trial_id), col(FurtherRunRow.position))
)
_CERTIFICATES = (
    select(col(CertificateRow.trial_id), col(CertificateRow.made_at), col(CertificateRow.found))
    .join(TrialRow, col(TrialRow.id) == col(CertificateRow.trial_id))
    .where(col(TrialRow.campaign_id) == bindparam("campaign_id"))
    .order_by(
        col(CertificateRow.made_at), col(CertificateRow.trial_id), col(CertificateRow.position)
    )
)


class EvidenceReader(Asking):
    """Answers questions about evidence.

    Args:
        engine: The open database.
    """

    def confirmations(self, campaign: str) -> tuple[bool, ...]:
        """For each confirmation of a campaign, in order, whether it ended in a keep."""
        with self._asking(campaign) as (connection, campaign_id):
            found = connection.scalars(_HISTORY, {"campaign_id": campaign_id})
            return tuple(status == Status.KEPT for status in found)

    def racing(self, campaign: str) -> dict[str, float]:
        """What racing left out, and what confirmations took.

        Returns:
            ``planned`` seed runs of all screenings, ``left_out`` of them, ``saved_seconds`` that
            these would have taken, and ``fresh_seeds`` of confirmations.
        """
        with self._asking(campaign) as (connection, campaign_id):
            row = connection.execute(_SAVED, {"campaign_id": campaign_id}).one()
        left_out, planned, seconds, fresh = (value or 0 for value in row)
        return {
            "planned": int(planned),
            "left_out": int(left_out),
            "saved_seconds": float(seconds),
            "fresh_seeds": int(fresh),
        }

    def further_runs(self, campaign: str, number: int) -> tuple[SeedRun, ...]:
        """Seed runs of a judged trial that were made to compare others with it.

        Raises:
            LineageError: There is no such trial.
        """
        with self._asking(campaign) as (connection, campaign_id):
            trial_id = find_trial(connection, campaign_id, number, campaign)
            rows = connection.execute(_FURTHER, {"trial_id": trial_id})
            return tuple(seed_run(*row) for row in rows)

    def all_further_runs(self, campaign: str) -> tuple[FurtherRunRecord, ...]:
        """The further seed runs of all trials of a campaign, by trial and in order."""
        with self._asking(campaign) as (connection, campaign_id):
            rows = connection.execute(_ALL_FURTHER, {"campaign_id": campaign_id}).all()
        return tuple(
            FurtherRunRecord(number_of(trial_id), made_at, seed_run(seed, timings, measures))
            for trial_id, made_at, seed, timings, measures in rows
        )

    def certificates(self, campaign: str) -> tuple[CertificateRecord, ...]:
        """All certifications of a campaign's trials, oldest first."""
        with self._asking(campaign) as (connection, campaign_id):
            rows = connection.execute(_CERTIFICATES, {"campaign_id": campaign_id}).all()
        return tuple(
            CertificateRecord(number_of(trial_id), made_at, _facts(found))
            for trial_id, made_at, found in rows
        )


def _facts(found: str) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(found)
    return facts
