"""Define the tables of a lineage: campaigns and trials; the rest is in :mod:`.side_tables`.

A trial is known to people by its number in its campaign, and to the tables by its id, which holds
both: ``campaign_id * 2**32 + number``. So the trials of a campaign lie together in the order of
their numbers, and no index is needed to find them. Times are ISO 8601 text in UTC.
"""

from __future__ import annotations

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

# On SQLite only a column of this very type is the row's own key, which costs no index.
TRIAL_ID = BigInteger().with_variant(Integer, "sqlite")
COMPACT = {"sqlite_with_rowid": False}


class LineageTable(SQLModel, registry=registry()):
    """Base of the tables; its own registry keeps a user's SQLModel tables out of the file."""


class SchemaVersion(LineageTable, table=True):
    """The version of the tables."""

    __tablename__ = "recipelab_lineage"

    version: int = Field(primary_key=True)
    created_at: str


class CampaignRow(LineageTable, table=True):
    """A campaign: what was asked for, and how it stands. Settings are JSON.

    ``secret`` is 16 random bytes in hexadecimal digits, from which fresh seeds are made. Nothing
    shows or exports it: who knows it can foretell the seeds.
    """

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
    created_at: str
    ended_at: str | None = None
    secret: str


class RoundRow(LineageTable, table=True):
    """A round of a campaign, numbered from 1."""

    __tablename__ = "round"
    __table_args__ = COMPACT

    campaign_id: int = Field(foreign_key="campaign.id", primary_key=True)
    number: int = Field(primary_key=True)
    started_at: str
    ended_at: str | None = None


class FailureRow(LineageTable, table=True):
    """A failure that may repeat: one kind, phase and signature in a campaign."""

    __tablename__ = "failure"
    __table_args__ = (UniqueConstraint("campaign_id", "kind", "phase", "signature"),)

    id: int = Field(default=None, primary_key=True)
    campaign_id: int = Field(foreign_key="campaign.id")
    kind: str
    phase: str
    signature: str


class TrialRow(LineageTable, table=True):
    """A trial in one short row: what was proposed, where it stands and how it ended.

    ``status`` is null while the trial is in flight. ``judged_order`` counts the judgments of a
    campaign: clocks may be set back, and trials that overlap end in another order than they began.
    ``parents`` are the numbers of its parents as a JSON list; ``parent_id`` is the first of them.
    A parent may have the higher number, where the trial was merged onto a new head. ``standing``
    is null for all but kept trials.
    """

    __tablename__ = "trial"
    __table_args__ = (
        UniqueConstraint("campaign_id", "judged_order"),
        ForeignKeyConstraint(
            ["campaign_id", "round_number"], ["round.campaign_id", "round.number"]
        ),
        Index("trial_by_status", "campaign_id", "status", "id"),
        Index("trial_by_surface", "campaign_id", "surface", "id"),
        Index("trial_by_specialist", "campaign_id", "specialist", "id"),
        Index("trial_by_time", "campaign_id", "proposed_at"),
        Index("trial_by_score", "campaign_id", "score", "id"),
        Index("trial_by_status_and_score", "campaign_id", "status", "score", "id"),
        Index("trial_by_surface_and_status", "campaign_id", "surface", "status", "score", "id"),
        Index("trial_by_failure", "failure_id", "id"),
        Index(
            "trial_kept",
            "campaign_id",
            "judged_order",
            "surface",
            "specialist",
            sqlite_where=text("status = 'kept'"),
            postgresql_where=text("status = 'kept'"),
        ),
        Index(
            "trial_by_standing",
            "campaign_id",
            "standing",
            "judged_order",
            sqlite_where=text("standing IS NOT NULL"),
            postgresql_where=text("standing IS NOT NULL"),
        ),
    )

    id: int = Field(sa_column=Column(TRIAL_ID, primary_key=True, autoincrement=False))
    campaign_id: int = Field(foreign_key="campaign.id")
    number: int = Field(sa_type=BigInteger)
    round_number: int | None = None
    specialist: str
    surface: str
    expected_delta: float
    digest: str
    meaning: str
    parents: str
    parent_id: int | None = Field(default=None, foreign_key="trial.id", sa_type=BigInteger)
    proposed_at: str
    state: str
    phase: str | None = None
    status: str | None = None
    standing: str | None = None
    judged_order: int | None = None
    judged_at: str | None = None
    score: float | None = None
    score_se: float | None = None
    delta: float | None = None
    delta_se: float | None = None
    cpu_seconds: float
    failure_id: int | None = Field(default=None, foreign_key="failure.id")
    failure_seed: int | None = Field(default=None, sa_type=BigInteger)


def of_trial(*, primary_key: bool = True) -> Column[int]:
    """Return a column that names a trial by its id."""
    reference = ForeignKey("trial.id")
    return Column(TRIAL_ID, reference, primary_key=primary_key, nullable=False, autoincrement=False)


class TrialTextRow(LineageTable, table=True):
    """The texts of a trial, and as JSON what nothing asks inside of.

    ``edits``, ``seed_runs`` and ``gates`` are lists of the fields of :class:`Edit`,
    :class:`SeedRun` and :class:`GateResult`; ``files`` maps paths to ids of recipe files. The first
    five columns are in the text index.
    """

    __tablename__ = "trial_text"

    trial_id: int = Field(sa_column=of_trial())
    hypothesis: str
    reason: str
    signature: str
    excerpt: str
    diff: str
    edits: str
    files: str
    seed_runs: str
    gates: str
    log_tail: str
    environment: str


