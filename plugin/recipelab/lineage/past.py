"""Read the figures of all trials of a campaign: what its statistics need of each, and no more."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from sys import intern
from typing import Any

from recipelab.core.trial import FailureKind, GateResult, Phase, Standing, Status
from recipelab.lineage.database import Row, Transaction
from recipelab.lineage.lookup import LARGEST_NUMBER, trial_key
from recipelab.lineage.values import from_optional_stamp, from_stamp, parent_numbers

_PAST_TRIALS = """
SELECT t.number, t.parents, t.specialist, t.surface, x.hypothesis, t.digest, t.proposed_at,
  t.judged_at, t.status, x.reason, t.score, f.kind, f.phase, x.signature, x.gates, x.seed_runs,
  t.standing
FROM trial t JOIN trial_text x ON x.trial_id = t.id LEFT JOIN failure f ON f.id = t.failure_id
WHERE t.id BETWEEN :low AND :high ORDER BY t.id LIMIT :limit
"""


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
        standing: How well the gain of a kept trial is proven by now; ``None`` for any other.
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
    standing: Standing | None = None

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


def past_trials(
    transaction: Transaction, campaign_id: int, *, after: int, limit: int
) -> list[PastTrial]:
    """Return the next trials of a campaign, lowest number first.

    Args:
        transaction: Where to look.
        campaign_id: The campaign.
        after: Only trials with a higher number.
        limit: How many at most.
    """
    rows = transaction.rows(
        _PAST_TRIALS,
        low=trial_key(campaign_id, after + 1),
        high=trial_key(campaign_id, LARGEST_NUMBER),
        limit=limit,
    )
    return [_past_trial(row) for row in rows]


_NONE_MISSED: Mapping[str, float] = {}


def _past_trial(row: Row) -> PastTrial:
    (
        number, parents, specialist, surface, hypothesis, digest, proposed_at, judged_at, status,
        reason, score, kind, phase, signature, gates, seed_runs, standing,
    ) = row  # fmt: skip
    wall, cpu, device, runs = (
        spent_of_runs(json.loads(seed_runs)) if status else (None, None, None, 0)
    )
    return PastTrial(
        number=number,
        parents=parent_numbers(parents),
        # Of texts that repeat, one object serves all trials.
        specialist=intern(specialist),
        surface=intern(surface),
        hypothesis=hypothesis,
        digest=digest,
        proposed_at=from_stamp(proposed_at),
        judged_at=from_optional_stamp(judged_at),
        status=Status(status) if status else None,
        reason=intern(reason) if status else "",
        score=score,
        failure_kind=FailureKind(kind) if kind else None,
        failure_phase=Phase(phase) if phase else None,
        signature=intern(signature) if kind else None,
        missed=_missed(gates) if status else _NONE_MISSED,
        wall_seconds=wall,
        cpu_seconds=cpu,
        device_seconds=device,
        seed_runs=runs,
        standing=Standing(standing) if standing else None,
    )


def _missed(gates: str) -> Mapping[str, float]:
    """Return for each gate that was missed how far its value must move, in the gate's unit."""
    # A gate is missed by a negative margin, so that most gates need no parsing.
    if "-" not in gates:
        return _NONE_MISSED
    results = (GateResult(*gate) for gate in json.loads(gates))
    return {gate.name: -gate.margin for gate in results if not gate.passed} or _NONE_MISSED


def spent_of_runs(runs: list[Any]) -> tuple[float | None, float | None, float | None, int]:
    """Return wall-clock, CPU and device seconds of seed runs as stored, and how many runs.

    An imported run has no timings, but measurements that stand for the whole trial.
    """
    timings = [timing for _, timed, _ in runs for timing in timed]
    device, seeds = _measured(runs, "device_seconds"), _measured(runs, "n_seeds")
    wall: float | None = sum(timing[1] for timing in timings)
    cpu: float | None = sum(timing[2] for timing in timings)
    if not timings:
        wall, cpu = _measured(runs, "wall_seconds"), None
    return (
        wall,
        cpu,
        wall if device is None else device,
        len(runs) if seeds is None else round(seeds),
    )


def _measured(runs: list[Any], name: str) -> float | None:
    found = [measures[name] for _, _, measures in runs if name in measures]
    return sum(found) if found else None
