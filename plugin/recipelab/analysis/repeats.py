"""Failures that came again with the same signature."""

from __future__ import annotations

from typing import Any

from recipelab.analysis.history import History, Judged

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
