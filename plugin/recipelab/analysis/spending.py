"""What the trials of each status cost: wall-clock, CPU and device time."""

from __future__ import annotations

from typing import Any

from recipelab.analysis.history import History
from recipelab.trial import Outcome

METHOD = (
    "wall_seconds: of all phases of all seed runs, or what an imported run says of a whole trial; "
    "cpu_seconds: of all processes of those phases; device_seconds: wall_seconds, as a phase holds "
    "one slot (a GPU or a set of cores), or, where an imported run says it, wall_seconds times its "
    "devices; seed_runs: those that finished, or n_seeds of an imported run; sums over the trials "
    "that tell it, which the counts beside them number"
)


def spending(history: History) -> dict[str, dict[str, Any]]:
    """Seconds by status, each with the number of trials that tell it."""
    groups: dict[str, list[Outcome]] = {}
    for item in history.judged:
        groups.setdefault(item.outcome.status.value, []).append(item.outcome)
    return {
        status: {
            "trials": len(outcomes),
            **_sum("wall_seconds", [_wall(outcome) for outcome in outcomes]),
            **_sum("cpu_seconds", [_cpu(outcome) for outcome in outcomes]),
            **_sum("device_seconds", [_device(outcome) for outcome in outcomes]),
            "seed_runs": sum(_seed_runs(outcome) for outcome in outcomes),
        }
        for status, outcomes in groups.items()
    }


def _sum(name: str, values: list[float | None]) -> dict[str, Any]:
    known = [value for value in values if value is not None]
    return {name: sum(known) if known else None, f"{name}_of": len(known)}


def _wall(outcome: Outcome) -> float | None:
    timings = [timing for run in outcome.seed_runs for timing in run.timings]
    if timings:
        return sum(timing.wall_seconds for timing in timings)
    return _measured(outcome, "wall_seconds")


def _cpu(outcome: Outcome) -> float | None:
    return outcome.cpu_seconds if any(run.timings for run in outcome.seed_runs) else None


def _device(outcome: Outcome) -> float | None:
    measured = _measured(outcome, "device_seconds")
    return _wall(outcome) if measured is None else measured


def _seed_runs(outcome: Outcome) -> int:
    told = _measured(outcome, "n_seeds")
    return len(outcome.seed_runs) if told is None else round(told)


def _measured(outcome: Outcome, name: str) -> float | None:
    found = [run.measures[name] for run in outcome.seed_runs if name in run.measures]
    return sum(found) if found else None
