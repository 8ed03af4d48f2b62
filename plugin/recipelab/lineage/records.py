"""What the lineage gives to its callers: plain values that no open database stands behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from recipelab.core.trial import Edit, Outcome, Phase, SeedRun, Status
from recipelab.lineage.states import TrialState

T = TypeVar("T")


@dataclass(frozen=True)
class CampaignRecord:
    """A campaign as it was asked for, and how it stands.

    Attributes:
        name: Its name, unique in the lineage.
        pack: Name or path of the task pack.
        profile: Profile of the pack.
        model: Model specification.
        sandbox: Where its trials run.
        seed: Seed of the offline model's choices.
        trials: Trials that may be spent; ``None`` for no bound.
        hours: Wall-clock hours that may be spent; ``None`` for no bound.
        settings: Whatever else it was started with.
        state: ``running``, ``stopped`` or ``finished``.
        stop_reason: Why it ended; ``None`` while it runs.
        created_at: When it was created, in UTC.
        ended_at: When it ended, in UTC; ``None`` while it runs.
    """

    name: str
    pack: str
    profile: str
    model: str
    sandbox: str
    seed: int
    trials: int | None
    hours: float | None
    settings: Mapping[str, Any]
    state: str
    stop_reason: str | None
    created_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True)
class TrialRecord:
    """A trial: what was proposed and, once judged, all that came of it.

    Attributes:
        number: Its number in its campaign; 0 is the baseline.
        round: Number of the round in which it was proposed; ``None`` outside of rounds.
        specialist: Who proposed it.
        surface: The part of the recipe that it is about.
        hypothesis: Why it should help.
        expected_delta: Expected change of the metric, in the metric's unit.
        parents: Numbers of the trials whose recipes it was made from.
        edits: The changes, in order.
        digest: Digest of its recipe; empty if it has none.
        diff: Unified diff from its parent.
        outcome: How it ended; ``None`` while it is in flight.
        proposed_at: When it was proposed, in UTC.
        judged_at: When it was judged, in UTC; ``None`` while it is in flight.
        state: Where it stands.
        phase: The phase that it runs, while it is running.
    """

    number: int
    round: int | None
    specialist: str
    surface: str
    hypothesis: str
    expected_delta: float
    parents: tuple[int, ...]
    edits: tuple[Edit, ...]
    digest: str
    diff: str
    outcome: Outcome | None
    proposed_at: datetime
    judged_at: datetime | None
    state: TrialState = TrialState.PROPOSED
    phase: Phase | None = None

    @property
    def status(self) -> Status | None:
        """How it ended; ``None`` while it is in flight."""
        return None if self.outcome is None else self.outcome.status

    @property
    def in_flight(self) -> bool:
        """Whether it still waits for its outcome."""
        return self.outcome is None


@dataclass(frozen=True)
class MessageRecord:
    """A message of the group chat.

    Attributes:
        position: Its place among the messages of its campaign, from 0.
        round: Number of its round; ``None`` outside of rounds.
        trial: Number of the trial that it is about, if it is about one.
        source: Who said it.
        type: The class of the message in the agent framework.
        payload: The message as that framework dumped it.
        created_at: When it was stored, in UTC.
    """

    position: int
    round: int | None
    trial: int | None
    source: str
    type: str
    payload: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True)
class CertificateRecord:
    """A certification of a trial on data and seeds that no trial has seen.

    Attributes:
        trial: The trial's number.
        made_at: When it was made, in UTC.
        found: What it found, as plain data.
    """

    trial: int
    made_at: datetime
    found: dict[str, Any]


@dataclass(frozen=True)
class FurtherRunRecord:
    """A seed run of a judged trial, made to compare another one with it.

    Attributes:
        trial: The trial's number.
        made_at: When it was stored, in UTC.
        run: The seed run.
    """

    trial: int
    made_at: datetime
    run: SeedRun


@dataclass(frozen=True)
class NewMessage:
    """A message of the group chat that is to be added.

    Attributes:
        source: Who said it.
        type: The class of the message in the agent framework.
        payload: The message as that framework dumped it, as plain data.
        trial: Number of the trial that it is about, if it is about one.
        created_at: When it was heard, in UTC.
    """

    source: str
    type: str
    payload: Mapping[str, Any]
    trial: int | None = None
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True)
class NewUsage:
    """What one call of a model, or one trial on a device, used.

    Attributes:
        specialist: The specialist that it is booked for.
        model: The model; or the word that stands for devices.
        prompt_tokens: Tokens sent.
        completion_tokens: Tokens received.
        seconds: Time waited, in seconds.
        cost: Cost, in the currency that the caller counts in.
        round: Number of the round; ``None`` outside of rounds.
    """

    specialist: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    cost: float = 0.0
    round: int | None = None


@dataclass(frozen=True)
class Page(Generic[T]):
    """A part of an answer.

    Attributes:
        items: The items asked for, in order.
        total: How many items match in all; if ``capped``, at least so many.
        capped: Whether counting stopped at ``total``.
    """

    items: tuple[T, ...]
    total: int
    capped: bool = False
