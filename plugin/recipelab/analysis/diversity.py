"""How many different ideas a campaign tried: the effective number of clusters of hypotheses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from recipelab.analysis.history import History
from recipelab.analysis.similarity import Vector, vectors

THRESHOLD = 0.3
"""From this cosine on, a hypothesis belongs to a cluster."""

MOST = 2_000
"""Hypotheses that are clustered at most, as the work grows with their square."""

METHOD = (
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
        "method": METHOD,
    }
