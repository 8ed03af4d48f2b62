"""Define the tables of a lineage, its text index and the table that triggers keep.

A trial is known to people by its number in its campaign, and to the tables by its id, which holds
both: ``campaign_id * 2**32 + number``. So the trials of a campaign lie together in the order of
their numbers, and no index is needed to find them. Times are ISO 8601 text in UTC.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import (
    BigInteger,
    Column,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.orm import registry
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlmodel import Field, SQLModel

# On SQLite only a column of this very type is the row's own key, which costs no index.
_TRIAL_ID = BigInteger().with_variant(Integer, "sqlite")
_COMPACT = {"sqlite_with_rowid": False}


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
    __table_args__ = _COMPACT

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

    id: int = Field(sa_column=Column(_TRIAL_ID, primary_key=True, autoincrement=False))
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


def _of_trial(*, primary_key: bool = True) -> Column[int]:
    reference = ForeignKey("trial.id")
    return Column(
        _TRIAL_ID, reference, primary_key=primary_key, nullable=False, autoincrement=False
    )


class TrialTextRow(LineageTable, table=True):
    """The texts of a trial, and as JSON what nothing asks inside of.

    ``edits``, ``seed_runs`` and ``gates`` are lists of the fields of :class:`Edit`,
    :class:`SeedRun` and :class:`GateResult`; ``files`` maps paths to ids of recipe files. The first
    five columns are in the text index.
    """

    __tablename__ = "trial_text"

    trial_id: int = Field(sa_column=_of_trial())
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
    __table_args__ = _COMPACT

    parent_id: int = Field(sa_column=_of_trial())
    trial_id: int = Field(sa_column=_of_trial())
    position: int


class TrialKeyRow(LineageTable, table=True):
    """A hash under which a trial is found: of its recipe, its edit, or a knob's new value."""

    __tablename__ = "trial_key"
    __table_args__ = _COMPACT

    key: int = Field(sa_type=BigInteger, primary_key=True)
    trial_id: int = Field(sa_column=_of_trial())


class RecipeFileRow(LineageTable, table=True):
    """The content of a recipe's file, deflated, stored once however many trials share it."""

    __tablename__ = "recipe_file"

    id: int = Field(default=None, primary_key=True)
    sha256: str = Field(unique=True)
    data: bytes = Field(sa_type=LargeBinary)


class EvidenceRow(LineageTable, table=True):
    """On how many seeds a trial was judged, and how strictly."""

    __tablename__ = "evidence"
    __table_args__ = _COMPACT

    trial_id: int = Field(sa_column=_of_trial())
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
    __table_args__ = _COMPACT

    failure_id: int = Field(foreign_key="failure.id", primary_key=True)
    trial_id: int = Field(sa_column=_of_trial())


class TallyRow(LineageTable, table=True):
    """How many trials of a surface and specialist ended in one way; triggers keep it.

    An empty ``status`` counts trials in flight, and failure 0 trials without one. ``first_id`` and
    ``last_id`` are the lowest and highest id that were counted, ``low_delta`` and ``high_delta``
    the extremes of kept and discarded trials. The last two columns count judgments since a trial
    was kept on the surface, or of the specialist.
    """

    __tablename__ = "tally"
    __table_args__ = _COMPACT

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
    __table_args__ = _COMPACT

    trial_id: int = Field(sa_column=_of_trial())
    position: int = Field(primary_key=True)
    seed: int = Field(sa_type=BigInteger)
    timings: str
    measures: str
    made_at: str


class CertificateRow(LineageTable, table=True):
    """What a certification on held-out data and seeds found, as JSON."""

    __tablename__ = "certificate"
    __table_args__ = _COMPACT

    trial_id: int = Field(sa_column=_of_trial())
    position: int = Field(primary_key=True)
    made_at: str
    found: str


class CheckpointRow(LineageTable, table=True):
    """A test of the working line's head against the last certified recipe.

    ``against`` is the number of the latter. ``gates``, ``runs`` and ``against_runs`` are JSON lists
    as in :class:`TrialTextRow`.
    """

    __tablename__ = "checkpoint"
    __table_args__ = _COMPACT

    campaign_id: int = Field(foreign_key="campaign.id", primary_key=True)
    position: int = Field(primary_key=True)
    trial_id: int = Field(sa_column=_of_trial(primary_key=False))
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
    created_at: str


