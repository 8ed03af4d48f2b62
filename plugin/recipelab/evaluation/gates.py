"""Holds measurements against the gates of a pack."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean

from recipelab.pack_measures import Gate
from recipelab.trial import Failure, FailureKind, GateResult, SeedRun, Status


def judge_gates(gates: Iterable[Gate], runs: Sequence[SeedRun]) -> tuple[GateResult, ...]:
    """Judges every gate on its measurement's mean over the seed runs."""
    return tuple(_judge(gate, fmean(run.measures[gate.measure] for run in runs)) for gate in gates)


def missed_gate(
    gates: Sequence[Gate], results: Sequence[GateResult]
) -> tuple[Status, Failure] | None:
    """The status and failure of the first gate that was missed, or ``None``."""
    for gate, result in zip(gates, results, strict=True):
        if not result.passed:
            side = "at least" if gate.at_least is not None else "at most"
            text = (
                f"gate {gate.name}: {gate.measure} is {result.value:.6g}, must be {side} "
                f"{result.limit:g} (missed by {-result.margin:.3g})"
            )
            kind = FailureKind.SIZE if gate.failure is Status.OVERSIZE else FailureKind.GATE
            return Status(gate.failure), Failure(None, kind, f"gate {gate.name} missed", text)
    return None


def _judge(gate: Gate, value: float) -> GateResult:
    return GateResult(gate.name, value, gate.limit, gate.margin(value))
