"""Certification: measures a trial on seeds that no trial had, against held-out answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from recipelab.acceptance import Samples, compare
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Certificate, Outcome, Status
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.metric import Incumbent, mean_predict, metric_by_seed
from recipelab.evaluation.seed_runs import fresh_seeds
from recipelab.packs.pack import Pack

CERTIFICATE_CONFIDENCE = 0.95
"""Confidence of the interval in a certificate."""


def certification_seeds(pack: Pack, campaign: str, count: int | None = None) -> tuple[int, ...]:
    """Return the seeds of all certifications of a campaign; no trial has them.

    Args:
        pack: The campaign's pack.
        campaign: Name of the campaign.
        count: How many; ``None`` for as many as the pack asks for.
    """
    key = f"{pack.name}/{campaign}/certify"
    return fresh_seeds(key, count or pack.certify.seeds, taken=pack.seeds)


async def certify(
    evaluator: Evaluator,
    baseline: Recipe,
    recipe: Recipe,
    seeds: tuple[int, ...],
    labels: Mapping[str, str],
) -> Certificate:
    """Measure a recipe and the baseline on seeds that no trial had, and compare them.

    Args:
        evaluator: Measures; its pack is the one that :meth:`Pack.certified` returns.
        baseline: The starting recipe.
        recipe: The recipe to certify.
        seeds: The seeds, as of :func:`certification_seeds`.
        labels: What it belongs to: ``campaign`` and ``trial``.
    """
    pack, metric = evaluator.pack, evaluator.pack.metric
    # Where the baseline runs beside the recipe anyway, a few seeds of its own give the unit.
    start = await evaluator.measure(
        baseline,
        seeds[:2] if metric.side_by_side else seeds,
        lenient=True,
        labels={**labels, "beside": "0"},
    )
    if start.status is not Status.BASELINE:
        return _certificate(start, f"the baseline itself: {start.reason}", pack)
    runs = {run.seed: run for run in start.seed_runs}
    incumbent = Incumbent(0, baseline, runs, mean_predict(start.seed_runs))
    outcome = await evaluator.measure(recipe, seeds, incumbent=incumbent, labels=labels)
    if outcome.status is not Status.BASELINE:
        return _certificate(outcome, outcome.reason, pack)
    sample = metric_by_seed(outcome.seed_runs)
    found = compare(Samples(sample, incumbent.sample(sample, metric)), metric.goal)
    low, high = found.interval(CERTIFICATE_CONFIDENCE)
    holds = (low if metric.goal.sign > 0 else -high) > 0
    words = "holds" if holds else "does not hold"
    reason = f"the gain against the baseline {words} at {CERTIFICATE_CONFIDENCE:.0%} confidence"
    return replace(
        _certificate(outcome, reason, pack),
        status="certified" if holds else "not_certified",
        score_se=outcome.score_se,
        baseline_score=start.score,
        delta=found.delta,
        delta_low=low,
        delta_high=high,
        p=found.p,
        test=found.test,
    )


def _certificate(outcome: Outcome, reason: str, pack: Pack) -> Certificate:
    """Return the certificate of a recipe that was measured, but not compared."""
    return Certificate(
        status=str(outcome.status),
        reason=reason,
        held_out=pack.certify.held_out,
        seeds=len(outcome.seed_runs),
        score=outcome.score,
        gates=outcome.gates,
        environment=outcome.environment,
    )
