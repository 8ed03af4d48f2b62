"""The tables of trials and of what came of them. They stay inside this package.

A trial is known to people by its number in its campaign, and to the tables by its id, which holds
both: ``campaign_id * 2**32 + number``. So the trials of a campaign lie together in the order of
their numbers, and no index is needed to find them. Counters and ledgers are in ``ledgers.py``.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

SCHEMA = 3
"""Version of the tables; raise it with every change of them, and add the upgrade."""

LARGEST_NUMBER = 2**32 - 1
"""Largest number that a trial can have."""

# On SQLite only a column of this very type is the row's own key, which costs no index.
TRIAL_ID = BigInteger().with_variant(Integer, "sqlite")
COMPACT = {"sqlite_with_rowid": False}


def trial_key(campaign_id: int, number: int) -> int:
    """The id of a trial."""
    return campaign_id * (LARGEST_NUMBER + 1) + number


def number_of(trial_id: int) -> int:
    """The number of a trial in its campaign."""
    return trial_id & LARGEST_NUMBER


class LineageTable(SQLModel, registry=registry()):
    """Base of the tables; its own registry keeps a user's SQLModel tables out of the file."""


class SchemaVersion(LineageTable, table=True):
    """One row a version that the lineage has had; the largest says which it has now."""

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
    __table_args__ = COMPACT

    campaign_id: int = Field(foreign_key="campaign.id", primary_key=True)
    number: int = Field(primary_key=True)
    started_at: datetime
    ended_at: datetime | None = None


class TrialRow(LineageTable, table=True):
    """A trial in one short row: what was proposed, where it stands and, once judged, how it ended.

    ``status`` is null while the trial is in flight. ``judged_order`` counts the judgments of a
    campaign; clocks may be set back, and trials that overlap end in another order than they began.
    ``depth`` counts first parents up to the root; ``jump_id`` is an ancestor further up, so that
    the way to any ancestor takes few steps. ``previous_id`` is the specialist's trial before.
    """

    __tablename__ = "trial"
    __table_args__ = (
        UniqueConstraint("campaign_id", "judged_order"),
        ForeignKeyConstraint(
            ["campaign_id", "round_number"], ["round.campaign_id", "round.number"]
        ),
        Index("trial_by_score", "campaign_id", "score", "id"),
        Index("trial_by_status", "campaign_id", "status", "score", "id"),
        Index("trial_by_surface", "campaign_id", "surface", "score", "id"),
        Index(
            "trial_in_flight",
            "campaign_id",
            "id",
            sqlite_where=text("status IS NULL"),
            postgresql_where=text("status IS NULL"),
        ),
    )

    id: int = Field(sa_column=Column(TRIAL_ID, primary_key=True, autoincrement=False))
    campaign_id: int = Field(foreign_key="campaign.id")
    number: int = Field(sa_type=BigInteger)
    round_number: int | None = None
    specialist: str
    surface: str
    hypothesis: str
    expected_delta: float
    digest: str
    proposed_at: datetime
    state: str
    phase: str | None = None
    status: str | None = None
    judged_order: int | None = None
    judged_at: datetime | None = None
    reason: str = ""
    score: float | None = None
    score_se: float | None = None
    delta: float | None = None
    delta_se: float | None = None
    cpu_seconds: float = 0.0
    failure_id: int | None = Field(default=None, foreign_key="failure_group.id")
    depth: int = 0
    jump_id: int | None = Field(default=None, sa_type=BigInteger)
    parent_id: int | None = Field(default=None, sa_type=BigInteger)
    previous_id: int | None = Field(default=None, sa_type=BigInteger)


def _of_trial(*, primary_key: bool = True) -> Column[int]:
    reference = ForeignKey("trial.id")
    return Column(TRIAL_ID, reference, primary_key=primary_key, nullable=False, autoincrement=False)


class TrialTextRow(LineageTable, table=True):
    """The long texts of a trial, and its recipe: JSON of path to id of a recipe file."""

    __tablename__ = "trial_text"

    trial_id: int = Field(sa_column=_of_trial())
    diff: str
    files: str
    log_tail: str = ""
    environment: str = ""


class TrialKeyRow(LineageTable, table=True):
    """A hash under which a trial is found: of its recipe, its edit, or a knob's new value."""

    __tablename__ = "trial_key"
    __table_args__ = COMPACT

    key: int = Field(sa_type=BigInteger, primary_key=True)
    trial_id: int = Field(sa_column=_of_trial())


class ParentRow(LineageTable, table=True):
    """A trial whose recipe another trial was made from."""

    __tablename__ = "parent"
    __table_args__ = (Index("parent_children", "parent_id", "trial_id"), COMPACT)

    trial_id: int = Field(sa_column=_of_trial())
    position: int = Field(primary_key=True)
    parent_id: int = Field(sa_column=_of_trial(primary_key=False))


class RecipeFileRow(LineageTable, table=True):
    """A content of a recipe's file, stored once however many trials share it.

    ``data`` is deflated. With a base it refers to that content, so that a near-equal one costs
    little; ``depth`` counts the bases up to one that stands alone.
    """

    __tablename__ = "recipe_file"

    id: int = Field(default=None, primary_key=True)
    sha256: str = Field(unique=True)
    base_id: int | None = Field(default=None, foreign_key="recipe_file.id")
    depth: int = 0
    data: bytes = Field(sa_type=LargeBinary)


class EditRow(LineageTable, table=True):
    """An edit of a proposal."""

    __tablename__ = "edit"
    __table_args__ = COMPACT

    trial_id: int = Field(sa_column=_of_trial())
    position: int = Field(primary_key=True)
    path: str
    search: str | None = None
    replace: str


class SeedRunRow(LineageTable, table=True):
    """A seed run of a trial. Timings and measurements are JSON, as nothing asks inside them."""

    __tablename__ = "seed_run"
    __table_args__ = COMPACT

    trial_id: int = Field(sa_column=_of_trial())
    position: int = Field(primary_key=True)
    seed: int = Field(sa_type=BigInteger)
    timings: str
    measures: str


class GateRow(LineageTable, table=True):
    """A gate that was judged."""

    __tablename__ = "gate"
    __table_args__ = COMPACT

    trial_id: int = Field(sa_column=_of_trial())
    position: int = Field(primary_key=True)
    name: str
    value: float
    limit: float
    margin: float


class FailureRow(LineageTable, table=True):
    """Why a trial came to no valid measurement."""

    __tablename__ = "failure"
    __table_args__ = (Index("failure_by_group", "group_id", "trial_id"),)

    trial_id: int = Field(sa_column=_of_trial())
    group_id: int = Field(foreign_key="failure_group.id")
    excerpt: str
    seed: int | None = Field(default=None, sa_type=BigInteger)


class MessageRow(LineageTable, table=True):
    """A message of the group chat, in the order in which it was said."""

    __tablename__ = "message"
    __table_args__ = (
        ForeignKeyConstraint(
            ["campaign_id", "round_number"], ["round.campaign_id", "round.number"]
        ),
        Index("message_round", "campaign_id", "round_number"),
        Index("message_trial", "campaign_id", "trial_number"),
    )

    campaign_id: int = Field(foreign_key="campaign.id", primary_key=True)
    position: int = Field(primary_key=True)
    round_number: int | None = None
    trial_number: int | None = Field(default=None, sa_type=BigInteger)
    source: str
    type: str
    payload: str
    created_at: datetime