class NoteRow(LineageTable, table=True):
    """A note from a person, to all specialists or to one."""

    __tablename__ = "note"
    __table_args__ = _COMPACT

    campaign_id: int = Field(foreign_key="campaign.id", primary_key=True)
    number: int = Field(primary_key=True)
    text: str
    specialist: str | None = None
    trial_number: int | None = Field(default=None, sa_type=BigInteger)
    created_at: str
    retired_at: str | None = None


class UsageRow(LineageTable, table=True):
    """What one call of a model took, or what so many calls took in an imported campaign."""

    __tablename__ = "usage"
    __table_args__ = (Index("usage_of_campaign", "campaign_id", "specialist", "model"),)

    id: int = Field(default=None, primary_key=True)
    campaign_id: int = Field(foreign_key="campaign.id")
    round_number: int | None = None
    specialist: str
    model: str
    calls: int = Field(sa_type=BigInteger)
    prompt_tokens: int = Field(sa_type=BigInteger)
    completion_tokens: int = Field(sa_type=BigInteger)
    seconds: float
    cost: float
    created_at: str


class LeaseRow(LineageTable, table=True):
    """A slot that a running trial holds, and the sandbox in it."""

    __tablename__ = "lease"
    __table_args__ = _COMPACT

    campaign_id: int = Field(foreign_key="campaign.id", primary_key=True)
    trial_number: int = Field(sa_type=BigInteger, primary_key=True)
    slot: str = Field(primary_key=True)
    sandbox: str
    owner: str
    since: str


def table_definitions(*, sqlite: bool) -> Iterator[str]:
    """Yield the statements that make everything, in order."""
    dialect: Dialect = SQLiteDialect() if sqlite else PGDialect()  # type: ignore[no-untyped-call]
    for table in LineageTable.metadata.sorted_tables:
        yield str(CreateTable(table).compile(dialect=dialect))
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            yield str(CreateIndex(index).compile(dialect=dialect))
    yield from _SQLITE_TEXT_INDEX if sqlite else _POSTGRES_TEXT_INDEX
    for name, event, body in _TALLY_TRIGGERS:
        yield from (_sqlite_trigger if sqlite else _postgres_trigger)(name, event, body)


_TEXTS = ("hypothesis", "reason", "signature", "excerpt", "diff")


def _columns(prefix: str = "") -> str:
    return ", ".join(prefix + name for name in _TEXTS)


_FORGET = (
    f"INSERT INTO trial_words (trial_words, rowid, {_columns()}) "
    f"VALUES ('delete', old.trial_id, {_columns('old.')});"
)
_LEARN = f"INSERT INTO trial_words (rowid, {_columns()}) VALUES (new.trial_id, {_columns('new.')});"

# The index holds no texts of its own: they are in trial_text, and it must be told what to forget.
_SQLITE_TEXT_INDEX = (
    f"CREATE VIRTUAL TABLE trial_words USING fts5({_columns()}, content = 'trial_text', "
    "content_rowid = 'trial_id', columnsize = 0, tokenize = 'unicode61 remove_diacritics 0')",
    f"CREATE TRIGGER words_added AFTER INSERT ON trial_text BEGIN {_LEARN} END",
    f"CREATE TRIGGER words_removed AFTER DELETE ON trial_text BEGIN {_FORGET} END",
    f"CREATE TRIGGER words_changed AFTER UPDATE OF {_columns()} ON trial_text "
    f"BEGIN {_FORGET} {_LEARN} END",
)

PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
"""Characters that part words on PostgreSQL, whose own parser would take paths and numbers whole."""

_JOINED = " || ' ' || ".join(_TEXTS)
_WORDS = "translate({}, '{}', '{}')".format(
    _JOINED, PUNCTUATION.replace("'", "''"), " " * len(PUNCTUATION)
)
_POSTGRES_TEXT_INDEX = (
    "ALTER TABLE trial_text ADD COLUMN words tsvector "
    f"GENERATED ALWAYS AS (to_tsvector('simple', {_WORDS})) STORED",
    "CREATE INDEX trial_words ON trial_text USING gin (words)",
)

