"""The trials of a campaign in a slim form, in the order of their judging, with the best so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from sys import intern

from recipelab.core.trial import FailureKind, Outcome, Phase, Status
from recipelab.exchange.metric import MetricFacts, metric_of, source_ids
from recipelab.lineage import LineageStore, TrialRecord
from recipelab.lineage.trial_view import missed_by


@dataclass(frozen=True, slots=True)
class PastTrial:
    """A trial without its texts and seed runs: 100,000 of them take 100 MB.

    Attributes:
        number: Its number in its campaign; 0 is the baseline.
        parents: Numbers of the trials that it was made from, the main one first.
        specialist: Who proposed it.
        surface: The part of the recipe that it is about.
        hypothesis: Why it should help.
        digest: Digest of its recipe; empty if it has none.
        proposed_at: When it was proposed.
        judged_at: When it was judged; ``None`` while it is in flight.
        status: How it ended; ``None`` while it is in flight.
        reason: Why it has its status.
        score: Its score, if it has one.
        failure_kind: What went wrong, if it failed.
        failure_phase: The phase in which it failed.
        signature: The error with numbers and paths taken out, if it failed.
        missed: By how much it missed gates, in each gate's unit.
        wall_seconds: Wall-clock time of all its phases; ``None`` if it is not known.
        cpu_seconds: CPU time of all its phases; ``None`` if it is not known.
        device_seconds: How long it held devices, times their number; ``None`` if it is not known.
        seed_runs: How many seed runs finished.
    """

    number: int
    parents: tuple[int, ...]
    specialist: str
    surface: str
    hypothesis: str
    digest: str
    proposed_at: datetime
    judged_at: datetime | None
    status: Status | None
    reason: str
    score: float | None
    failure_kind: FailureKind | None
    failure_phase: Phase | None
    signature: str | None
    missed: Mapping[str, float]
    wall_seconds: float | None
    cpu_seconds: float | None
    device_seconds: float | None
    seed_runs: int

    @classmethod
    def of(cls, record: TrialRecord) -> PastTrial:
        """Return the slim form of a trial."""
        outcome = record.outcome or _NO_OUTCOME
        failure, wall = outcome.failure, _wall_seconds(outcome)
        device, seeds = _measured(outcome, "device_seconds"), _measured(outcome, "n_seeds")
        is_timed = any(run.timings for run in outcome.seed_runs)
        return cls(
            number=record.number,
            parents=record.parents,
            # Of texts that repeat, one object serves all trials.
            specialist=intern(record.specialist),
            surface=intern(record.surface),
            hypothesis=record.hypothesis,
            digest=record.digest,
            proposed_at=record.proposed_at,
            judged_at=record.judged_at,
            status=record.status,
            reason=intern(outcome.reason),
            score=outcome.score,
            failure_kind=failure.kind if failure else None,
            failure_phase=failure.phase if failure else None,
            signature=intern(failure.signature) if failure else None,
            missed=missed_by(outcome.gates) or _NONE_MISSED,
            wall_seconds=wall,
            cpu_seconds=outcome.cpu_seconds if is_timed else None,
            device_seconds=wall if device is None else device,
            seed_runs=len(outcome.seed_runs) if seeds is None else round(seeds),
        )

    @property
    def status_name(self) -> str:
        """How it ended, or ``in_flight``."""
        return self.status.value if self.status else "in_flight"

    @property
    def is_failure(self) -> bool:
        """Whether it was judged, and came to no valid measurement."""
        return self.status is not None and self.status.is_failure

    @property
    def is_parent(self) -> bool:
        """Whether it stands on the chain of accepted recipes."""
        return self.status is not None and self.status.is_parent

    @property
    def counts(self) -> bool:
        """Whether it spent the campaign's budget of trials."""
        return self.status is not None and self.status.counts


_NO_OUTCOME = Outcome(Status.ABORTED, "")
"""The outcome of trials in flight, as far as its figures go."""

_NONE_MISSED: Mapping[str, float] = {}


def _wall_seconds(outcome: Outcome) -> float | None:
    timings = [timing for run in outcome.seed_runs for timing in run.timings]
    if timings:
        return sum(timing.wall_seconds for timing in timings)
    return _measured(outcome, "wall_seconds")


def _measured(outcome: Outcome, name: str) -> float | None:
    found = [run.measures[name] for run in outcome.seed_runs if name in run.measures]
    return sum(found) if found else None


@dataclass(frozen=True)
class History:
    """The trials of a campaign.

    Attributes:
        campaign: Name of the campaign.
        trials: All trials; each stands at the place of its number.
        order: Numbers of the judged trials in the order in which they were judged.
        metric: The metric of the scores.
        names: Names of the trials in a released run, by number; empty for other campaigns.
    """

    campaign: str
    trials: tuple[PastTrial, ...]
    order: tuple[int, ...]
    metric: MetricFacts
    names: tuple[str, ...] = ()

    @cached_property
    def judged(self) -> tuple[PastTrial, ...]:
        """The judged trials in the order in which they were judged."""
        by_number = {trial.number: trial for trial in self.trials}
        found = (by_number[number] for number in self.order)
        return tuple(trial for trial in found if trial.status is not None)

    @cached_property
    def proposed(self) -> tuple[PastTrial, ...]:
        """The judged trials without the baseline."""
        return tuple(trial for trial in self.judged if trial.status is not Status.BASELINE)

    @cached_property
    def best_before(self) -> Mapping[int, float | None]:
        """The score of the best when each trial was judged; ``None`` if there was none yet."""
        best: float | None = None
        found: dict[int, float | None] = {}
        for trial in self.judged:
            found[trial.number] = best
            if trial.is_parent and trial.score is not None:
                best = trial.score
        return found

    def named(self, number: int) -> dict[str, int | str]:
        """Return a trial as JSON names it: its number, and its name in the released run."""
        named: dict[str, int | str] = {"trial": number}
        return named | {"source_id": self.names[number]} if self.names else named


def history_of(store: LineageStore, campaign: str) -> History:
    """Return the history of a campaign; only the slim forms of its trials are kept in memory.

    Raises:
        RecipelabError: The campaign does not exist, or its pack cannot be read.
    """
    record = store.campaign(campaign)
    trials = tuple(map(PastTrial.of, store.each_trial(campaign)))
    return History(
        campaign=record.name,
        trials=trials,
        # A trial may have been proposed and judged after the others were read.
        order=tuple(n for n in store.judged_order(campaign) if n < len(trials)),
        metric=metric_of(record),
        names=source_ids(record),
    )
