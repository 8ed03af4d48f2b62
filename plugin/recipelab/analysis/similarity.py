"""How alike texts are: the cosine of their TF-IDF vectors, in plain Python."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from recipelab.analysis.counts import excesses
from recipelab.analysis.history import History, Judged
from recipelab.core.trial import Status

Vector = Mapping[str, float]

_WORD = re.compile(r"[^\W\d_]{2,}")


def words(text: str) -> list[str]:
    """The words of a text: runs of two letters or more, whatever their case, no digits."""
    return _WORD.findall(text.casefold())


def vectors(texts: Sequence[str]) -> list[Vector]:
    """The TF-IDF vectors of texts, of length 1, or empty for a text without words.

    A word that occurs f times in a text and in d of n texts weighs
    ``(1 + ln f) * (ln((1 + n) / (1 + d)) + 1)``.
    """
    counts = [Counter(words(text)) for text in texts]
    spread = Counter(word for count in counts for word in count)
    rarity = {word: math.log((1 + len(texts)) / (1 + many)) + 1 for word, many in spread.items()}
    return [
        _unit({word: (1 + math.log(many)) * rarity[word] for word, many in count.items()})
        for count in counts
    ]


def cosine(one: Vector, other: Vector) -> float:
    """The cosine of the angle between two vectors of length 1."""
    small, large = (one, other) if len(one) <= len(other) else (other, one)
    return math.fsum(weight * large[word] for word, weight in small.items() if word in large)


def _unit(vector: Vector) -> Vector:
    length = math.sqrt(math.fsum(weight * weight for weight in vector.values()))
    return {word: weight / length for word, weight in vector.items()} if length else {}


THRESHOLD = 0.3
"""From this cosine on, a hypothesis belongs to a cluster."""

MOST = 2_000
"""Hypotheses that are clustered at most, as the work grows with their square."""

DIVERSITY_METHOD = (
    "Each hypothesis but the baseline's is a TF-IDF vector over its words (runs of two letters or "
    "more, case folded; weight (1 + ln f) * (ln((1 + n) / (1 + d)) + 1); length 1). In the order "
    "of the trials' numbers, each joins the cluster whose first member is most alike if their "
    f"cosine is at least {THRESHOLD}, else it founds a cluster. With p the shares of the clusters, "
    "effective_clusters is exp(-sum p ln p), inverse_simpson is 1 / sum p^2. Of more than "
    f"{MOST:,} hypotheses, {MOST:,} at equal distances are taken."
)


def clusters(texts: Sequence[str], threshold: float = THRESHOLD) -> list[list[int]]:
    """Groups texts by what they are about.

    Args:
        texts: The texts.
        threshold: From this cosine to a cluster's first text on, a text belongs to it.

    Returns:
        The positions of the texts of each cluster, in order.
    """
    found: list[list[int]] = []
    founders: dict[str, list[tuple[int, float]]] = {}
    for position, vector in enumerate(vectors(texts)):
        alike = _alike(vector, founders)
        nearest = max(alike, key=lambda group: (alike[group], -group), default=None)
        if nearest is not None and alike[nearest] >= threshold:
            found[nearest].append(position)
            continue
        for word, weight in vector.items():
            founders.setdefault(word, []).append((len(found), weight))
        found.append([position])
    return found


def _alike(vector: Vector, founders: Mapping[str, list[tuple[int, float]]]) -> dict[int, float]:
    """The cosine to the first text of each cluster that shares a word with a text."""
    alike: dict[int, float] = {}
    for word, weight in vector.items():
        for group, other in founders.get(word, ()):
            alike[group] = alike.get(group, 0.0) + weight * other
    return alike


def diversity(history: History) -> dict[str, Any]:
    """The effective number of clusters of hypotheses, and how it is computed."""
    numbers = {item.number for item in history.proposed}
    texts = [record.hypothesis for record in history.trials if record.number in numbers]
    sample = [texts[i * len(texts) // MOST] for i in range(MOST)] if len(texts) > MOST else texts
    groups = clusters(sample)
    shares = [len(group) / len(sample) for group in groups]
    entropy = -math.fsum(share * math.log(share) for share in shares)
    simpson = math.fsum(share * share for share in shares)
    return {
        "hypotheses": len(texts),
        "sample": len(sample),
        "clusters": len(groups),
        "effective_clusters": math.exp(entropy) if groups else 0.0,
        "inverse_simpson": 1 / simpson if groups else 0.0,
        "threshold": THRESHOLD,
        "method": DIVERSITY_METHOD,
    }


MISSES = (
    Status.GATE_MISSED,
    Status.OVERSIZE,
    Status.TRAIN_OVERRUN,
    Status.EVAL_OVERRUN,
)
ALIKE = 0.5
"""From this cosine on, two hypotheses of a surface are the same idea."""

NEAR_MISS_METHOD = (
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
        "method": NEAR_MISS_METHOD,
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
