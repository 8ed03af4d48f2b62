"""The nouns of a trial: what was proposed, what was measured, and how it ended.

Plain data without I/O. Nothing here knows how a trial is run or where it is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Trust(StrEnum):
    """How far the score of a pack can be believed; derived from the pack, never typed."""

    SELF_REPORTED = "self-reported"
    """The scorer only reads a number that code of an agent wrote."""
    PROTECTED = "protected"
    """What scores runs beside code of an agent, and is held fixed."""
    ISOLATED = "isolated"
    """Predictions are scored apart, on answers that no recipe sees."""

    @property
    def warning(self) -> str | None:
        """What a reader of the scores has to know; ``None`` where they can be believed."""
        return _TRUST_WARNINGS.get(self)

    @property
    def heading(self) -> str:
        """What stands above every table, patch and transcript; empty where nothing has to."""
        if self is not Trust.SELF_REPORTED:
            return ""
        return "self-reported: code that agents may change printed every score, so none is proven"


_TRUST_WARNINGS = {
    Trust.SELF_REPORTED: (
        "this profile is self-reported: code of the recipe wrote the number that is its score, and "
        "nothing but the agents' honesty speaks for it"
    ),
    Trust.PROTECTED: (
        "this profile is protected, not isolated: code of the recipe runs beside what scores it, "
        "so read the best trial's patch before you believe it (docs/full-profiles.md)"
    ),
}


class Phase(StrEnum):
    """A part of a trial that runs in a sandbox of its own.

    ``draw``, ``prepare`` and ``score`` run the pack's evaluator, the others the recipe. ``draw``
    comes once in a campaign, the others with every seed, in this order but for ``prepare``, which
    comes before ``train``.
    """

    DRAW = "draw"
    PREFLIGHT = "preflight"
    TRAIN = "train"
    PREPARE = "prepare"
    PREDICT = "predict"
    SCORE = "score"

    @property
    def runs_recipe(self) -> bool:
        """Whether code that an agent may have written runs in it."""
        return self in (Phase.PREFLIGHT, Phase.TRAIN, Phase.PREDICT)


class Status(StrEnum):
    """How a trial ended. The list is closed."""

    BASELINE = "baseline"
    KEPT = "kept"
    DISCARDED = "discarded"
    REJECTED = "rejected"
    CRASHED = "crashed"
    OVERSIZE = "oversize"
    TRAIN_OVERRUN = "train_overrun"
    EVAL_OVERRUN = "eval_overrun"
    GATE_MISSED = "gate_missed"
    ILLEGAL = "illegal"
    ABORTED = "aborted"

    @property
    def is_failure(self) -> bool:
        """Whether the trial came to no valid measurement."""
        return self not in (Status.BASELINE, Status.KEPT, Status.DISCARDED)

    @property
    def counts(self) -> bool:
        """Whether the trial spends the campaign's budget of trials.

        A rejected proposal cost no sandbox time, and an aborted one was never the proposer's
        fault; the baseline belongs to the campaign itself.
        """
        return self not in (Status.BASELINE, Status.REJECTED, Status.ABORTED)

    @property
    def is_parent(self) -> bool:
        """Whether the trial stands on the chain of accepted recipes."""
        return self in (Status.BASELINE, Status.KEPT)


class Standing(StrEnum):
    """How well the gain of a kept trial is proven. The list is closed."""

    CERTIFIED = "certified"
    """It was tested on fresh seeds, alone or within a line whose checkpoint held."""
    PROVISIONAL = "provisional"
    """It beat the head of the working line on few seeds; no checkpoint has tested it yet."""
    UNPROVEN = "unproven"
    """The line that it belonged to fell back to the certified recipe."""
    UNTESTED = "untested"
    """It was kept by a policy that tests nothing."""


class FailureKind(StrEnum):
    """What went wrong, in the words a person would use. The list is closed."""

    SYNTAX = "syntax"
    IMPORT = "import"
    NAME = "name"
    SHAPE = "shape"
    TYPE = "type"
    VALUE = "value"
    OOM = "oom"
    NAN = "nan"
    TIMEOUT = "timeout"
    DISK = "disk"
    MISSING_OUTPUT = "missing_output"
    BAD_OUTPUT = "bad_output"
    GATE = "gate"
    SIZE = "size"
    PROJECTED = "projected"
    PROCESSES = "processes"
    TAMPERING = "tampering"
    RULE = "rule"
    EDIT = "edit"
    DUPLICATE = "duplicate"
    DECLINED = "declined"
    KILLED = "killed"
    SIGNAL = "signal"
    INFRASTRUCTURE = "infrastructure"
    OTHER = "other"


@dataclass(frozen=True)
class Edit:
    """One change of one file: a search/replace block, or the file's whole new content.

    Attributes:
        path: File inside the recipe, with forward slashes, as ``recipe/train.py``.
        search: Text that occurs exactly once in the file; ``None`` for a whole-file edit.
        replace: What takes its place, or the whole new content.
    """

    path: str
    search: str | None
    replace: str


@dataclass(frozen=True)
class Proposal:
    """What a specialist submits.

    Attributes:
        specialist: Name of the agent (or person) that proposes.
        surface: The part of the recipe that the edit is about.
        parent: Number of the trial whose recipe is edited.
        hypothesis: Why the edit should help.
        expected_delta: Expected change of the metric, signed, in the metric's unit.
        edits: The changes, applied in order.
    """

    specialist: str
    surface: str
    parent: int
    hypothesis: str
    expected_delta: float
    edits: tuple[Edit, ...]


@dataclass(frozen=True)
class PhaseTiming:
    """What the sandbox measured from outside during one phase of one seed run.

    Attributes:
        phase: Which phase.
        wall_seconds: Wall-clock time in seconds.
        cpu_seconds: CPU time of every process of the phase, in seconds.
        peak_memory_mb: Largest memory use in MiB, where the sandbox can tell.
    """

    phase: Phase
    wall_seconds: float
    cpu_seconds: float
    peak_memory_mb: float | None = None


@dataclass(frozen=True)
class SeedRun:
    """One train-predict-score pass with one seed.

    Attributes:
        seed: The seed that the recipe was given.
        timings: One entry for each phase that ran.
        measures: Named measurements, as ``train.cpu_seconds`` and ``score.accuracy``.
        items: What the scorer left of each item of the hidden set, as 32-bit floats, little-endian;
            empty if it leaves nothing. It is not stored: it is for comparisons in one process.
        artifact: SHA-256 of what train left, by which a recipe that ignores its seed is known;
            empty if it is not known. It is not stored either.
    """

    seed: int
    timings: tuple[PhaseTiming, ...]
    measures: Mapping[str, float] = field(default_factory=dict[str, float])
    items: bytes = field(default=b"", compare=False, repr=False)
    artifact: str = field(default="", compare=False)


@dataclass(frozen=True)
class GateResult:
    """One gate, judged.

    Attributes:
        name: The gate's name in the pack.
        value: The measured value, averaged over seeds.
        limit: The limit it was held against.
        margin: Signed distance to the limit; negative when the gate is missed.
        error: Standard error of the margin; ``None`` if it is not known.
    """

    name: str
    value: float
    limit: float
    margin: float
    error: float | None = None

    @property
    def passed(self) -> bool:
        """Whether the value is on the right side of the limit."""
        return self.margin >= 0.0

    @property
    def figures(self) -> str:
        """Value, limit and margin in words, as ``0.931, limit 0.94, margin -0.009``."""
        return f"{self.value:.5g}, limit {self.limit:g}, margin {self.margin:+.3g}"


@dataclass(frozen=True)
class Failure:
    """Why a trial came to no valid measurement.

    Attributes:
        phase: The phase in which it failed; ``None`` when no sandbox was used.
        kind: What went wrong.
        signature: The error with numbers and paths taken out, so that repeats can be counted.
        excerpt: The few lines of the log that show the cause.
        seed: The seed run in which it failed, if it was one.
    """

    phase: Phase | None
    kind: FailureKind
    signature: str
    excerpt: str
    seed: int | None = None


@dataclass(frozen=True)
class Evidence:
    """On how many seeds a trial was judged, and how strictly.

    Attributes:
        against: Number of the best that it was held against.
        planned: Seed runs of a screening to its end.
        screened: Seed runs that its screening had; fewer than planned if it was stopped as
            hopeless.
        confirmed: Fresh seeds that it was tested on; 0 if it was not promising.
        saved_seconds: What the seed runs that were left out would have taken, in seconds.
        p: Chance of so large a gain without any, where it was tested.
        level: What ``p`` had to be at most.
        same_as: The trial whose recipe is the same and whose measurements it shares.
        standing: How well the gain of a kept trial was proven when it was judged; ``None`` for any
            other trial.
        rebased_from: The best that it was proposed on or screened beside, where that has changed
            meanwhile; its edit was merged onto the new one, if it was made on the old one.
        parent_delta: Its score minus that of the recipe that it was screened beside, where that is
            not ``against``.
        parent_delta_se: Standard error of that difference.
        deterministic: Whether it was the same for every seed, so that further seeds tell nothing.
        stopped_early: Seed runs that were stopped on their training curve.
    """

    against: int
    planned: int
    screened: int
    confirmed: int = 0
    saved_seconds: float = 0.0
    p: float | None = None
    level: float | None = None
    same_as: int | None = None
    standing: Standing | None = None
    rebased_from: int | None = None
    parent_delta: float | None = None
    parent_delta_se: float | None = None
    deterministic: bool = False
    stopped_early: int = 0


@dataclass(frozen=True)
class Checkpoint:
    """A test of the working line: its head against the last certified recipe, on fresh seeds.

    Attributes:
        trial: Number of the head that was tested.
        against: Number of the certified trial, or the baseline.
        held: Whether the gain of the line is more than luck: the head is certified now.
        fell_back: Whether the line fell back to the certified recipe.
        reason: One sentence that says why.
        seeds: Fresh seeds of each side.
        delta: Score of the head minus that of the certified recipe, in the metric's unit; ``None``
            if one of them failed.
        delta_se: Standard error of that difference.
        delta_low: Lower end of its 95 % interval.
        delta_high: Upper end.
        p: Chance of so large a gain without any.
        level: What ``p`` had to be at most.
        gates: The gates of the head, over all its runs.
        runs: The seed runs of the head.
        against_runs: The seed runs of the certified recipe; empty where they are in those of the
            head, under names that begin with ``beside.``.
    """

    trial: int
    against: int
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
    gates: tuple[GateResult, ...] = ()
    runs: tuple[SeedRun, ...] = ()
    against_runs: tuple[SeedRun, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """All that came of a trial: the judged result that the lineage stores in one transaction.

    Attributes:
        status: How the trial ended.
        reason: One sentence that says why it has this status.
        seed_runs: The seed runs that finished.
        gates: The gates that were judged.
        score: Mean of the metric over the seed runs; ``None`` without a full measurement.
        score_se: Standard error of that mean; ``None`` with fewer than two seed runs.
        delta: Score minus the score of the best it was held against; ``None`` without a score.
        delta_se: Standard error of that difference.
        failure: Set for every failed trial.
        log_tail: End of the last phase's log.
        environment: What it ran in, as ``docker cpu sha256:...``.
        evidence: On how many seeds it was judged; ``None`` if it was not compared with the best.
    """

    status: Status
    reason: str
    seed_runs: tuple[SeedRun, ...] = ()
    gates: tuple[GateResult, ...] = ()
    score: float | None = None
    score_se: float | None = None
    delta: float | None = None
    delta_se: float | None = None
    failure: Failure | None = None
    log_tail: str = ""
    environment: str = ""
    evidence: Evidence | None = None

    @property
    def judged_seeds(self) -> frozenset[int]:
        """The seeds that the score rests on: the fresh ones, if the trial was confirmed."""
        confirmed = self.evidence.confirmed if self.evidence is not None else 0
        return frozenset(run.seed for run in self.seed_runs[-confirmed:])

    @property
    def cpu_seconds(self) -> float:
        """CPU time of all phases of all seed runs, in seconds."""
        return sum(timing.cpu_seconds for run in self.seed_runs for timing in run.timings)


CERTIFIED, RE_MEASURED = "certified", "re-measured"
"""How a certificate is called whose gain holds: the latter where the recipe says its own score."""


@dataclass(frozen=True)
class Certificate:
    """What a certification of a trial found, on seeds and answers that no trial had.

    Attributes:
        status: ``certified``, ``re-measured`` where the gain holds and the pack is self-reported,
            ``not_certified``, or how a recipe failed, as the status of a trial.
        reason: One sentence that says why it has this status.
        held_out: Whether it was scored on answers that no trial was scored on.
        seeds: Seed runs of the recipe.
        score: Mean of the metric; ``None`` without a full measurement.
        score_se: Standard error of that mean.
        baseline_score: Mean of the metric of the starting recipe.
        delta: Score minus that of the baseline; ``None`` if one of them failed.
        delta_low: Lower end of its 95 % interval, corrected for the tries (Bonferroni).
        delta_high: Upper end.
        p: Chance of so large a gain without any, corrected for the tries.
        test: Name of the statistical test.
        gates: The gates that were judged.
        environment: What it ran in.
        tries: Certifications of the campaign up to this one.
    """

    status: str
    reason: str = ""
    held_out: bool = False
    seeds: int = 0
    score: float | None = None
    score_se: float | None = None
    baseline_score: float | None = None
    delta: float | None = None
    delta_low: float | None = None
    delta_high: float | None = None
    p: float | None = None
    test: str = ""
    gates: tuple[GateResult, ...] = ()
    environment: str = ""
    tries: int = 1

    @property
    def certified(self) -> bool:
        """Whether the gain holds."""
        return self.status in (CERTIFIED, RE_MEASURED)
