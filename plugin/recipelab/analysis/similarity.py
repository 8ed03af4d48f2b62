"""How alike texts are: the cosine of their TF-IDF vectors, and the clusters that they form."""

from __future__ import annotations

import math
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from recipelab.analysis.history import History

Vector = Mapping[str, float]

_WORD = re.compile(r"[^\W\d_]{2,}")


def words(text: str) -> list[str]:
    """Return the words of a text: runs of two letters or more, case folded, without digits."""
    return _WORD.findall(text.casefold())


class WordWeights:
    """The weights of words in a collection of texts, of which no text has to be kept.

    A word that occurs f times in a text and in d of n texts weighs
    ``(1 + ln f) * (ln((1 + n) / (1 + d)) + 1)`` in the text's vector, which has length 1.

    Args:
        texts: The collection.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        spread: Counter[str] = Counter()
        total = 0
        for text in texts:
            spread.update(set(words(text)))
            total += 1
        self._rarity = {w: math.log((1 + total) / (1 + many)) + 1 for w, many in spread.items()}
        self._columns = {word: column for column, word in enumerate(spread)}

    def vector(self, text: str) -> Vector:
        """Return the vector of a text of the collection; empty for a text without words."""
        counts = Counter(words(text))
        weights = {w: (1 + math.log(many)) * self._rarity[w] for w, many in counts.items()}
        length = math.sqrt(math.fsum(weight * weight for weight in weights.values()))
        return {word: weight / length for word, weight in weights.items()} if length else {}

    def matrix(self, vectors: Iterable[Vector]) -> Any:
        """Return vectors as the rows of a sparse matrix of scipy's."""
        from scipy.sparse import csr_array

        weights, columns, ends = array("d"), array("i"), array("i", [0])
        for vector in vectors:
            columns.extend(map(self._columns.__getitem__, vector))
            weights.extend(vector.values())
            ends.append(len(weights))
        return csr_array((weights, columns, ends), shape=(len(ends) - 1, len(self._columns)))


def alike_pairs(rows: Any, others: Any, threshold: float) -> tuple[Any, Any]:
    """Return the pairs of rows of two matrices whose cosine may reach a threshold.

    The cosines are those of scipy, whose sums may be off in the last digits; so some pairs are
    given whose cosine is below the threshold by less than they are off.

    Args:
        rows: A matrix of vectors; see :meth:`WordWeights.matrix`.
        others: Another one.
        threshold: The least cosine.

    Returns:
        Two arrays, of the places in one matrix and in the other, sorted.
    """
    likeness = (rows @ others.T).tocoo()
    may_reach = likeness.data >= threshold - 1e-9
    first, second = likeness.row[may_reach], likeness.col[may_reach]
    order = (first.astype("int64") * others.shape[0] + second).argsort()
    return first[order], second[order]


def vectors(texts: Sequence[str]) -> list[Vector]:
    """Return the TF-IDF vectors of texts; see :class:`WordWeights`."""
    weights = WordWeights(texts)
    return [weights.vector(text) for text in texts]


def cosine(one: Vector, other: Vector) -> float:
    """Return the cosine of the angle between two vectors of length 1."""
    small, large = (one, other) if len(one) <= len(other) else (other, one)
    return math.fsum(weight * large[word] for word, weight in small.items() if word in large)


THRESHOLD = 0.3
"""From this cosine on, a hypothesis belongs to a cluster."""

_BLOCK = 500
"""Rows of a matrix that are compared with all others at once."""

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
    """Group texts by the idea that they are about.

    Args:
        texts: The texts.
        threshold: From this cosine to a cluster's first text on, a text belongs to it.

    Returns:
        The positions of the texts of each cluster, in order.
    """
    weights = WordWeights(texts)
    own = [weights.vector(text) for text in texts]
    found: dict[int, list[int]] = {}
    for position, others in enumerate(_alike_before(weights.matrix(own), threshold)):
        alike = {other: _dot(own[position], own[other]) for other in others if other in found}
        founder = max(alike, key=lambda other: (alike[other], -other), default=None)
        if founder is not None and alike[founder] >= threshold:
            found[founder].append(position)
        else:
            found[position] = [position]
    return list(found.values())


def _alike_before(matrix: Any, threshold: float) -> Iterator[list[int]]:
    """Yield for each row the rows before it whose cosine to it may reach a threshold."""
    for start in range(0, matrix.shape[0], _BLOCK):
        block = matrix[start : start + _BLOCK]
        rows, others = alike_pairs(block, matrix, threshold)
        ends = rows.searchsorted(range(block.shape[0]), side="right").tolist()
        for row, (begin, end) in enumerate(pairwise([0, *ends])):
            yield [other for other in others[begin:end].tolist() if other < start + row]


def _dot(one: Vector, other: Vector) -> float:
    return sum(weight * other[word] for word, weight in one.items() if word in other)


def diversity(history: History) -> dict[str, Any]:
    """Return the effective number of clusters of hypotheses, and how it is computed."""
    numbers = {trial.number for trial in history.proposed}
    texts = [trial.hypothesis for trial in history.trials if trial.number in numbers]
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
