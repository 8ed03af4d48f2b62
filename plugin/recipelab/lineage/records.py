"""Define what the lineage gives to its callers: plain typed values without a database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from enum import StrEnum
from importlib import import_module
from typing import Any, Generic, TypeVar, overload

from recipelab.core.errors import LineageError
from recipelab.core.trial import (
    Certificate,
    Checkpoint,
    Edit,
    FailureKind,
    Outcome,
    Phase,
    SeedRun,
    Standing,
    Status,
)

T = TypeVar("T")


class TrialState(StrEnum):
    """Where a trial stands."""

    QUEUED = "queued"
    RUNNING = "running"
    JUDGED = "judged"


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
class RoundRecord:
    """A round of a campaign.

    Attributes:
        number: Its number, from 1.
        started_at: When it began, in UTC.
        ended_at: When it ended, in UTC; ``None`` while it lasts.
    """

    number: int
    started_at: datetime
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
        standing: How well the gain of a kept trial is proven by now; ``None`` for any other.
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
    state: TrialState = TrialState.QUEUED
    phase: Phase | None = None
    standing: Standing | None = None

    @property
    def status(self) -> Status | None:
        """How it ended; ``None`` while it is in flight."""
        return None if self.outcome is None else self.outcome.status

    @property
    def in_flight(self) -> bool:
        """Whether it still waits for its outcome."""
        return self.outcome is None

    @property
    def was_killed(self) -> bool:
        """Whether a person has ended it while it ran."""
        failure = None if self.outcome is None else self.outcome.failure
        return failure is not None and failure.kind is FailureKind.KILLED


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
        found: What it found.
    """

    trial: int
    made_at: datetime
    found: Certificate


@dataclass(frozen=True)
class CheckpointRecord:
    """A checkpoint of a working line.

    Attributes:
        position: Its place among the checkpoints of its campaign, from 0.
        made_at: When it was made, in UTC.
        found: What it found.
    """

    position: int
    made_at: datetime
    found: Checkpoint


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
        turn: Number of the specialist's turn in which it was said; ``None`` if it was in none.
    """

    source: str
    type: str
    payload: Mapping[str, Any]
    trial: int | None = None
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    turn: int | None = None


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


@dataclass(frozen=True, slots=True)
class TrialBrief:
    """A trial in one row, without its edits, recipe, measurements and logs.

    Attributes:
        number: Its number in its campaign; 0 is the baseline.
        status: How it ended; ``None`` while it is in flight.
        state: Where it stands.
        phase: The phase that it runs, while it is running.
        specialist: Who proposed it.
        surface: The part of the recipe that it is about.
        hypothesis: Why it should help.
        reason: Why it has its status.
        score: Mean of the metric over its seed runs, in the metric's unit.
        score_se: Standard error of the score.
        delta: Score minus the score of the best it was held against.
        delta_se: Standard error of the delta.
        parents: Numbers of the trials that it was made from, the main one first.
        failure_kind: What went wrong, if it failed.
        failure_phase: The phase in which it failed.
        signature: The error with numbers and paths taken out.
        cpu_seconds: CPU time of all its phases, in seconds.
        proposed_at: When it was proposed, in UTC.
        judged_at: When it was judged, in UTC.
        round: Number of the round in which it was proposed.
        standing: How well the gain of a kept trial is proven by now; ``None`` for any other.
    """

    number: int
    status: Status | None
    state: TrialState
    phase: Phase | None
    specialist: str
    surface: str
    hypothesis: str
    reason: str
    score: float | None
    score_se: float | None
    delta: float | None
    delta_se: float | None
    parents: tuple[int, ...]
    failure_kind: FailureKind | None
    failure_phase: Phase | None
    signature: str | None
    cpu_seconds: float
    proposed_at: datetime
    judged_at: datetime | None
    round: int | None
    standing: Standing | None = None


@dataclass(frozen=True)
class Note:
    """A note from a person.

    Attributes:
        number: Its number in its campaign, from 1.
        text: What it says.
        specialist: The specialist that it is for; ``None`` for all.
        trial: Number of the trial that it is about, if it is about one.
        created_at: When it was written, in UTC.
        retired_at: When it was retired, in UTC; ``None`` while it holds.
    """

    number: int
    text: str
    specialist: str | None
    trial: int | None
    created_at: datetime
    retired_at: datetime | None


@dataclass(frozen=True)
class UsageTotal:
    """What the calls of one model by one specialist took.

    Attributes:
        specialist: Who called.
        model: The model.
        calls: How many calls.
        prompt_tokens: Tokens sent.
        completion_tokens: Tokens received.
        seconds: Time waited, in seconds.
        cost: Cost, in the currency that the caller counts in.
    """

    specialist: str
    model: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    cost: float


@dataclass(frozen=True, slots=True)
class UsageEntry:
    """What one call of a model, or one trial on a device, used, and when it was booked.

    Attributes:
        at: When it was booked, in UTC.
        model: The model; or the word that stands for devices.
        tokens: Tokens sent and received.
        seconds: Time waited, or that slots were held, in seconds.
        cost: Cost, in the currency that the caller counts in.
    """

    at: datetime
    model: str
    tokens: int
    seconds: float
    cost: float


@dataclass(frozen=True)
class Lease:
    """A slot that a running trial holds.

    Attributes:
        campaign: Name of the campaign.
        trial: The trial's number.
        slot: Name of the slot.
        sandbox: Identity of what runs in it, as a container's name.
        owner: Identity of the process that took it.
        since: When it was taken, in UTC.
    """

    campaign: str
    trial: int
    slot: str
    sandbox: str
    owner: str
    since: datetime


class TrialBriefs(Sequence[TrialBrief]):
    """Trials in order.

    Args:
        items: The trials.
    """

    def __init__(self, items: Sequence[TrialBrief]) -> None:
        self._items = tuple(items)

    @overload
    def __getitem__(self, index: int) -> TrialBrief: ...

    @overload
    def __getitem__(self, index: slice) -> TrialBriefs: ...

    def __getitem__(self, index: int | slice) -> TrialBrief | TrialBriefs:
        if isinstance(index, slice):
            return TrialBriefs(self._items[index])
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"TrialBriefs({len(self)} trials)"

    def columns(self) -> dict[str, list[Any]]:
        """Return the values by column in plain types: enums as text, parents as lists."""
        names = [field.name for field in fields(TrialBrief)]
        return {name: [_plain(getattr(item, name)) for item in self] for name in names}

    def to_pandas(self) -> Any:
        """Return the trials as a pandas ``DataFrame``.

        Raises:
            LineageError: pandas is not installed.
        """
        return _library("pandas").DataFrame(self.columns())

    def to_polars(self) -> Any:
        """Return the trials as a Polars ``DataFrame``.

        Raises:
            LineageError: Polars is not installed.
        """
        return _library("polars").DataFrame(self.columns(), strict=False)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise LineageError(f"a frame needs {name}, which is missing: pip install {name}") from error
