"""Whether two arms differ: a test on differences that are paired by seed."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from statistics import fmean, median, stdev
from typing import Any

from recipelab.analysis.history import History, Judged, history_of
from recipelab.analysis.stats import best_so_far
from recipelab.budget import DEVICE
from recipelab.core.trial import FailureKind, Status
from recipelab.lineage import LineageStore

EXACT = 14
"""Up to so many differences every pattern of signs is looked at; beyond, some are drawn."""

DRAWS = 20_000

PAIRED_METHOD = (
    "p: two-sided sign-flip test on differences paired by seed. If an arm made no difference, each "
    "difference would be as likely with the other sign; p is the share of patterns of signs whose "
    f"mean lies as far from zero as the one found (all patterns up to {EXACT} seeds, else {DRAWS} "
    "that are drawn). With n seeds it cannot be below 2 / 2^n: six seeds for p < 0.05, eight for "
    "p < 0.01. effect: mean difference in standard deviations of the differences"
)


def sign_flip(differences: Sequence[float]) -> float:
    """How often chance alone would give a mean as far from zero.

    Args:
        differences: One for each pair.

    Returns:
        The two-sided p-value; 1 if there is no difference at all.
    """
    values = [value for value in differences if value]
    if not values:
        return 1.0
    # Sums that are equal but for rounding are equal.
    bound = abs(math.fsum(values)) * (1.0 - 1e-9)
    if len(values) <= EXACT:
        patterns = product((1, -1), repeat=len(values))
        found = [abs(_sum(values, signs)) >= bound for signs in patterns]
        return sum(found) / len(found)
    rng = random.Random(0)
    hits = sum(
        abs(_sum(values, rng.choices((1, -1), k=len(values)))) >= bound for _ in range(DRAWS)
    )
    return (1 + hits) / (1 + DRAWS)


def paired(values: Sequence[float], base: Sequence[float]) -> dict[str, Any]:
    """Compares two lists of the same length, value by value.

    Returns:
        The number of pairs, their mean difference, the effect in standard deviations of the
        differences (``None`` where it does not exist), and the p-value.
    """
    differences = [value - other for value, other in zip(values, base, strict=True)]
    spread = stdev(differences) if len(differences) > 1 else 0.0
    mean = fmean(differences) if differences else None
    return {
        "pairs": len(differences),
        "difference": mean,
        "effect": mean / spread if mean is not None and spread else None,
        "p": sign_flip(differences) if differences else None,
    }


def _sum(values: Sequence[float], signs: Sequence[int]) -> float:
    return sum(value if sign > 0 else -value for value, sign in zip(values, signs, strict=True))


BASE = "specialists"
"""The arm that others are held against."""

SHARE = 0.9
"""Share of the best gain whose cost in trials is told."""

TESTED = ("gain_percent", "kept", "failures", "repeated")
"""Figures that are compared with those of :data:`BASE`, seed by seed."""

OVERRUNS = (Status.TRAIN_OVERRUN, Status.EVAL_OVERRUN)

METHOD = (
    "All figures are of trials that count toward the budget. gain_percent: the best score against "
    "the campaign's own baseline, positive where it is better. failures: trials without a valid "
    "measurement (crashed, oversize, overruns, gate_missed, illegal). repeated: failures with the "
    "signature of an earlier failure that was judged before this trial was proposed, so that its "
    "proposer could have known. overruns: failures by time. duplicates: proposals of a recipe that "
    "the campaign had already, tried again or refused. trials_to_90: trials until 90 % of the best "
    "gain that any arm reached with the same seed, median over seeds, where one that never got "
    f"there counts as later than all. {PAIRED_METHOD}"
)


@dataclass(frozen=True)
class RunFigures:
    """What one campaign came to; see :data:`METHOD`.

    Attributes:
        campaign: Its name.
        scores: The best score after 0, 1, 2, ... trials that count.
        gain_percent: Gain of the best over the baseline in percent; ``None`` without a score.
        trials: Trials that count.
        kept: Trials that were kept.
        failures: Trials without a valid measurement.
        repeated: Failures that repeated a known one.
        overruns: Failures by time.
        duplicates: Proposals of a recipe that the campaign had already.
        tokens: Tokens sent to and received from models.
        device_seconds: How long trials held slots.
    """

    campaign: str
    scores: tuple[float, ...]
    gain_percent: float | None
    trials: int
    kept: int
    failures: int
    repeated: int
    overruns: int
    duplicates: int
    tokens: int
    device_seconds: float

    @property
    def best(self) -> float | None:
        """The best score at the end."""
        return self.scores[-1] if self.scores else None

    def trials_to(self, score: float, sign: int) -> int | None:
        """Trials until the best was at least as good as a score; ``None`` if it never was."""
        found = (n for n, best in enumerate(self.scores) if sign * (best - score) >= 0)
        return next(found, None)


Runs = Mapping[str, Mapping[int, RunFigures]]
"""Of each arm its campaigns by seed."""


def run_figures(store: LineageStore, campaign: str) -> RunFigures:
    """Counts what one campaign came to.

    Raises:
        RecipelabError: There is no such campaign, or its pack cannot be read.
    """
    history = history_of(store, campaign)
    counted = [item for item in history.proposed if item.outcome.status.counts]
    failed = [item for item in counted if item.outcome.status.is_failure]
    usage = store.usage(campaign)
    scores = _scores(history)
    return RunFigures(
        campaign=campaign,
        scores=scores,
        gain_percent=_gain_percent(scores, history.metric.goal.sign),
        trials=len(counted),
        kept=sum(item.outcome.status is Status.KEPT for item in counted),
        failures=len(failed),
        repeated=len(list(repeated(failed))),
        overruns=sum(item.outcome.status in OVERRUNS for item in failed),
        duplicates=_duplicates(history),
        tokens=sum(i.prompt_tokens + i.completion_tokens for i in usage if i.model != DEVICE),
        device_seconds=sum(item.seconds for item in usage if item.model == DEVICE),
    )


def repeated(failed: Sequence[Judged]) -> Iterable[Judged]:
    """Failures that repeat one that was known when they were proposed, in their order."""
    first: dict[str, Judged] = {}
    for item in failed:
        failure = item.outcome.failure
        if failure is None:
            continue
        known = first.setdefault(failure.signature, item).record.judged_at
        if known is not None and known <= item.record.proposed_at:
            yield item


def compare(runs: Runs, sign: int) -> dict[str, Any]:
    """Puts the arms side by side.

    Args:
        runs: The campaigns.
        sign: +1 if a larger score is better, else -1.

    Returns:
        For each arm the means over its seeds with standard deviations, and the tests against
        :data:`BASE` on the seeds that both have.
    """
    goals = _goals(runs, sign)
    return {
        arm: _means(found, goals, sign)
        | {"against": {} if arm == BASE else _tests(found, runs.get(BASE, {}))}
        | {"runs": {str(seed): _plain(run) for seed, run in sorted(found.items())}}
        for arm, found in runs.items()
    }


def _scores(history: History) -> tuple[float, ...]:
    statuses = {item.number: item.outcome.status for item in history.judged}
    order = [n for n in history.order if statuses[n].counts or statuses[n] is Status.BASELINE]
    return tuple(best_so_far(replace(history, order=tuple(order))))


def _gain_percent(scores: Sequence[float], sign: int) -> float | None:
    if not scores or not scores[0]:
        return None
    return 100.0 * sign * (scores[-1] - scores[0]) / abs(scores[0])


def _duplicates(history: History) -> int:
    seen: set[str] = set()
    many = 0
    for record in history.trials:
        outcome = record.outcome
        refused = outcome is not None and outcome.status is Status.REJECTED
        if refused and outcome is not None and outcome.failure is not None:
            many += outcome.failure.kind is FailureKind.DUPLICATE
        elif record.digest:
            many += record.digest in seen
            seen.add(record.digest)
    return many


def _goals(runs: Runs, sign: int) -> dict[int, float]:
    """For each seed the score that is 90 % of the way to the best that any arm reached."""
    goals: dict[int, float] = {}
    for seed in {seed for found in runs.values() for seed in found}:
        scores = [f[seed].scores for f in runs.values() if seed in f and f[seed].scores]
        gains = [sign * (one[-1] - one[0]) for one in scores]
        if gains and max(gains) > 0:
            start = scores[gains.index(max(gains))][0]
            goals[seed] = start + sign * SHARE * max(gains)
    return goals


def _means(
    found: Mapping[int, RunFigures], goals: Mapping[int, float], sign: int
) -> dict[str, Any]:
    names = ("best", "gain_percent", "trials", "kept", "failures", "repeated", "overruns")
    more = ("duplicates", "tokens", "device_seconds")
    told = {name: _mean([getattr(run, name) for run in found.values()]) for name in names + more}
    costs = [found[seed].trials_to(goal, sign) for seed, goal in goals.items() if seed in found]
    late = [float("inf") if cost is None else float(cost) for cost in costs]
    middle = median(late) if late else float("inf")
    return {
        "seeds": len(found),
        **told,
        "trials_to_90": None if middle == float("inf") else middle,
        "reached_90": sum(cost is not None for cost in costs),
    }


def _mean(values: Iterable[float | None]) -> dict[str, float | None]:
    known = [value for value in values if value is not None]
    return {
        "mean": fmean(known) if known else None,
        "sd": stdev(known) if len(known) > 1 else None,
    }


def _tests(found: Mapping[int, RunFigures], base: Mapping[int, RunFigures]) -> dict[str, Any]:
    both = sorted(set(found) & set(base))
    told = {}
    for name in TESTED:
        pairs = [(getattr(found[seed], name), getattr(base[seed], name)) for seed in both]
        known = [(one, other) for one, other in pairs if one is not None and other is not None]
        told[name] = paired([one for one, _ in known], [other for _, other in known])
    return told if both else {}


def _plain(run: RunFigures) -> dict[str, Any]:
    return asdict(run) | {"scores": list(run.scores)}
