"""How long the chains of trials are that stand on each other."""

from __future__ import annotations

from typing import Any

from recipelab.analysis.history import History
from recipelab.trial import Status


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
