"""The tables beside the trials: counters that are kept up to date, and what else is remembered."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Index, UniqueConstraint
from sqlmodel import Field

from recipelab.lineage.tables import COMPACT, LineageTable


class TallyRow(LineageTable, table=True):
    """How many trials of a campaign, a surface or a specialist ended in one way.

    ``scope`` is empty for the campaign, ``s:`` and a surface, or ``p:`` and a specialist. An empty
    ``status`` counts the trials in flight. ``tried`` is how many trials of the scope had been
    judged when the last one of this row was. ``last_id`` is the trial that was counted last.
    """

    __tablename__ = "tally"
    __table_args__ = COMPACT

    campaign_id: int = Field(foreign_key="campaign.id", primary_key=True)
    scope: str = Field(primary_key=True)
    status: str = Field(primary_key=True)
    trials: int
    last_id: int | None = Field(default=None, sa_type=BigInteger)
    tried: int = 0
    low_delta: float | None = None
    high_delta: float | None = None


class HourRow(LineageTable, table=True):
    """The first and last trial that were proposed within an hour: bounds for filters by time."""

    __tablename__ = "hour"
    __table_args__ = COMPACT

    campaign_id: int = Field(foreign_key="campaign.id", primary_key=True)
    hour: int = Field(primary_key=True)
    first_id: int = Field(sa_type=BigInteger)
    last_id: int = Field(sa_type=BigInteger)


class FailureGroupRow(LineageTable, table=True):
    """A failure that repeats: one signature, kind and phase of a campaign."""

    __tablename__ = "failure_group"
    __table_args__ = (UniqueConstraint("campaign_id", "kind", "phase", "signature"),)

    id: int = Field(default=None, primary_key=True)
    campaign_id: int = Field(foreign_key="campaign.id")
    kind: str
    phase: str
    signature: str


class FailureCountRow(LineageTable, table=True):
    """How often a failure was seen on a surface (``s:`` and its name), or in all (empty)."""

    __tablename__ = "failure_count"
    __table_args__ = (Index("failure_often", "campaign_id", "scope", "trials", "last_id"), COMPACT)

    group_id: int = Field(foreign_key="failure_group.id", primary_key=True)
    scope: str = Field(primary_key=True)
    campaign_id: int = Field(foreign_key="campaign.id")
    trials: int
    first_id: int = Field(sa_type=BigInteger)
    last_id: int = Field(sa_type=BigInteger)


class FixRow(LineageTable, table=True):
    """A trial that measured validly after a failed one that it was made from or tried again."""

    __tablename__ = "fix"
    __table_args__ = (Index("fix_by_trial", "trial_id"), COMPACT)

    group_id: int = Field(foreign_key="failure_group.id", primary_key=True)
    trial_id: int = Field(sa_type=BigInteger, primary_key=True)
    failed_id: int = Field(sa_type=BigInteger)


class NoteRow(LineageTable, table=True):
    """A note from a person, to all specialists or to one."""

    __tablename__ = "note"
    __table_args__ = COMPACT

    campaign_id: int = Field(foreign_key="campaign.id", primary_key=True)
    number: int = Field(primary_key=True)
    text: str
    specialist: str | None = None
    trial_number: int | None = Field(default=None, sa_type=BigInteger)
    created_at: datetime
    retired_at: datetime | None = None


class UsageRow(LineageTable, table=True):
    """What one call of a model took."""

    __tablename__ = "usage"
    __table_args__ = (Index("usage_by_round", "campaign_id", "round_number"),)

    id: int = Field(default=None, primary_key=True)
    campaign_id: int = Field(foreign_key="campaign.id")
    round_number: int | None = None
    specialist: str
    model: str
    prompt_tokens: int = Field(sa_type=BigInteger)
    completion_tokens: int = Field(sa_type=BigInteger)
    seconds: float
    cost: float
    created_at: datetime


class UsageTotalRow(LineageTable, table=True):
    """What all calls of a model by a specialist took."""

    __tablename__ = "usage_total"
    __table_args__ = COMPACT

    campaign_id: int = Field(foreign_key="campaign.id", primary_key=True)
    specialist: str = Field(primary_key=True)
    model: str = Field(primary_key=True)
    calls: int = Field(sa_type=BigInteger)
    prompt_tokens: int = Field(sa_type=BigInteger)
    completion_tokens: int = Field(sa_type=BigInteger)
    seconds: float
    cost: float


class LeaseRow(LineageTable, table=True):
    """A slot that a running trial holds, and the sandbox in it."""

    __tablename__ = "lease"
    __table_args__ = COMPACT

    campaign_id: int = Field(foreign_key="campaign.id", primary_key=True)
    trial_number: int = Field(sa_type=BigInteger, primary_key=True)
    slot: str = Field(primary_key=True)
    sandbox: str
    owner: str
    since: datetime