_TALLIED_AS_OLD = (
    "campaign_id = old.campaign_id AND surface = old.surface AND specialist = old.specialist "
    "AND status = coalesce(old.status, '') AND failure_id = coalesce(old.failure_id, 0)"
)
_LIKE_OLD = (
    "t.campaign_id = old.campaign_id AND t.surface = old.surface "
    "AND t.specialist = old.specialist AND t.status = old.status "
    "AND coalesce(t.failure_id, 0) = coalesce(old.failure_id, 0)"
)
_DELTA = "CASE WHEN new.status IN ('kept', 'discarded') THEN new.delta END"
_JUDGED = "CASE WHEN new.status IS NULL THEN 0 ELSE 1 END"
_COUNT = f"""
INSERT INTO tally VALUES (
  new.campaign_id, new.surface, new.specialist, coalesce(new.status, ''),
  coalesce(new.failure_id, 0), 1, new.id, new.id, {_DELTA}, {_DELTA}, {_JUDGED}, {_JUDGED}
)
ON CONFLICT (campaign_id, surface, specialist, status, failure_id) DO UPDATE SET
  trials = tally.trials + 1,
  first_id = CASE WHEN excluded.first_id < tally.first_id
             THEN excluded.first_id ELSE tally.first_id END,
  last_id = CASE WHEN excluded.last_id > tally.last_id
            THEN excluded.last_id ELSE tally.last_id END,
  low_delta = CASE WHEN tally.low_delta IS NULL OR excluded.low_delta < tally.low_delta
              THEN excluded.low_delta ELSE tally.low_delta END,
  high_delta = CASE WHEN tally.high_delta IS NULL OR excluded.high_delta > tally.high_delta
               THEN excluded.high_delta ELSE tally.high_delta END,
  since_kept_on_surface = tally.since_kept_on_surface + excluded.since_kept_on_surface,
  since_kept_by_specialist = tally.since_kept_by_specialist + excluded.since_kept_by_specialist;
UPDATE tally SET since_kept_on_surface = 0
WHERE new.status = 'kept' AND campaign_id = new.campaign_id AND surface = new.surface;
UPDATE tally SET since_kept_by_specialist = 0
WHERE new.status = 'kept' AND campaign_id = new.campaign_id AND specialist = new.specialist;
"""
_UNCOUNT = f"""
UPDATE tally SET trials = trials - 1,
  since_kept_on_surface = CASE WHEN since_kept_on_surface > 0 AND old.status IS NOT NULL
                          THEN since_kept_on_surface - 1 ELSE since_kept_on_surface END,
  since_kept_by_specialist = CASE WHEN since_kept_by_specialist > 0 AND old.status IS NOT NULL
                             THEN since_kept_by_specialist - 1 ELSE since_kept_by_specialist END
WHERE {_TALLIED_AS_OLD};
DELETE FROM tally WHERE trials = 0 AND {_TALLIED_AS_OLD};
UPDATE tally SET
  first_id = (SELECT min(t.id) FROM trial t WHERE {_LIKE_OLD}),
  last_id = (SELECT max(t.id) FROM trial t WHERE {_LIKE_OLD})
WHERE old.status IS NOT NULL AND old.id IN (first_id, last_id) AND {_TALLIED_AS_OLD};
"""
# A trial goes from one count to another when it is judged, or runs again after it was aborted.
_TALLY_TRIGGERS = (
    ("trial_counted", "INSERT", _COUNT),
    ("trial_recounted", "UPDATE OF status, failure_id", _UNCOUNT + _COUNT),
)


def _sqlite_trigger(name: str, event: str, body: str) -> Iterator[str]:
    yield f"CREATE TRIGGER {name} AFTER {event} ON trial BEGIN {body} END"


def _postgres_trigger(name: str, event: str, body: str) -> Iterator[str]:
    yield (
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN {body} RETURN NULL; END $$"
    )
    yield f"CREATE TRIGGER {name} AFTER {event} ON trial FOR EACH ROW EXECUTE FUNCTION {name}()"
