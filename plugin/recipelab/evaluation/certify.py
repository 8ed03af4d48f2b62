"""Certification: measures a trial on seeds that no trial had, against held-out answers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from recipelab.acceptance import compare, item_mean
from recipelab.core.recipe import Recipe
from recipelab.core.trial import (
    CERTIFIED,
    RE_MEASURED,
    Certificate,
    GateResult,
    Outcome,
    Status,
    Trust,
)
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.metric import METRIC, Incumbent, divergence_words, noise_of
from recipelab.evaluation.seeds import SeedSource
from recipelab.packs.pack import Pack

CERTIFICATE_CONFIDENCE = 0.95
"""Confidence of the interval in a certificate, for all certifications so far together."""


async def certify(
    evaluator: Evaluator,
    baseline: Recipe,
    recipe: Recipe,
    seeds: tuple[int, ...],
    source: SeedSource,
    labels: Mapping[str, str],
    *,
    tries: int = 1,
) -> Certificate:
    """Measure a recipe and the baseline on seeds that no trial had, in turns, and compare them.

    Args:
        evaluator: Measures; its pack is the one that :meth:`Pack.certified` returns.
        baseline: The starting recipe.
        recipe: The recipe to certify.
        seeds: The seeds, as of :meth:`SeedSource.certification`.
        source: Has the secret numbers of hidden rounds.
        labels: What it belongs to: ``campaign`` and ``trial``.
        tries: Certifications of the campaign up to this one; interval and p are corrected for
            their number (Bonferroni), as one of many holds by chance.
    """
    pack, metric = evaluator.pack, evaluator.pack.metric
    # A few seeds of its own show whether the baseline runs, and give the unit of times.
    start = await evaluator.measure(
        baseline, seeds[:2], lenient=True, source=source, labels={**labels, "beside": "0"}
    )
    if start.status is not Status.BASELINE:
        return _certificate(start, f"the baseline itself: {start.reason}", pack, tries)
    runs = {run.seed: run for run in start.seed_runs} if metric.side_by_side else {}
    incumbent = Incumbent(0, baseline, runs, start.seed_runs, noise_of(start.seed_runs, metric))
    outcome = await evaluator.measure(
        recipe, seeds, incumbent=incumbent, paired=True, source=source, labels=labels
    )
    if outcome.status is not Status.BASELINE:
        return _certificate(outcome, outcome.reason, pack, tries)
    observed = evaluator.observations(outcome.seed_runs, incumbent)
    found = compare(observed.confirm, metric.goal, item_error=observed.item_error)
    low, high = found.interval(1.0 - (1.0 - CERTIFICATE_CONFIDENCE) / tries)
    holds = (low if metric.goal.sign > 0 else -high) > 0
    words = "holds" if holds else "does not hold"
    reason = f"the gain against the baseline {words} at {CERTIFICATE_CONFIDENCE:.0%} confidence"
    if tries > 1:
        reason += f", corrected for {tries} certifications of this campaign"
    noise = noise_of(incumbent.runs.values(), metric)
    if words := divergence_words(outcome.seed_runs, metric, pack.gates, noise):
        reason += f"; it {words}"
    if holds and pack.control is not None:
        control = await evaluator.control_run(recipe, source=source, labels=labels)
        if control.status is not Status.BASELINE:
            return _certificate(control, control.reason, pack, tries)
        reason += f"; {control.reason}"
    score, scale = incumbent.mean(METRIC), metric.scale
    return replace(
        _certificate(outcome, reason, pack, tries),
        gates=_with_items(outcome, pack),
        status=_holding(pack) if holds else "not_certified",
        score_se=outcome.score_se,
        baseline_score=score,
        delta=scale.delta(found.delta, score),
        delta_low=scale.delta(low, score),
        delta_high=scale.delta(high, score),
        p=min(1.0, tries * found.p),
        test=found.test,
    )


def _holding(pack: Pack) -> str:
    """Return what a gain that holds is called: nothing is proven where a recipe scores itself."""
    return RE_MEASURED if pack.trust is Trust.SELF_REPORTED else CERTIFIED


def _with_items(outcome: Outcome, pack: Pack) -> tuple[GateResult, ...]:
    """Return the gates with the error of the finite hidden set in theirs, where it is known."""
    measured = {gate.name for gate in pack.gates if gate.measure == pack.evaluator.items}
    items = item_mean([run.items for run in outcome.seed_runs], fresh=pack.has_rounds)
    if items is None:
        return outcome.gates
    return tuple(
        replace(gate, error=math.hypot(gate.error, items.added_error))
        if gate.name in measured and gate.error is not None
        else gate
        for gate in outcome.gates
    )


def _certificate(outcome: Outcome, reason: str, pack: Pack, tries: int) -> Certificate:
    """Return the certificate of a recipe that was measured, but not compared."""
    return Certificate(
        status=str(outcome.status),
        reason=reason,
        held_out=pack.certify.held_out,
        seeds=len(outcome.seed_runs),
        score=outcome.score,
        gates=outcome.gates,
        environment=outcome.environment,
        tries=tries,
    )
