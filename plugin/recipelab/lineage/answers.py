"""What the lineage answers to questions about many trials: short, flat, plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from recipelab.core.trial import FailureKind, Phase, Status
from recipelab.lineage.states import TrialState


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


@dataclass(frozen=True)
class FailureGroup:
    """A failure that was seen at least once.

    Attributes:
        signature: The error with numbers and paths taken out.
        kind: What went wrong.
        phase: The phase in which it went wrong; ``None`` when no sandbox was used.
        count: How many trials failed so, on the surfaces asked for.
        first: Number of the first of them.
        last: Number of the last of them.
        last_seen: When the last one was judged, in UTC.
        excerpt: The lines of the last one's log that show the cause.
        fixed_by: Numbers of trials that measured validly after such a failure, newest first, a few.
    """

    signature: str
    kind: FailureKind
    phase: Phase | None
    count: int
    first: int
    last: int
    last_seen: datetime
    excerpt: str
    fixed_by: tuple[int, ...]


@dataclass(frozen=True)
class MissedGate:
    """A gate that a trial missed.

    Attributes:
        name: The gate's name in the pack.
        value: The measured value.
        limit: The limit it was held against.
        excess: How far the value must move, in the gate's unit; positive.
    """

    name: str
    value: float
    limit: float
    excess: float


@dataclass(frozen=True)
class NearMiss:
    """A trial with a better score than the best, which failed a limit.

    Attributes:
        brief: The trial.
        gain: By how much its score beats that of the best of now; positive.
        missed: The gates that it missed, the one with the largest share of its limit first.
        children: How many trials were made from it: attempts to repair it, most likely.
    """

    brief: TrialBrief
    gain: float
    missed: tuple[MissedGate, ...]
    children: int


@dataclass(frozen=True)
class Similar:
    """A trial like the one asked about.

    Attributes:
        brief: The trial.
        why: ``same recipe``, ``same edit``, ``same knob and value`` or ``alike in words``.
        likeness: From 0 to 1; below 1 for words, where it is the share of words in common.
    """

    brief: TrialBrief
    why: str
    likeness: float


@dataclass(frozen=True)
class SurfaceSummary:
    """How the trials of one surface, or of one specialist, went.

    Attributes:
        name: The surface or the specialist.
        tried: Trials in all, those in flight included.
        statuses: Trials by status, only what there is; ``None`` counts those in flight.
        kept: Trials that were kept.
        best_delta: The best change of the score by a kept or discarded trial, in its unit.
        last_kept: Number of the trial that was kept last.
        since_kept: Trials judged since then, or ever if none was kept.
        last_tried: Number of the newest trial.
    """

    name: str
    tried: int
    statuses: Mapping[Status | None, int]
    kept: int
    best_delta: float | None
    last_kept: int | None
    since_kept: int
    last_tried: int


@dataclass(frozen=True)
class Note:
    """A note from a person.

    Attributes:
        number: Its number in its campaign, from 1.
        text: What it says.
        specialist: Whom it is for; ``None`` for all.
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
