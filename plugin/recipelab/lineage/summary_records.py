"""Records of what many trials say together: groups of failures, near misses, comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from recipelab.core.trial import FailureKind, Phase, Status
from recipelab.lineage.records import TrialBrief


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
class Comparison:
    """What the change of a judged trial is a change against, and on which seeds.

    Attributes:
        against: Number of the best that it was held against; ``None`` if that is not known.
        seeds: The seeds that its score and its change rest on.
        parent_delta: Its metric minus that of its parent, the mean over ``parent_seeds``; ``None``
            where they have no seed in common.
        parent_delta_se: Standard error of that mean; ``None`` with fewer than two seeds.
        parent_seeds: The seeds that both have run.
    """

    against: int | None
    seeds: tuple[int, ...]
    parent_delta: float | None = None
    parent_delta_se: float | None = None
    parent_seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class MarginGain:
    """A gate that a trial holds by more than the best does.

    Attributes:
        name: The gate's name.
        margin: Distance of the trial's value to the limit.
        best: The same distance of the best.
    """

    name: str
    margin: float
    best: float


@dataclass(frozen=True)
class BankedMargin:
    """A discarded trial that holds a gate by more than the best does, at no cost that shows.

    Whoever builds on it has more room to trade for the metric than on the best.

    Attributes:
        brief: The trial.
        cost: By how much its score is worse than that of the best of now; within its error.
        gains: The gates, the one with the largest gain relative to the best's margin first.
    """

    brief: TrialBrief
    cost: float
    gains: tuple[MarginGain, ...]


@dataclass(frozen=True)
class NearMiss:
    """A trial with a better score than the best that was not kept: it failed a limit, or its gain
    was not proven.

    Attributes:
        brief: The trial.
        gain: By how much its score beats that of the best of now; positive.
        missed: The gates that it missed, the one with the largest share of its limit first; empty
            where only the proof was lacking.
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
        last_kept: Number of the newest trial that was kept.
        since_kept: Trials judged since one was kept, or ever if none was.
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
