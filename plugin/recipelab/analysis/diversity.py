"""How many different ideas a campaign tried: the effective number of clusters of hypotheses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from recipelab.analysis.history import History
from recipelab.analysis.similarity import cosine, vectors

THRESHOLD = 0.3
"""From this cosine on, a hypothesis belongs to a cluster."""

METHOD = (
    "Each hypothesis but the baseline's is a TF-IDF vector over its words (runs of two letters or "
    "more, case folded; weight (1 + ln f) * (ln((1 + n) / (1 + d)) + 1); length 1). In the order "
    "of the trials' numbers, each joins the cluster whose first member is most alike if their "
    f"cosine is at least {THRESHOLD}, else it founds a cluster. With p the shares of the clusters, "
    "effective_clusters is exp(-sum p ln p), inverse_simpson is 1 / sum p^2."
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
    all_vectors = vectors(texts)
    for position, vector in enumerate(all_vectors):
        alike = [cosine(vector, all_vectors[group[0]]) for group in found]
        nearest = max(range(len(found)), key=alike.__getitem__, default=None)
        if nearest is not None and alike[nearest] >= threshold:
            found[nearest].append(position)
        else:
            found.append([position])
    return found


def diversity(history: History) -> dict[str, Any]:
    """The effective number of clusters of hypotheses, and how it is computed."""
    numbers = {item.number for item in history.proposed}
    texts = [record.hypothesis for record in history.trials if record.number in numbers]
    groups = clusters(texts)
    shares = [len(group) / len(texts) for group in groups]
    entropy = -math.fsum(share * math.log(share) for share in shares)
    simpson = math.fsum(share * share for share in shares)
    return {
        "hypotheses": len(texts),
        "clusters": len(groups),
        "effective_clusters": math.exp(entropy) if groups else 0.0,
        "inverse_simpson": 1 / simpson if groups else 0.0,
        "threshold": THRESHOLD,
        "method": METHOD,
    }
