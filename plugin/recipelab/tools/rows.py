"""Rows of the tools' answers: short texts, rounded figures, no empty keys."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from statistics import fmean
from typing import Any

from recipelab.core.knobs import KnobValue, find_knobs
from recipelab.core.text import shorten
from recipelab.core.trial import Failure, GateResult, Phase, SeedRun
from recipelab.evaluation.metric import METRIC
from recipelab.lineage import (
    BankedMargin,
    Comparison,
    FailureGroup,
    LineageStore,
    NearMiss,
    SurfaceSummary,
    TrialBrief,
    TrialRecord,
)
from recipelab.lineage.trial_view import DETAIL, ROW, TrialView, plus_minus
from recipelab.tools.base import Row, without_empty

TEXT_CHARACTERS = 400
EXCERPT_CHARACTERS = 500
DETAIL_CHARACTERS = 4_000
LOG_CHARACTERS = 2_000

SEEDS_NAMED = 4
"""Seeds that are named; of more, the number is told."""

IN_FLIGHT = "in_flight"
"""Shown as the status of a trial that has no outcome yet."""

DRAWN = 10_000
"""Seeds from this on were drawn; those that a pack names are small."""

SATURATED = 8
"""Judged trials in a row without one kept, from which a surface counts as saturated."""


def rounded(value: float | None) -> float | None:
    """Return a figure with the digits that a reader needs."""
    return None if value is None else float(f"{value:.7g}")


def trial_row(view: TrialView) -> Row:
    """Return a trial as a row among others."""
    gates = {
        gate.name: {"value": rounded(gate.value), "margin": rounded(gate.margin)}
        for gate in view.gates
    }
    row = {name: _in_row(value) for name, value in view.select(ROW).items()}
    return without_empty(row | {"status": view.status or IN_FLIGHT, "gates": gates})


def _in_row(value: Any) -> Any:
    """Return a value as it stands in a row: texts on one line, cut."""
    if isinstance(value, str) and not isinstance(value, StrEnum):
        return shorten(value, TEXT_CHARACTERS)
    return _short(value)


def _short(value: Any) -> Any:
    match value:
        case float():
            return rounded(value)
        case tuple():
            return list(value)
        case Failure():
            return without_empty(vars(value))
        case _:
            return value


def brief_rows(store: LineageStore, campaign: str, briefs: Iterable[TrialBrief]) -> list[Row]:
    """Return the rows of some trials, with the knobs that they turned and their gates."""
    briefs = tuple(briefs)
    numbers = [brief.number for brief in briefs]
    edits, gates = store.edits(campaign, numbers), store.gates(campaign, numbers)
    compared = store.comparisons(campaign, numbers, metric=METRIC)
    return [
        trial_row(TrialView.of_brief(b, edits.get(b.number, ()), gates.get(b.number, ())))
        | comparison_row(compared.get(b.number), b.parents)
        for b in briefs
    ]


def comparison_row(compared: Comparison | None, parents: Sequence[int]) -> Row:
    """Return what ``delta`` is a change against, and the change against the parent.

    Args:
        compared: The comparison; ``None`` for a trial that was not judged.
        parents: Numbers of the trial's parents, the main one first.
    """
    if compared is None:
        return {}
    row: Row = {"against": compared.against, "seeds": shown_seeds(compared.seeds)}
    if compared.parent_delta is not None and parents[:1] != (compared.against,):
        row |= {
            "parent_delta": rounded(compared.parent_delta),
            "parent_delta_se": rounded(compared.parent_delta_se),
            "parent_seeds": shown_seeds(compared.parent_seeds),
        }
    return without_empty(row)


def shown_seeds(seeds: Sequence[int]) -> str:
    """Return seeds in words, the first few by name, as ``1, 2``."""
    named = ", ".join(map(str, seeds[:SEEDS_NAMED]))
    return named if len(seeds) <= SEEDS_NAMED else f"{named} and {len(seeds) - SEEDS_NAMED} more"


def on_seeds(seeds: Sequence[int]) -> str:
    """Return the seeds of a figure in brackets, with a space before them; empty without any.

    Those that were drawn for it are counted: their names tell nothing, as no other figure has them.
    """
    if seeds and min(seeds) >= DRAWN:
        return f" ({len(seeds)} fresh seed{'s' if len(seeds) > 1 else ''})"
    return f" (seeds {shown_seeds(seeds)})" if seeds else ""


def comparison_words(compared: Comparison | None, brief: TrialBrief) -> str:
    """Return the changes of a trial against the best and its parent, with the seeds of each."""
    words = ""
    if compared is None:
        return words
    if brief.delta is not None:
        to = "the best" if compared.against is None else f"{compared.against}, the best then"
        words += f"; {_change(brief.delta, brief.delta_se)} against {to}{on_seeds(compared.seeds)}"
    if compared.parent_delta is not None and brief.parents[:1] != (compared.against,):
        change = _change(compared.parent_delta, compared.parent_delta_se)
        seeds = on_seeds(compared.parent_seeds)
        words += f"; {change} against its parent {brief.parents[0]}{seeds}"
    return words


def _change(delta: float, error: float | None) -> str:
    return plus_minus(f"{delta:+.3g}", error)


def detail_row(record: TrialRecord) -> Row:
    """Return a whole trial but its diff; long texts are cut, the log at its front."""
    view = TrialView.of_record(record)
    # Measurements are told as a table by name; runs as they are hold what is told to nobody.
    told = {name: value for name, value in view.select(DETAIL).items() if name != "seed_runs"}
    row = {name: _short(value) for name, value in told.items()}
    row |= {
        "status": view.status or IN_FLIGHT,
        "hypothesis": view.hypothesis[:DETAIL_CHARACTERS],
        "expected_delta": view.expected_delta,
        "reason": (view.reason or "")[:DETAIL_CHARACTERS],
        "log_tail": (view.log_tail or "")[-LOG_CHARACTERS:],
        "proposed_at": view.proposed_at.isoformat(timespec="seconds"),
        "gates": [_gate_row(gate) for gate in view.gates],
        "measured": measured_row(view.seed_runs),
    }
    return without_empty(row)


def whole_row(store: LineageStore, campaign: str, record: TrialRecord) -> Row:
    """Return a whole trial but its diff, with what its changes are changes against."""
    compared = store.comparisons(campaign, [record.number], metric=METRIC)
    return detail_row(record) | comparison_row(compared.get(record.number), record.parents)


def outcome_row(store: LineageStore, campaign: str, record: TrialRecord) -> Row:
    """Return how a trial ended; the log is there where it failed."""
    row = whole_row(store, campaign, record)
    failed = record.status is not None and record.status.is_failure
    left_out = {"hypothesis", "expected_delta", "changes", "proposed_at", "environment", "parents"}
    left_out |= set() if failed else {"log_tail"}
    return {name: value for name, value in row.items() if name not in left_out}


def _gate_row(gate: GateResult) -> Row:
    figures = ("value", "limit", "margin")
    return {name: rounded(getattr(gate, name)) for name in figures} | {"gate": gate.name}


UNTOLD = ("curve.", "projected.", f"{Phase.PREPARE}.")
"""Beginnings of the names of measurements that a detail leaves out: another tool tells them, or
they say nothing of the recipe."""

UNTOLD_NAMES = frozenset(
    {
        "recipe.cpu_seconds",
        "recipe.wall_seconds",
        "submission.bytes",
        "beside.train.peak_memory_mb",
        "beside.predict.peak_memory_mb",
    }
)
"""Sums of others, and what matters of the best alone; told in no detail."""

EVALUATORS_OWN = ("cpu_seconds", "wall_seconds", "peak_memory_mb")
"""What scoring itself took, which is no matter of a recipe's either."""


