"""Writes what was measured: seed runs and gates."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, delete, insert
from sqlmodel import col

from recipelab.core.trial import GateResult, Outcome, SeedRun
from recipelab.lineage.evidence import EvidenceRow
from recipelab.lineage.tables import GateRow, SeedRunRow
from recipelab.lineage.text import clean

_RUNS = insert(SeedRunRow)
_GATES = insert(GateRow)
_EVIDENCE = insert(EvidenceRow)


def save_runs(connection: Connection, trial_id: int, outcome: Outcome) -> None:
    """Stores the seed runs, gates and evidence of a trial."""
    if outcome.seed_runs:
        runs = [_run(trial_id, *item) for item in enumerate(outcome.seed_runs)]
        connection.execute(_RUNS, runs)
    if outcome.gates:
        connection.execute(_GATES, [_gate(trial_id, *item) for item in enumerate(outcome.gates)])
    if outcome.evidence is not None:
        connection.execute(_EVIDENCE, {"trial_id": trial_id, **vars(outcome.evidence)})


def drop_runs(connection: Connection, trial_id: int) -> None:
    """Takes away what was measured."""
    for table in (SeedRunRow, GateRow, EvidenceRow):
        connection.execute(delete(table).where(col(table.trial_id) == trial_id))


def _run(trial_id: int, position: int, run: SeedRun) -> dict[str, Any]:
    return {"trial_id": trial_id, "position": position, **run_values(run)}


def run_values(run: SeedRun) -> dict[str, Any]:
    """What a table of seed runs has of one."""
    timings = [
        [timing.phase.value, timing.wall_seconds, timing.cpu_seconds, timing.peak_memory_mb]
        for timing in run.timings
    ]
    measures = {clean(name): float(value) for name, value in run.measures.items()}
    return {
        "seed": run.seed,
        "timings": json.dumps(timings),
        "measures": json.dumps(measures, ensure_ascii=False),
    }


def _gate(trial_id: int, position: int, gate: GateResult) -> dict[str, Any]:
    return {
        "trial_id": trial_id,
        "position": position,
        "name": clean(gate.name),
        "value": gate.value,
        "limit": gate.limit,
        "margin": gate.margin,
    }


def check_figures(outcome: Outcome) -> None:
    """Checks that all figures of an outcome are finite.

    Raises:
        ValueError: One is not.
    """
    names = ("score", "score_se", "delta", "delta_se")
    require_finite({name: getattr(outcome, name) for name in names})
    for gate in outcome.gates:
        require_finite({"value": gate.value, "limit": gate.limit, "margin": gate.margin})
    for run in outcome.seed_runs:
        check_run(run)
    if outcome.evidence is not None:
        figures = ("saved_seconds", "p", "level")
        require_finite({name: getattr(outcome.evidence, name) for name in figures})
    # Each may be finite, and their sum too large.
    require_finite({"cpu_seconds": outcome.cpu_seconds})


def check_run(run: SeedRun) -> None:
    """Checks that all figures of a seed run are finite.

    Raises:
        ValueError: One is not.
    """
    require_finite(run.measures)
    for timing in run.timings:
        figures = ("wall_seconds", "cpu_seconds", "peak_memory_mb")
        require_finite({name: getattr(timing, name) for name in figures})


def require_finite(figures: Mapping[str, float | None]) -> None:
    """Checks that figures are finite.

    Raises:
        ValueError: One is not; the message names it.
    """
    for name, value in figures.items():
        if value is not None and not math.isfinite(value):
            raise ValueError(f"{name} must be a finite number, not {value}")
