"""The tables of what stands behind a judgment, and of what was measured after it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Column, ForeignKey
from sqlmodel import Field

from recipelab.lineage.tables import COMPACT, TRIAL_ID, LineageTable


def _of_trial() -> Column[int]:
    reference = ForeignKey("trial.id")
    return Column(TRIAL_ID, reference, primary_key=True, nullable=False, autoincrement=False)


class EvidenceRow(LineageTable, table=True):
    """On how many seeds a trial was judged, and how strictly."""

    __tablename__ = "evidence"
    __table_args__ = COMPACT

    trial_id: int = Field(sa_column=_of_trial())
    against: int = Field(sa_type=BigInteger)
    planned: int
    screened: int
    confirmed: int
    saved_seconds: float
    p: float | None = None
    level: float | None = None
    same_as: int | None = Field(default=None, sa_type=BigInteger)


class FurtherRunRow(LineageTable, table=True):
    """A seed run of a judged trial, made to compare another one with it."""

    __tablename__ = "further_run"
    __table_args__ = COMPACT

    trial_id: int = Field(sa_column=_of_trial())
    position: int = Field(primary_key=True)
    seed: int = Field(sa_type=BigInteger)
    timings: str
    measures: str
    made_at: datetime


class CertificateRow(LineageTable, table=True):
    """What a certification on held-out data and seeds found, as JSON."""

    __tablename__ = "certificate"
    __table_args__ = COMPACT

    trial_id: int = Field(sa_column=_of_trial())
    position: int = Field(primary_key=True)
    made_at: datetime
    found: str