def measured_row(runs: Sequence[SeedRun]) -> Row:
    """Return what was measured by name: a value for each seed, or a single one where all agree."""
    if not runs:
        return {}
    own = {f"{Phase.SCORE}.{name}" for name in EVALUATORS_OWN}
    names = sorted({name for run in runs for name in run.measures if name not in own})
    row: Row = {"seed": [run.seed for run in runs]}
    for name in names:
        if name.startswith(UNTOLD) or name in UNTOLD_NAMES:
            continue
        values = [_figure(run.measures.get(name)) for run in runs]
        row[name] = values if len(set(values)) > 1 or len(runs) == 1 else values[0]
    return row


def _figure(value: float | None) -> float | int | None:
    """Return a measured value with five digits, and a whole number as one."""
    if value is None or not math.isfinite(value):
        return None
    return int(value) if value == int(value) else float(f"{value:.5g}")


def score_row(record: TrialRecord) -> Row:
    """Return number, status and score of a trial."""
    score = None if record.outcome is None else rounded(record.outcome.score)
    status = record.status or IN_FLIGHT
    return without_empty({"trial": record.number, "status": status, "score": score})


def seeds_in_common(before: TrialRecord, after: TrialRecord) -> Row:
    """Return the change of the metric from one trial to another on the seeds that both have run."""
    runs = [
        {run.seed: run.measures[METRIC] for run in one.outcome.seed_runs if METRIC in run.measures}
        for one in (before, after)
        if one.outcome is not None
    ]
    common = [seed for seed in runs[0] if seed in runs[1]] if len(runs) == 2 else []
    if not common:
        return {"note": "they have no seed in common: the scores compare only roughly"}
    change = fmean(runs[1][seed] - runs[0][seed] for seed in common)
    return {"delta": rounded(change), "seeds": shown_seeds(common)}


