"""Compare the arms of an ablation by the figures of their campaigns, with tests paired by seed."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from statistics import fmean, median, stdev
from typing import Any

from recipelab.analysis.history import History, history_of
from recipelab.analysis.stats import best_so_far
from recipelab.budget import DEVICE
from recipelab.core.trial import FailureKind, Status
from recipelab.lineage import LineageStore, PastTrial

BASE = "specialists"
"""The arm with which the others are compared."""

SHARE = 0.9
"""Share of the best gain of which the cost in trials is given."""

AVERAGED = (
    *("best", "gain_percent", "trials", "kept", "failures", "repeated", "overruns"),
    *("duplicates", "tokens", "device_seconds"),
)
"""Figures of which an arm has the mean over its seeds."""

TESTED = ("gain_percent", "kept", "failures", "repeated")
"""Figures that are compared with those of :data:`BASE`, seed by seed."""

OVERRUNS = (Status.TRAIN_OVERRUN, Status.EVAL_OVERRUN)

EXACT = 14
"""Up to so many differences every pattern of signs is looked at; beyond, some are drawn."""

DRAWS = 20_000

LEVEL = 0.05
"""Chance that a table of tests shows a difference anywhere although there is none."""

PAIRED_METHOD = (
    "p: two-sided sign-flip test on differences paired by seed. If an arm made no difference, each "
    "difference would be as likely with the other sign; p is the share of patterns of signs whose "
    f"mean lies as far from zero as the one found (all patterns up to {EXACT} seeds, else {DRAWS} "
    "that are drawn). With n seeds it cannot be below 2 / 2^n: six seeds for p < 0.05, eight for "
    "p < 0.01. effect: mean difference in standard deviations of the differences"
)

METHOD = (
    "All figures are of trials that count toward the budget. gain_percent: the best score against "
    "the campaign's own baseline, positive where it is better. failures: trials without a valid "
    "measurement (crashed, oversize, overruns, gate_missed, illegal). repeated: failures with the "
    "signature of an earlier failure that was judged before this trial was proposed, so that its "
    "proposer could have known. overruns: failures by time. duplicates: proposals of a recipe that "
    "the campaign had already, tried again or refused. trials_to_90: trials until 90 % of the best "
    "gain that any arm reached with the same seed, median over seeds, where one that never got "
    f"there counts as later than all. {PAIRED_METHOD}. p_corrected: p, corrected over all tests of "
    "the table by Holm's method, so that the chance of one below a level is at most that level "
    "while no arm makes a difference"
)


@dataclass(frozen=True)
class RunFigures:
    """The figures of one campaign; see :data:`METHOD`.

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
        """Return the trials until the best was at least as good as a score, if it ever was."""
        found = (n for n, best in enumerate(self.scores) if sign * (best - score) >= 0)
        return next(found, None)


Runs = Mapping[str, Mapping[int, RunFigures]]
"""Of each arm its campaigns by seed."""


def run_figures(store: LineageStore, campaign: str) -> RunFigures:
    """Return the figures of one campaign.

    Raises:
        RecipelabError: The campaign does not exist, or its pack cannot be read.
    """
    history = history_of(store, campaign)
    counted = [trial for trial in history.proposed if trial.counts]
    failed = [trial for trial in counted if trial.is_failure]
    usage = store.usage(campaign)
    scores = _scores(history)
    gain = history.metric.goal.gain_percent(scores[0], scores[-1]) if scores else None
    return RunFigures(
        campaign=campaign,
        scores=scores,
        gain_percent=gain,
        trials=len(counted),
        kept=sum(trial.status is Status.KEPT for trial in counted),
        failures=len(failed),
        repeated=len(list(repeated(failed))),
        overruns=sum(trial.status in OVERRUNS for trial in failed),
        duplicates=_duplicates(history),
        tokens=sum(i.prompt_tokens + i.completion_tokens for i in usage if i.model != DEVICE),
        device_seconds=sum(item.seconds for item in usage if item.model == DEVICE),
    )


