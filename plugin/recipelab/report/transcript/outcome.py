"""What came of a trial, as the evaluator measured and judged it."""

from __future__ import annotations

from collections.abc import Iterator

from recipelab.lineage import TrialRecord
from recipelab.report.transcript.blocks import Block, Code, Line, Span, Tone, line, quiet, strong
from recipelab.trial import GateResult, Outcome, Status

_GOOD = (Status.KEPT, Status.BASELINE)
_NEUTRAL = (Status.DISCARDED, Status.ABORTED)


def status_span(status: Status | None) -> Span:
    """The status in its tone."""
    if status is None:
        return strong("in flight")
    if status in _GOOD:
        return Span(status, Tone.GOOD)
    return Span(status, Tone.STRONG if status in _NEUTRAL else Tone.BAD)


def outcome_blocks(record: TrialRecord, *, metric: str, unit: str) -> Iterator[Block]:
    """Status, score, gates, reason and failure of a trial.

    Args:
        record: The trial.
        metric: Name of what is measured.
        unit: Its unit.
    """
    outcome = record.outcome
    who = quiet(f" ({record.surface} by {record.specialist})")
    yield line(strong(f"Trial {record.number}"), who, ": ", status_span(record.status))
    if outcome is None:
        return
    if outcome.score is not None:
        yield line(_score(outcome, metric, unit), is_item=True)
    for gate in outcome.gates:
        yield _gate(gate)
    if outcome.reason:
        yield line(f"reason: {outcome.reason}", is_item=True)
    failure = outcome.failure
    if failure is not None:
        where = f" in {failure.phase}" if failure.phase else ""
        yield line(f"failure: {failure.kind}{where}", is_item=True)
        if failure.excerpt and failure.excerpt != outcome.reason:
            yield Code(failure.excerpt)


def _score(outcome: Outcome, metric: str, unit: str) -> str:
    told = f"{metric} {outcome.score:.4g}{_error(outcome.score_se)} {unit}".rstrip()
    if outcome.delta is None:
        return told
    return f"{told}; against the best {outcome.delta:+.4g}{_error(outcome.delta_se)}"


def _error(value: float | None) -> str:
    return "" if value is None else f" ± {value:.2g}"


def _gate(gate: GateResult) -> Line:
    verdict = Span("passed", Tone.GOOD) if gate.passed else Span("missed", Tone.BAD)
    figures = f": {gate.value:.4g}, limit {gate.limit:g}, margin {gate.margin:+.3g}"
    return line(f"gate {gate.name} ", verdict, figures, is_item=True)