class ParentRow(LineageTable, table=True):
    """A trial that another one was made from; position 0 is the first parent."""

    __tablename__ = "parent"
    __table_args__ = COMPACT

    parent_id: int = Field(sa_column=of_trial())
    trial_id: int = Field(sa_column=of_trial())
    position: int


class TrialKeyRow(LineageTable, table=True):
    """A hash under which a trial is found: of its recipe, its edit, or a knob's new value."""

    __tablename__ = "trial_key"
    __table_args__ = COMPACT

    key: int = Field(sa_type=BigInteger, primary_key=True)
    trial_id: int = Field(sa_column=of_trial())


class RecipeFileRow(LineageTable, table=True):
    """The content of a recipe's file, deflated, stored once however many trials share it."""

    __tablename__ = "recipe_file"

    id: int = Field(default=None, primary_key=True)
    sha256: str = Field(unique=True)
    data: bytes = Field(sa_type=LargeBinary)


class EvidenceRow(LineageTable, table=True):
    """On how many seeds a trial was judged, and how strictly."""

    __tablename__ = "evidence"
    __table_args__ = COMPACT

    trial_id: int = Field(sa_column=of_trial())
    against: int = Field(sa_type=BigInteger)
    planned: int
    screened: int
    confirmed: int
    saved_seconds: float
    p: float | None = None
    level: float | None = None
    same_as: int | None = Field(default=None, sa_type=BigInteger)
    standing: str | None = None
    rebased_from: int | None = Field(default=None, sa_type=BigInteger)
    parent_delta: float | None = None
    parent_delta_se: float | None = None
    deterministic: bool
    stopped_early: int


class FixRow(LineageTable, table=True):
    """A trial that measured validly after a failed one that it was made from or tried again."""

    __tablename__ = "fix"
    __table_args__ = COMPACT

    failure_id: int = Field(foreign_key="failure.id", primary_key=True)
    trial_id: int = Field(sa_column=of_trial())


class TallyRow(LineageTable, table=True):
    """How many trials of a surface and specialist ended in one way; triggers keep it.

    An empty ``status`` counts trials in flight, and failure 0 trials without one. ``first_id`` and
    ``last_id`` are the lowest and highest id that were counted, ``low_delta`` and ``high_delta``
    the extremes of kept and discarded trials. The last two columns count judgments since a trial
    was kept on the surface, or of the specialist.
    """

    __tablename__ = "tally"
    __table_args__ = COMPACT

    campaign_id: int = Field(foreign_key="campaign.id", primary_key=True)
    surface: str = Field(primary_key=True)
    specialist: str = Field(primary_key=True)
    status: str = Field(primary_key=True)
    failure_id: int = Field(primary_key=True)
    trials: int
    first_id: int = Field(sa_type=BigInteger)
    last_id: int = Field(sa_type=BigInteger)
    low_delta: float | None = None
    high_delta: float | None = None
    since_kept_on_surface: int
    since_kept_by_specialist: int


class FurtherRunRow(LineageTable, table=True):
    """A seed run of a judged trial, made to compare another one with it."""

    __tablename__ = "further_run"
    __table_args__ = COMPACT

    trial_id: int = Field(sa_column=of_trial())
    position: int = Field(primary_key=True)
    seed: int = Field(sa_type=BigInteger)
    timings: str
    measures: str
    made_at: str


class FinishedRunRow(LineageTable, table=True):
    """A seed run that has finished, of a trial or checkpoint that has not.

    It is there for the one that goes on after a kill, until the outcome is recorded. ``digest`` is
    of the recipe that ran, ``beside`` the trial that ran beside it, -1 if none did. ``items`` and
    ``artifact`` are as in :class:`SeedRun`.
    """

    __tablename__ = "finished_run"
    __table_args__ = COMPACT

    trial_id: int = Field(sa_column=of_trial())
    digest: str = Field(primary_key=True)
    beside: int = Field(sa_type=BigInteger, primary_key=True)
    seed: int = Field(sa_type=BigInteger, primary_key=True)
    timings: str
    measures: str
    items: bytes = Field(sa_type=LargeBinary)
    artifact: str


class CertificateRow(LineageTable, table=True):
    """What a certification on held-out data and seeds found, as JSON."""

    __tablename__ = "certificate"
    __table_args__ = COMPACT

    trial_id: int = Field(sa_column=of_trial())
    position: int = Field(primary_key=True)
    made_at: str
    found: str


class CheckpointRow(LineageTable, table=True):
    """A test of the working line's head against the last certified recipe.

    ``against`` is the number of the latter. ``gates``, ``runs`` and ``against_runs`` are JSON lists
    as in :class:`TrialTextRow`.
    """

    __tablename__ = "checkpoint"
    __table_args__ = COMPACT

    campaign_id: int = Field(foreign_key="campaign.id", primary_key=True)
    position: int = Field(primary_key=True)
    trial_id: int = Field(sa_column=of_trial(primary_key=False))
    against: int = Field(sa_type=BigInteger)
    made_at: str
    held: bool
    fell_back: bool
    reason: str
    seeds: int
    delta: float | None = None
    delta_se: float | None = None
    delta_low: float | None = None
    delta_high: float | None = None
    p: float | None = None
    level: float | None = None
    gates: str
    runs: str
    against_runs: str