def repeated(failed: Sequence[PastTrial]) -> Iterable[PastTrial]:
    """Yield the failures that repeat one that was known when they were proposed."""
    first: dict[str, PastTrial] = {}
    for trial in failed:
        if trial.signature is None:
            continue
        known = first.setdefault(trial.signature, trial).judged_at
        if known is not None and known <= trial.proposed_at:
            yield trial


def _scores(history: History) -> tuple[float, ...]:
    trials = {trial.number: trial for trial in history.judged}
    order = [n for n in history.order if trials[n].counts or trials[n].status is Status.BASELINE]
    return tuple(best_so_far(replace(history, order=tuple(order))))


def _duplicates(history: History) -> int:
    seen: set[str] = set()
    many = 0
    for trial in history.trials:
        if trial.status is Status.REJECTED and trial.failure_kind is not None:
            many += trial.failure_kind is FailureKind.DUPLICATE
        elif trial.digest:
            many += trial.digest in seen
            seen.add(trial.digest)
    return many


def compare_runs(runs: Runs, sign: int) -> dict[str, Any]:
    """Put the arms side by side.

    Args:
        runs: The campaigns.
        sign: +1 if a larger score is better, else -1.

    Returns:
        For each arm the means over its seeds with standard deviations, and the tests against
        :data:`BASE` on the seeds that both have.
    """
    goals = _goals(runs, sign)
    against = {
        arm: {} if arm == BASE else _tests(found, runs.get(BASE, {})) for arm, found in runs.items()
    }
    tests = [test for one in against.values() for test in one.values() if test["p"] is not None]
    for test, corrected in zip(tests, holm([test["p"] for test in tests]), strict=True):
        test["p_corrected"] = corrected
    return {
        arm: _means(found, goals, sign)
        | {"against": against[arm]}
        | {"runs": {str(seed): _facts(run) for seed, run in sorted(found.items())}}
        for arm, found in runs.items()
    }


def count_tests(arms: Iterable[str]) -> int:
    """Return how many tests the table of some arms has."""
    named = set(arms)
    return len(TESTED) * len(named - {BASE}) if BASE in named else 0


def seeds_needed(tests: int, level: float = LEVEL) -> int:
    """Return the fewest seeds with which a sign-flip test can show a difference.

    With n seeds, its p is at least ``2 / 2^n``, and the smallest p of a table is multiplied by the
    number of its tests.

    Args:
        tests: Tests of the table.
        level: The level that is to be reached.
    """
    return math.ceil(math.log2(2.0 * max(1, tests) / level))


def _goals(runs: Runs, sign: int) -> dict[int, float]:
    """Return for each seed the score that is 90 % of the way to the best that any arm reached."""
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
    costs = [found[seed].trials_to(goal, sign) for seed, goal in goals.items() if seed in found]
    middle = median([math.inf if cost is None else float(cost) for cost in costs] or [math.inf])
    return {
        "seeds": len(found),
        **{name: _mean([getattr(run, name) for run in found.values()]) for name in AVERAGED},
        "trials_to_90": None if middle == math.inf else middle,
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
    tests = {}
    for name in TESTED if both else ():
        pairs = [(getattr(found[seed], name), getattr(base[seed], name)) for seed in both]
        known = [(one, other) for one, other in pairs if one is not None and other is not None]
        tests[name] = paired([one for one, _ in known], [other for _, other in known])
    return tests


def _facts(run: RunFigures) -> dict[str, Any]:
    return asdict(run) | {"scores": list(run.scores)}


def paired(values: Sequence[float], base: Sequence[float]) -> dict[str, Any]:
    """Compare two lists of the same length, value by value.

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


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values, corrected for their number.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian
    Journal of Statistics 6 (1979).

    Args:
        p_values: The p-values of tests that may depend on each other in any way.

    Returns:
        The corrected ones in the same order: one at most a level is significant at it.
    """
    corrected = [1.0] * len(p_values)
    largest = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = largest
    return corrected


def sign_flip(differences: Sequence[float]) -> float:
    """Return how often chance alone would give a mean as far from zero.

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


def _sum(values: Sequence[float], signs: Sequence[int]) -> float:
    return sum(value if sign > 0 else -value for value, sign in zip(values, signs, strict=True))
