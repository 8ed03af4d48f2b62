"""Define the tables beside the trials: messages, notes, usage, turns, leases and drivers."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKeyConstraint, Index, LargeBinary
from sqlmodel import Field

from recipelab.lineage.tables import COMPACT, LineageTable, of_trial

__all__ = ["LineageTable"]
"""The base, which knows all tables once this module is loaded."""


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
    __table_args__ = COMPACT

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


class TurnViewRow(LineageTable, table=True):
    """What specialists were shown when their turns began, once however many turns showed it.

    ``data`` is the text in UTF-8, as raw DEFLATE; the text of the view ``base_id`` is the preset
    dictionary (RFC 1950), as one view has most lines of another. ``sha256`` is of the text.
    """

    __tablename__ = "turn_view"

    id: int = Field(default=None, primary_key=True)
    sha256: bytes = Field(sa_type=LargeBinary, unique=True)
    base_id: int | None = Field(default=None, foreign_key="turn_view.id")
    data: bytes = Field(sa_type=LargeBinary)


class TurnRow(LineageTable, table=True):
    """A turn of a specialist; its messages are those of its own from the first to the last."""

    __tablename__ = "turn"
    __table_args__ = (
        ForeignKeyConstraint(
            ["campaign_id", "round_number"], ["round.campaign_id", "round.number"]
        ),
        COMPACT,
    )

    campaign_id: int = Field(foreign_key="campaign.id", primary_key=True)
    number: int = Field(primary_key=True)
    round_number: int | None = None
    specialist: str
    began_at: str
    view_id: int | None = Field(default=None, foreign_key="turn_view.id")
    first_message: int | None = None
    last_message: int | None = None


class TurnTrialRow(LineageTable, table=True):
    """The turn in which a trial was submitted."""

    __tablename__ = "turn_trial"
    __table_args__ = COMPACT

    trial_id: int = Field(sa_column=of_trial())
    turn_number: int


class LeaseRow(LineageTable, table=True):
    """A slot that a running trial holds, and the sandbox in it."""

    __tablename__ = "lease"
    __table_args__ = COMPACT

    campaign_id: int = Field(foreign_key="campaign.id", primary_key=True)
    trial_number: int = Field(sa_type=BigInteger, primary_key=True)
    slot: str = Field(primary_key=True)
    sandbox: str
    owner: str
    since: str


class DriverRow(LineageTable, table=True):
    """A process that runs a campaign, where several may.

    Times are seconds since 1970 by the clock of the database. ``until`` is when the lease of its
    trials ends, unless it is heard of before. ``run`` counts the stretches in which a campaign was
    run; ``ticket`` is its place among those that want to judge. ``tokens`` and ``money`` are what
    its calls of models have reserved, and what they used that is not in ``usage`` yet.
    """

    __tablename__ = "driver"
    __table_args__ = COMPACT

    campaign_id: int = Field(foreign_key="campaign.id", primary_key=True)
    number: int = Field(primary_key=True)
    run: int
    host: str
    process: str
    model: str
    began: float
    until: float
    state: str
    wish: str | None = None
    ticket: int | None = Field(default=None, sa_type=BigInteger)
    tokens: int = Field(sa_type=BigInteger)
    money: float


class TrialLeaseRow(LineageTable, table=True):
    """Which driver runs a trial in flight; ``wish`` is what people want of it, as its end."""

    __tablename__ = "trial_lease"
    __table_args__ = COMPACT

    campaign_id: int = Field(foreign_key="campaign.id", primary_key=True)
    trial_number: int = Field(sa_type=BigInteger, primary_key=True)
    driver: int
    wish: str | None = None


class DriverRoundRow(LineageTable, table=True):
    """Which driver leads a round: the round's turns and messages are of its chat."""

    __tablename__ = "driver_round"
    __table_args__ = COMPACT

    campaign_id: int = Field(foreign_key="campaign.id", primary_key=True)
    round_number: int = Field(primary_key=True)
    driver: int


class DriverTestRow(LineageTable, table=True):
    """A test on fresh seeds that a driver runs, and that has no verdict yet."""

    __tablename__ = "driver_test"
    __table_args__ = COMPACT

    campaign_id: int = Field(foreign_key="campaign.id", primary_key=True)
    driver: int = Field(primary_key=True)
    name: str = Field(primary_key=True)
