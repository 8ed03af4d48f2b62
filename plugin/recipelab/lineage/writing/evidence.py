"""The part of the store that writes what was measured after a judgment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, func, insert, select
from sqlmodel import col

from recipelab.core.trial import SeedRun
from recipelab.lineage.evidence import CertificateRow, FurtherRunRow
from recipelab.lineage.finding import find_campaign, find_trial
from recipelab.lineage.saving import now
from recipelab.lineage.text import to_json
from recipelab.lineage.writing.base import Writing
from recipelab.lineage.writing.runs import check_run, run_values


class EvidenceWriter(Writing):
    """Adds further seed runs and certificates.

    Args:
        engine: The open database.
    """

    def add_further_runs(self, campaign: str, number: int, runs: Sequence[SeedRun]) -> None:
        """Adds seed runs of a judged trial that were made to compare another one with it.

        Args:
            campaign: Name of the campaign.
            number: The trial that ran again.
            runs: The seed runs; at least one.

        Raises:
            LineageError: There is no such trial.
            ValueError: A figure is not a finite number.
        """
        for run in runs:
            check_run(run)
        with self._writing() as connection:
            trial_id = _trial(connection, campaign, number)
            there = _many(connection, FurtherRunRow, trial_id)
            made_at = now()
            rows = [
                {"trial_id": trial_id, "position": there + place, "made_at": made_at}
                | run_values(run)
                for place, run in enumerate(runs)
            ]
            connection.execute(insert(FurtherRunRow), rows)

    def add_certificate(self, campaign: str, number: int, found: Mapping[str, Any]) -> None:
        """Adds what a certification found.

        Args:
            campaign: Name of the campaign.
            number: The trial that was certified.
            found: Plain data.

        Raises:
            LineageError: There is no such trial.
        """
        with self._writing() as connection:
            trial_id = _trial(connection, campaign, number)
            row = {
                "trial_id": trial_id,
                "position": _many(connection, CertificateRow, trial_id),
                "made_at": now(),
                "found": to_json(found),
            }
            connection.execute(insert(CertificateRow), row)


def _trial(connection: Connection, campaign: str, number: int) -> int:
    campaign_id = find_campaign(connection, campaign, to_write=True)["id"]
    return find_trial(connection, campaign_id, number, campaign)


def _many(
    connection: Connection, table: type[FurtherRunRow] | type[CertificateRow], trial_id: int
) -> int:
    counted = select(func.count()).where(col(table.trial_id) == trial_id)
    return int(connection.scalar(counted) or 0)
