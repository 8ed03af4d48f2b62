"""Trials that were better than the best but missed a limit, and which later trial mended that."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from recipelab.analysis.counts import excesses
from recipelab.analysis.history import History, Judged
from recipelab.analysis.similarity import Vector, cosine, vectors
from recipelab.trial import Status

MISSES = (
    Status.GATE_MISSED,
    Status.OVERSIZE,
    Status.TRAIN_OVERRUN,
    Status.EVAL_OVERRUN,
)
ALIKE = 0.5
"""From this cosine on, two hypotheses of a surface are the same idea."""

METHOD = (
    "A near miss ended gate_missed, oversize, train_overrun or eval_overrun with a score better "
    "than that of the best at the moment it was judged. It is repaired by the first trial judged "
    "later that ended kept or discarded and that is its descendant (child), or whose hypothesis "
    "or reason names it as 'exp_N' or 'trial N' (named), or that is of the same surface with a "
    f"hypothesis whose TF-IDF cosine to its own is at least {ALIKE} (alike)."
)


def near_misses(history: History) -> dict[str, Any]:
    """The near misses, what each missed its limits by, and what repaired it."""
    found = [item for item in history.judged if _is_near_miss(history, item)]
    texts = [record.hypothesis for record in history.trials]
    own = dict(zip((r.number for r in history.trials), vectors(texts), strict=True))
    listed = [_facts(history, item, own) for item in found]
    return {
        "count": len(listed),
        "repaired": sum(item["repaired_by"] is not None for item in listed),
        "kept_after_repair": sum(
            item["repaired_by"] is not None and item["repaired_by"]["kept"] for item in listed
        ),
        "by_status": {
            status.value: many
            for status in MISSES
            if (many := sum(item["status"] == status.value for item in listed))
        },
        "missed_gates": excesses(found),
        "method": METHOD,
        "trials": listed,
    }


def _is_near_miss(history: History, item: Judged) -> bool:
    best, score = history.best_before[item.number], item.outcome.score
    if item.outcome.status not in MISSES or best is None or score is None:
        return False
    return history.metric.goal.sign * (score - best) > 0.0


def _facts(history: History, item: Judged, own: Mapping[int, Vector]) -> dict[str, Any]:
    return history.named(item.number) | {
        "status": item.outcome.status.value,
        "score": item.outcome.score,
        "best": history.best_before[item.number],
        "excess": {gate.name: -gate.margin for gate in item.outcome.gates if not gate.passed},
        "repaired_by": next(_repairs(history, item, own), None),
    }


def _repairs(history: History, item: Judged, own: Mapping[int, Vector]) -> Iterator[dict[str, Any]]:
    name = history.names[item.number] if history.names else str(item.number)
    digits = name.rpartition("_")[2].lstrip("0") or "0"
    told = re.compile(rf"\b(?:exp|trial)[\s_#]*0*{re.escape(digits)}(?!\d)", re.IGNORECASE)
    family = {item.number}
    for record in history.trials[item.number + 1 :]:
        if family & set(record.parents):
            family.add(record.number)
    for later in history.judged[history.place[item.number] + 1 :]:
        if later.outcome.status not in (Status.KEPT, Status.DISCARDED):
            continue
        if how := _how(item, later, family, told, own):
            kept = later.outcome.status is Status.KEPT
            yield history.named(later.number) | {"how": how, "kept": kept}


def _how(
    item: Judged,
    later: Judged,
    family: set[int],
    told: re.Pattern[str],
    own: Mapping[int, Vector],
) -> str | None:
    if later.number in family:
        return "child"
    if told.search(later.record.hypothesis) or told.search(later.outcome.reason):
        return "named"
    same = later.record.surface == item.record.surface
    alike = same and cosine(own[item.number], own[later.number]) >= ALIKE
    return "alike" if alike else None
