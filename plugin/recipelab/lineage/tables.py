"""The tables of the lineage. They stay inside this package: callers get records.

A trial is known to people by its number in its campaign, and to other tables by its id.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKeyConstraint, Index, UniqueConstraint
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

SCHEMA = 1
"""Version of the tables below; raise it with every change of them."""


class LineageTable(SQLModel, registry=registry()):
    """Base of the tables; its own registry keeps a user's SQLModel tables out of the file."""


class SchemaVersion(LineageTable, table=True):
    """One row that says that the file is a lineage, and which version of it."""

    __tablename__ = "recipelab_lineage"

    version: int = Field(primary_key=True)
    created_at: datetime


class CampaignRow(LineageTable, table=True):
    """A campaign: what was asked for, and how it stands."""

    __tablename__ = "campaign"

    id: int = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    pack: str
    profile: str
    model: str
    sandbox: str
    seed: int = Field(sa_type=BigInteger)
    trials: int | None = Field(default=None, sa_type=BigInteger)
    hours: float | None = None
    settings: str
    state: str
    stop_reason: str | None = None
    created_at: datetime
    ended_at: datetime | None = None


class RoundRow(LineageTable, table=True):
    """A round of a campaign, numbered from 1."""

    __tablename__ = "round"

    campaign_id: int = Field(foreign_key="campaign.id", primary_key=True)
    number: int = Field(primary_key=True)
    started_at: datetime
    ended_at: datetime | None = None


class TrialRow(LineageTable, table=True):
    """A trial: what was proposed and, once judged, how it ended.

    ``status`` is null while the trial is in flight. ``judged_order`` counts the judgments of a
    campaign; clocks may be set back, and trials that overlap end in another order than they began.
    """

    __tablename__ = "trial"
    __table_args__ = (
        UniqueConstraint("campaign_id", "number"),
        UniqueConstraint("campaign_id", "judged_order"),
        ForeignKeyConstraint(
            ["campaign_id", "round_number"], ["round.campaign_id", "round.number"]
        ),
        # The last column gives the order in which the rows are asked for.
        Index("trial_status", "campaign_id", "status", "judged_order"),
        Index("trial_surface", "campaign_id", "surface", "number"),
        Index("trial_specialist", "campaign_id", "specialist", "number"),
        Index("trial_digest", "campaign_id", "digest", "number"),
        Index("trial_score", "campaign_id", "score", "number"),
    )

    id: int = Field(default=None, primary_key=True)
    campaign_id: int = Field(foreign_key="campaign.id")
    number: int
    round_number: int | None = None
    specialist: str
    surface: str
    hypothesis: str
    expected_delta: float
    digest: str
    diff: str
    proposed_at: datetime
    status: str | None = None
    judged_order: int | None = None
    judged_at: datetime | None = None
    reason: str = ""
    score: float | None = None
    score_se: float | None = None
    delta: float | None = None
    delta_se: float | None = None
    cpu_seconds: float = 0.0
    log_tail: str = ""
    environment: str = ""


class ParentRow(LineageTable, table=True):
    """A trial whose recipe another trial was made from."""

    __tablename__ = "parent"

    trial_id: int = Field(foreign_key="trial.id", primary_key=True)
    position: int = Field(primary_key=True)
    parent_id: int = Field(foreign_key="trial.id", index=True)


class RecipeFileRow(LineageTable, table=True):
    """The content of a recipe's file, stored once however many trials share it."""

    __tablename__ = "recipe_file"

    sha256: str = Field(primary_key=True)
    content: str


class TrialFileRow(LineageTable, table=True):
    """A file of a trial's recipe."""

    __tablename__ = "trial_file"

    trial_id: int = Field(foreign_key="trial.id", primary_key=True)
    path: str = Field(primary_key=True)
    sha256: str = Field(foreign_key="recipe_file.sha256")


class EditRow(LineageTable, table=True):
    """An edit of a proposal."""

    __tablename__ = "edit"

    trial_id: int = Field(foreign_key="trial.id", primary_key=True)
    position: int = Field(primary_key=True)
    path: str
    search: str | None = None
    replace: str


class SeedRunRow(LineageTable, table=True):
    """A seed run of a trial."""

    __tablename__ = "seed_run"

    trial_id: int = Field(foreign_key="trial.id", primary_key=True)
    position: int = Field(primary_key=True)
    seed: int = Field(sa_type=BigInteger)


class TimingRow(LineageTable, table=True):
    """What the sandbox measured during one phase of a seed run."""

    __tablename__ = "timing"

    trial_id: int = Field(foreign_key="trial.id", primary_key=True)
    run: int = Field(primary_key=True)
    position: int = Field(primary_key=True)
    phase: str
    wall_seconds: float
    cpu_seconds: float
    peak_memory_mb: float | None = None


class MeasureRow(LineageTable, table=True):
    """A named measurement of a seed run."""

    __tablename__ = "measure"

    trial_id: int = Field(foreign_key="trial.id", primary_key=True)
    run: int = Field(primary_key=True)
    name: str = Field(primary_key=True)
    value: float


class GateRow(LineageTable, table=True):
    """A gate that was judged."""

    __tablename__ = "gate"

    trial_id: int = Field(foreign_key="trial.id", primary_key=True)
    position: int = Field(primary_key=True)
    name: str
    value: float
    limit: float
    margin: float


class FailureRow(LineageTable, table=True):
    """Why a trial came to no valid measurement."""

    __tablename__ = "failure"

    trial_id: int = Field(foreign_key="trial.id", primary_key=True)
    phase: str | None = None
    kind: str = Field(index=True)
    signature: str = Field(index=True)
    excerpt: str
    seed: int | None = Field(default=None, sa_type=BigInteger)


class MessageRow(LineageTable, table=True):
    """A message of the group chat, in the order in which it was said."""

    __tablename__ = "message"
    __table_args__ = (
        ForeignKeyConstraint(
            ["campaign_id", "round_number"], ["round.campaign_id", "round.number"]
        ),
        ForeignKeyConstraint(
            ["campaign_id", "trial_number"], ["trial.campaign_id", "trial.number"]
        ),
        Index("message_round", "campaign_id", "round_number"),
        Index("message_trial", "campaign_id", "trial_number"),
    )

    campaign_id: int = Field(foreign_key="campaign.id", primary_key=True)
    position: int = Field(primary_key=True)
    round_number: int | None = None
    trial_number: int | None = None
    source: str
    type: str
    payload: str
    created_at: datetime