def failure_row(group: FailureGroup) -> Row:
    """Return a failure with the trials that got past it."""
    return without_empty(
        {
            "signature": group.signature,
            "kind": group.kind,
            "phase": group.phase,
            "count": group.count,
            "first_trial": group.first,
            "last_trial": group.last,
            "last_seen": group.last_seen.isoformat(timespec="seconds"),
            "fixed_by": list(group.fixed_by),
            "excerpt": group.excerpt[-EXCERPT_CHARACTERS:],
        }
    )


def near_miss_row(miss: NearMiss, row: Row) -> Row:
    """Return the row of a near miss with its gain, and what a repair has to remove."""
    missed = [
        {
            "gate": gate.name,
            "value": rounded(gate.value),
            "limit": rounded(gate.limit),
            "excess_to_remove": rounded(gate.excess),
        }
        for gate in miss.missed
    ]
    gain = {"gain_over_best": rounded(miss.gain), "missed": missed, "repairs": miss.children}
    return without_empty(row | gain)


def banked_row(item: BankedMargin, row: Row) -> Row:
    """Return the row of a trial that holds a gate by more than the best, at no cost that shows."""
    gains = [
        {"gate": gain.name, "margin": rounded(gain.margin), "best_has": rounded(gain.best)}
        for gain in item.gains
    ]
    return without_empty(row | {"cost": rounded(item.cost), "margins": gains})


def summary_row(name: str, summary: SurfaceSummary) -> Row:
    """Return how the trials on a surface, or by a specialist, went.

    Args:
        name: ``surface`` or ``specialist``.
        summary: The counts.
    """
    return {
        name: summary.name,
        "tried": summary.tried,
        "kept": summary.kept,
        "statuses": {str(status or IN_FLIGHT): many for status, many in summary.statuses.items()},
        "best_delta": rounded(summary.best_delta),
        "last_kept": summary.last_kept,
        "since_kept": summary.since_kept,
        "saturated": summary.since_kept >= SATURATED,
    }


def knob_values(files: Mapping[str, str]) -> dict[str, dict[str, KnobValue]]:
    """Return the values of a recipe's knobs, by surface and name.

    Their domains stand where they are marked, in the files themselves. A name that several files
    share has the file before it.
    """
    knobs = find_knobs(files)
    names = Counter(knob.name for knob in knobs)
    values: dict[str, dict[str, KnobValue]] = {}
    for knob in knobs:
        name = knob.name if names[knob.name] == 1 else f"{knob.path}:{knob.line} {knob.name}"
        values.setdefault(knob.surface, {})[name] = knob.value
    return values
