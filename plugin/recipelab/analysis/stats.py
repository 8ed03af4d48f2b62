"""All figures of a campaign in one table of plain data."""

from __future__ import annotations

from typing import Any

from recipelab.analysis.chains import best_number, chain_facts
from recipelab.analysis.counts import by_specialist, by_surface, failure_rates, status_counts
from recipelab.analysis.curve import best_so_far, curve, sparkline
from recipelab.analysis.diversity import diversity
from recipelab.analysis.history import History
from recipelab.analysis.near_misses import near_misses
from recipelab.analysis.repeats import repeats
from recipelab.analysis.spending import METHOD, spending


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
