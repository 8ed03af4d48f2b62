"""Gates: the limits beside the score, each held against a bound and not against luck."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Sequence
from statistics import fmean

from recipelab.acceptance import mean_and_error, spread_of
from recipelab.core.trial import Failure, FailureKind, GateResult, SeedRun, Status
from recipelab.evaluation.metric import Incumbent
from recipelab.packs.sections import FILE_MEASURES, Gate

BOUND_ERRORS = 1.64
"""Standard errors by which a gate has to hold, or to be missed, before that is more than luck: one
time in twenty a recipe at its very limit passes."""

MOST_SEEDS = 32
"""Seed runs that a gate may take to be settled."""


def with_limits(gates: Iterable[Gate], incumbent: Incumbent) -> tuple[Gate, ...]:
    """Return gates that all have a limit: relative ones have the other recipe's measurement.

    Args:
        gates: The pack's gates.
        incumbent: The best; it knows the baseline.
    """
    return tuple(
        gate.held_to(fmean(_other(gate, incumbent))) if gate.relative else gate for gate in gates
    )


def _other(gate: Gate, incumbent: Incumbent) -> tuple[float, ...]:
    if gate.not_worse_than == "best" or not incumbent.baseline:
        return incumbent.values(gate.measure)
    return tuple(run.measures[gate.measure] for run in incumbent.baseline)


def judge_gates(
    gates: Sequence[Gate], runs: Sequence[SeedRun], incumbent: Incumbent | None
) -> tuple[GateResult, ...]:
    """Judge every gate by the mean of its measurement over the seed runs, with its error.

    Args:
        gates: The pack's gates; relative ones only with an incumbent.
        runs: The seed runs.
        incumbent: The best, whose calibration tells the noise; ``None`` where nothing does.
    """
    found = []
    for gate in gates:
        values = [run.measures[gate.measure] for run in runs]
        variance, others = _variance(gate, values, incumbent), dict[int, float]()
        held = gate
        if gate.relative and incumbent is not None:
            others = dict(enumerate(_other(gate, incumbent)))
            held = gate.held_to(fmean(others.values()))
        parts = 1.0 / len(values) + (1.0 / len(others) if others else 0.0)
        error = None if variance is None else math.sqrt(variance * parts)
        mean = fmean(values)
        found.append(GateResult(gate.name, mean, held.limit, held.margin(mean), error))
    return tuple(found)


def _variance(gate: Gate, values: Sequence[float], incumbent: Incumbent | None) -> float | None:
    """Return the variance of one seed run, from calibration and the recipe's own runs together.

    What does not move, as the size of files, has none; a rule and a size are no matter of luck.
    """
    if gate.measure in FILE_MEASURES or gate.failure is Status.ILLEGAL:
        return 0.0
    spreads = [spread_of(values)] if len(values) > 1 else []
    if incumbent is not None and incumbent.noise is not None:
        spreads += filter(None, [incumbent.noise.measures.get(gate.measure)])
    df = sum(spread.df for spread in spreads)
    return sum(spread.df * spread.sd**2 for spread in spreads) / df if df else None


def surely_missed(results: Iterable[GateResult]) -> bool:
    """Return whether a gate was missed by more than its noise allows."""
    return any(result.margin < -BOUND_ERRORS * (result.error or 0.0) for result in results)


def unproven_gate(
    gates: Sequence[Gate], results: Sequence[GateResult], errors: float = BOUND_ERRORS
) -> tuple[Gate, GateResult] | None:
    """Return the first gate that holds by less than its bound, if one does.

    Args:
        gates: The gates.
        results: What was measured of each.
        errors: Standard errors by which it has to hold.
    """
    for gate, result in zip(gates, results, strict=True):
        if result.margin < errors * (result.error or 0.0):
            return gate, result
    return None


def seeds_for_gate(result: GateResult, runs: int, errors: float = BOUND_ERRORS) -> int | None:
    """Return how many seed runs would show that a gate holds, if its margin stays as it is.

    Args:
        result: What was measured.
        runs: Seed runs so far.
        errors: Standard errors by which it has to hold.

    Returns:
        The number, more than ``runs``; ``None`` if it is over :data:`MOST_SEEDS`.
    """
    if result.margin <= 0.0 or not result.error:
        return None
    # The error shrinks by the square root of the seed runs.
    needed = math.ceil(runs * (errors * result.error / result.margin) ** 2)
    return max(needed, runs + 1) if needed <= MOST_SEEDS and runs < MOST_SEEDS else None


def not_shown(gate: Gate, result: GateResult, runs: int) -> Failure:
    """Return the failure of a recipe whose gate holds, but not by enough to be more than luck."""
    error = result.error or 0.0
    away = result.margin / error if error else 0.0
    text = (
        f"gate {gate.name}: {gate.measure} is {result.value:.6g}, must be {gate.bound}; on {runs} "
        f"seed runs it is {away:+.1f} standard errors from that, which is not enough to be more "
        f"than luck ({BOUND_ERRORS:g})"
    )
    return Failure(None, FailureKind.GATE, f"gate {gate.name} not shown to hold", text)


NOISE_ERRORS = 3.0
"""Standard errors of its mean by less than which a starting recipe may miss a gate."""


def near_misses(gates: Iterable[Gate], runs: Sequence[SeedRun]) -> dict[str, str]:
    """Return the gates that were missed by no more than noise allows, by name, each with words.

    A mean of seed runs moves by its standard error. What does not move, as the size of files that
    are the same every time, has none; a rule and a size are never a matter of luck.

    Args:
        gates: The gates.
        runs: The seed runs.
    """
    found = {}
    for gate in gates:
        if gate.relative or gate.measure in FILE_MEASURES or gate.failure is Status.ILLEGAL:
            continue
        # An evaluator of an app's own need not measure what the pack's does.
        values = {
            run.seed: run.measures[gate.measure] for run in runs if gate.measure in run.measures
        }
        if len(values) < max(1, len(runs)):
            continue
        mean, error = mean_and_error(values)
        if not error or not -NOISE_ERRORS * error < gate.margin(mean) < 0.0:
            continue
        found[gate.name] = (
            f"it misses gate {gate.name} ({gate.measure} is {mean:.6g}, must be {gate.bound}) by "
            f"{-gate.margin(mean):.2g}, which is {-gate.margin(mean) / error:.1f} standard errors "
            f"of its {len(runs)} seed runs and so may be bad luck: trials have to pass it"
        )
    return found


def missed_gate(
    gates: Sequence[Gate], results: Sequence[GateResult], *, allowed: Container[str] = ()
) -> tuple[Status, Failure] | None:
    """Return the status and failure of the first gate that was missed, if one was.

    Args:
        gates: The gates.
        results: What was measured of each.
        allowed: Names of gates that may be missed.
    """
    for gate, result in zip(gates, results, strict=True):
        if not result.passed and gate.name not in allowed:
            limit = f", which is {result.limit:.6g}" if gate.relative else ""
            text = (
                f"gate {gate.name}: {gate.measure} is {result.value:.6g}, must be {gate.bound}"
                f"{limit} (missed by {-result.margin:.3g})"
            )
            kind = FailureKind.SIZE if gate.failure is Status.OVERSIZE else FailureKind.GATE
            return Status(gate.failure), Failure(None, kind, f"gate {gate.name} missed", text)
    return None


