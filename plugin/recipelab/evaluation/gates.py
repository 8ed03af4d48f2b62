"""Gates: the limits beside the score, each held against a bound and not against luck."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from recipelab.acceptance import (
    CERTIFIED_BOUND,
    GateBound,
    GateCall,
    Spread,
    gate_bound,
    mean_and_error,
)
from recipelab.acceptance.gates import MOST_SEEDS
from recipelab.core.trial import Failure, FailureKind, GateResult, SeedRun, Status
from recipelab.evaluation.metric import Incumbent
from recipelab.packs.judging_sections import FILE_MEASURES, SUBMITTED_MEASURES, Gate


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
    if gate.relative_to == "best" or not incumbent.baseline:
        return incumbent.values(gate.measure)
    return tuple(run.measures[gate.measure] for run in incumbent.baseline)


@dataclass(frozen=True)
class JudgedGate:
    """A gate of the pack, and what the runs of a recipe say about it.

    Attributes:
        gate: The gate.
        result: What was measured.
        bound: On which side of its limit it is, or that it is not clear.
        errors: Standard errors by which it has to hold.
        parts: Of a size that is code and artifact together, in words what each of them is.
    """

    gate: Gate
    result: GateResult
    bound: GateBound
    errors: float
    parts: str = ""


def judge_gates(
    gates: Iterable[Gate],
    runs: Sequence[SeedRun],
    incumbent: Incumbent | None,
    *,
    errors: float = CERTIFIED_BOUND,
    most: int = MOST_SEEDS,
) -> tuple[JudgedGate, ...]:
    """Judge every gate by the mean of its measurement over the seed runs, with its error.

    Args:
        gates: The pack's gates; relative ones only with an incumbent.
        runs: The seed runs.
        incumbent: The best, whose calibration tells the noise; ``None`` where nothing does.
        errors: Standard errors by which a gate has to hold.
        most: Seed runs beyond which a gate asks for no more.
    """
    found = []
    for gate in gates:
        values = [run.measures[gate.measure] for run in runs]
        spread, held, limit_error = _spread(gate, incumbent), gate, 0.0
        if gate.relative and incumbent is not None:
            others = _other(gate, incumbent)
            held = gate.held_to(fmean(others))
            if spread is not None:
                limit_error = gate.factor * spread.sd / math.sqrt(len(others))
        margins = [held.margin(value) for value in values]
        if not _is_noisy(gate):
            # The mean over seeds decides, as it is.
            margins, spread = [fmean(margins)], None
        bound = gate_bound(margins, spread, limit_error=limit_error, errors=errors, most=most)
        known = bound.error > 0.0 or not _is_noisy(gate) or spread is not None or len(values) > 1
        error = bound.error if known else None
        result = GateResult(gate.name, fmean(values), held.limit, held.margin(fmean(values)), error)
        found.append(JudgedGate(gate, result, bound, errors, _parts(gate, runs)))
    return tuple(found)


def _parts(gate: Gate, runs: Sequence[SeedRun]) -> str:
    artifacts = [run.measures.get("artifact.bytes", math.nan) for run in runs]
    if gate.measure not in SUBMITTED_MEASURES or not runs or math.isnan(fmean(artifacts)):
        return ""
    artifact = fmean(artifacts)
    code = fmean(run.measures[gate.measure] for run in runs) - artifact
    return f" (code {code:,.0f}, artifact {artifact:,.0f})"


def _is_noisy(gate: Gate) -> bool:
    """Return whether luck can move it; a rule and the size of files are no matter of luck."""
    return gate.measure not in FILE_MEASURES and gate.failure is not Status.ILLEGAL


def _spread(gate: Gate, incumbent: Incumbent | None) -> Spread | None:
    if incumbent is None or incumbent.noise is None:
        return None
    return incumbent.noise.measures.get(gate.measure)


def results_of(judged: Iterable[JudgedGate]) -> tuple[GateResult, ...]:
    """Return what was measured of each gate."""
    return tuple(one.result for one in judged)


def surely_missed(judged: Iterable[JudgedGate]) -> bool:
    """Return whether a gate was missed by more than its noise allows."""
    return any(one.bound.call is GateCall.MISSED for one in judged)


def unclear_gate(judged: Iterable[JudgedGate]) -> JudgedGate | None:
    """Return the first gate that is not shown to hold, if one is not."""
    return next((one for one in judged if one.bound.call is not GateCall.PASSED), None)


def not_shown(judged: JudgedGate, runs: int) -> Failure:
    """Return the failure of a recipe whose gate holds, but not by enough to be more than luck."""
    gate, bound = judged.gate, judged.bound
    away = bound.margin / bound.error if bound.error else 0.0
    text = (
        f"gate {gate.name}: {gate.measure} is {judged.result.value:.6g}, must be {gate.bound}; on "
        f"{runs} seed runs it is {away:+.1f} standard errors from that, and has to be "
        f"{judged.errors:g}, so that it is more than luck"
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
    judged: Iterable[JudgedGate], *, allowed: Container[str] = ()
) -> tuple[Status, Failure] | None:
    """Return the status and failure of the first gate that was missed, if one was.

    Args:
        judged: The gates.
        allowed: Names of gates that may be missed.
    """
    for one in judged:
        gate, result = one.gate, one.result
        if result.passed or gate.name in allowed:
            continue
        limit = f", which is {result.limit:.6g}" if gate.relative else ""
        text = (
            f"gate {gate.name}: {gate.measure} is {result.value:.6g}{one.parts}, must be "
            f"{gate.bound}{limit} (missed by {-result.margin:.3g})"
        )
        kind = FailureKind.SIZE if gate.failure is Status.OVERSIZE else FailureKind.GATE
        return Status(gate.failure), Failure(None, kind, f"gate {gate.name} missed", text)
    return None
