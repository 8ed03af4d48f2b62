"""Certifies a trial: on seeds that no trial had, against answers that none was held to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from recipelab.acceptance import Comparison, Samples, compare
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Outcome, Status
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.metric import Reference, mean_predict
from recipelab.evaluation.seed_runs import fresh_seeds, metric_of
from recipelab.packs.pack import Pack

CONFIDENCE = 0.95
"""Confidence of the intervals."""


async def certify(
    evaluator: Evaluator,
    baseline: Recipe,
    recipe: Recipe,
    seeds: tuple[int, ...],
    labels: Mapping[str, str],
) -> dict[str, Any]:
    """Measures a recipe and the baseline on seeds that no trial had.

    Args:
        evaluator: Measures; its pack is the one that :meth:`Pack.certified` gives.
        baseline: The starting recipe.
        recipe: The recipe that is certified.
        seeds: The seeds.
        labels: What it belongs to: ``campaign`` and ``trial``.

    Returns:
        Plain data: ``status`` (``certified``, ``not_certified``, or how it failed), ``reason``,
        score, gain against the baseline with its interval, gates.
    """
    start = await _baseline(evaluator, baseline, seeds, labels)
    if start.status is not Status.BASELINE:
        return _failed(start, f"the baseline itself: {start.reason}")
    runs = {run.seed: run for run in start.seed_runs}
    reference = Reference(0, baseline, runs, mean_predict(start.seed_runs))
    outcome = await evaluator.measure(recipe, seeds, beside=reference, labels=labels)
    if outcome.status is not Status.BASELINE:
        return _failed(outcome, outcome.reason)
    sample = metric_of(outcome.seed_runs)
    metric = evaluator.pack.metric
    samples = Samples(sample, reference.sample(sample, metric))
    return _found(outcome, start, compare(samples, metric.goal), evaluator.pack)


async def _baseline(
    evaluator: Evaluator, baseline: Recipe, seeds: tuple[int, ...], labels: Mapping[str, str]
) -> Outcome:
    # Where it runs beside the recipe anyway, a few seeds of its own give the unit.
    side_by_side = evaluator.pack.metric.side_by_side
    return await evaluator.measure(
        baseline, seeds[:2] if side_by_side else seeds, labels={**labels, "beside": "0"}
    )


def _found(outcome: Outcome, baseline: Outcome, found: Comparison, pack: Pack) -> dict[str, Any]:
    low, high = found.interval(CONFIDENCE)
    certain = (low if pack.metric.goal.sign > 0 else -high) > 0
    words = "holds" if certain else "does not hold"
    return {
        "status": "certified" if certain else "not_certified",
        "reason": f"the gain against the baseline {words} at {CONFIDENCE:.0%} confidence",
        "held_out": pack.certify.held_out,
        "seeds": len(outcome.seed_runs),
        "score": outcome.score,
        "score_se": outcome.score_se,
        "baseline_score": baseline.score,
        "delta": found.delta,
        "delta_low": low,
        "delta_high": high,
        "p": found.p,
        "test": found.test,
        "gates": [asdict(gate) for gate in outcome.gates],
        "environment": outcome.environment,
    }


def _failed(outcome: Outcome, reason: str) -> dict[str, Any]:
    return {
        "status": str(outcome.status),
        "reason": reason,
        "seeds": len(outcome.seed_runs),
        "score": outcome.score,
        "gates": [asdict(gate) for gate in outcome.gates],
        "environment": outcome.environment,
    }


def certification_seeds(pack: Pack, campaign: str, count: int) -> tuple[int, ...]:
    """The seeds of all certifications of a campaign; no trial has them."""
    return fresh_seeds(f"{pack.name}/{campaign}/certify", count, taken=pack.seeds)
