"""The best score so far, trial by trial."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recipelab.analysis.history import History
from recipelab.trial import Status

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
