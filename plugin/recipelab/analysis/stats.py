"""How long the chains of trials are that stand on each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recipelab.analysis.counts import by_specialist, by_surface, failure_rates, status_counts
from recipelab.analysis.history import History, Judged
from recipelab.analysis.similarity import diversity, near_misses
from recipelab.core.trial import Outcome, Status


def depths(history: History) -> dict[int, int]:
    """How many first parents each trial has above it; 0 for one without a parent."""
    found: dict[int, int] = {}
    for record in history.trials:
        parents = [number for number in record.parents if number in found]
        found[record.number] = found[parents[0]] + 1 if parents else 0
    return found


def best_number(history: History) -> int | None:
    """The best trial: the last one that was kept, or else the baseline."""
    parents = [item.number for item in history.judged if item.outcome.status.is_parent]
    return parents[-1] if parents else None


def chain_facts(history: History) -> dict[str, Any]:
    """The chain that led to the best, and how deep trials stand."""
    by_number = {record.number: record for record in history.trials}
    found = depths(history)
    best = best_number(history)
    chain: list[int] = []
    at = best
    while at is not None:
        chain.append(at)
        parents = by_number[at].parents
        at = parents[0] if parents else None
    proposed = [found[item.number] for item in history.proposed]
    kept = [found[i.number] for i in history.proposed if i.outcome.status is Status.KEPT]
    return {
        "best_chain": [history.named(number) for number in reversed(chain)],
        "best_depth": max(len(chain) - 1, 0),
        "deepest": max(proposed, default=0),
        "deepest_kept": max(kept, default=0),
        "mean": sum(proposed) / len(proposed) if proposed else None,
    }


BARS = "▁▂▃▄▅▆▇█"
WIDTH = 60


def curve(history: History) -> list[dict[str, Any]]:
    """The points where the best changed: the baseline, then every trial that was kept.

    Returns:
        For each the trial, how many proposals had been judged by then, the score, and the change
        from the baseline in percent of the baseline.
    """
    points: list[dict[str, Any]] = []
    start: float | None = None
    judged = 0
    for item in history.judged:
        status, score = item.outcome.status, item.outcome.score
        judged += status is not Status.BASELINE
        if not status.is_parent or score is None:
            continue
        start = score if start is None else start
        change = 100.0 * (score - start) / abs(start) if start else None
        point = {"judged": judged, "score": score, "change_percent": change}
        points.append(history.named(item.number) | point)
    return points


def best_so_far(history: History) -> list[float]:
    """The best score after each judged trial, from the first score on."""
    values: list[float] = []
    for item in history.judged:
        if item.outcome.status.is_parent and item.outcome.score is not None:
            values.append(item.outcome.score)
        elif values:
            values.append(values[-1])
    return values


def sparkline(values: Sequence[float], width: int = WIDTH) -> str:
    """The values as a line of bars, the last value of each stretch standing for it."""
    if not values:
        return ""
    columns = min(width, len(values))
    shown = [values[(i + 1) * len(values) // columns - 1] for i in range(columns)]
    low, high = min(shown), max(shown)
    span = (high - low) or 1.0
    return "".join(BARS[round((value - low) / span * (len(BARS) - 1))] for value in shown)


SHOWN = 20
"""How many signatures are listed, the most frequent first."""


def repeats(history: History) -> dict[str, Any]:
    """How often failures repeated one that had happened before.

    Returns:
        The failures, their different signatures, how many of them repeated an earlier one, and
        the signatures that did so with their first and last trial.
    """
    groups: dict[str, list[Judged]] = {}
    for item in history.proposed:
        if item.outcome.failure is not None:
            groups.setdefault(item.outcome.failure.signature, []).append(item)
    failures = sum(map(len, groups.values()))
    again = {text: items for text, items in groups.items() if len(items) > 1}
    ranked = sorted(again.items(), key=lambda pair: -len(pair[1]))
    return {
        "failures": failures,
        "signatures": len(groups),
        "repeated": failures - len(groups),
        "most_frequent": [
            {
                "signature": text,
                "count": len(items),
                "first": history.named(items[0].number),
                "last": history.named(items[-1].number),
            }
            for text, items in ranked[:SHOWN]
        ],
    }


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


def campaign_stats(history: History) -> dict[str, Any]:
    """The figures of a campaign, as ``recipelab stats --json`` prints them."""
    points = curve(history)
    statuses = status_counts(history)
    return {
        "campaign": history.campaign,
        "metric": history.metric.to_json(),
        "trials": len(history.proposed),
        "kept": statuses.get("kept", 0),
        "by_status": statuses,
        "by_surface": by_surface(history),
        "by_specialist": by_specialist(history),
        "baseline": points[0] if points else None,
        "best": _best(history, points),
        "curve": {"points": points, "sparkline": sparkline(best_so_far(history))},
        "failures": failure_rates(history),
        "repeats": repeats(history),
        "chain": chain_facts(history),
        "time": {"by_status": spending(history), "method": METHOD},
        "near_misses": near_misses(history),
        "diversity": diversity(history),
    }


def _best(history: History, points: list[dict[str, Any]]) -> dict[str, Any] | None:
    best = best_number(history)
    return next((point for point in points if point["trial"] == best), None)
