"""How alike texts are: the cosine of their TF-IDF vectors, and the clusters that they form."""

from __future__ import annotations

import math
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from recipelab.analysis.history import History

_WORD = re.compile(r"[^\W\d_]{2,}")


_SUBJECT = re.compile(r"\s*\[((?:knob|play) [^\]]+)\]")


def words(text: str) -> list[str]:
    """Return what a text is compared by.

    Its words are runs of two letters or more, case folded, without digits. A text that begins with
    ``[knob NAME]`` or ``[play NAME]`` names what it is about, and that name is all that counts: the
    sentence that follows is much the same for every knob.
    """
    subject = _SUBJECT.match(text)
    return [subject[1].casefold()] if subject else _WORD.findall(text.casefold())


class TextVectors:
    """The TF-IDF vectors of a collection of texts, as the rows of a sparse matrix.

    A word that occurs f times in a text and in d of n texts weighs
    ``(1 + ln f) * ln((1 + n) / d)`` in the text's vector, which has length 1: what is in all texts
    weighs next to nothing. A text without words has a vector of zeros. No text is kept.

    Attributes:
        matrix: The vectors, of shape (texts, words): a ``scipy.sparse.csr_array``.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        """Read the texts once.

        Args:
            texts: The collection.
        """
        import numpy
        from scipy.sparse import csr_array

        column_of: dict[str, int] = {}
        columns, counts, ends = array("i"), array("i"), array("i", [0])
        for text in texts:
            found = Counter(words(text))
            columns.extend([column_of.setdefault(word, len(column_of)) for word in found])
            counts.extend(found.values())
            ends.append(len(columns))
        shape = (len(ends) - 1, len(column_of))
        column = numpy.array(columns, dtype=numpy.int32)
        spread = numpy.bincount(column, minlength=shape[1])
        rarity = numpy.log((1 + shape[0]) / spread)
        weights = (1 + numpy.log(numpy.array(counts, dtype=numpy.int32))) * rarity[column]
        row = numpy.repeat(numpy.arange(shape[0]), numpy.diff(ends))
        lengths = numpy.sqrt(numpy.bincount(row, weights * weights, minlength=shape[0]))
        self.matrix: Any = csr_array((weights / lengths[row], column, ends), shape=shape)

    def cosine(self, one: int, other: int) -> float:
        """Return the cosine of the angle between the vectors of two texts, by their places."""
        if self.matrix.indptr[one] == self.matrix.indptr[one + 1]:
            return 0.0
        first, second = self._vector(one), self._vector(other)
        return math.fsum(weight * second.get(word, 0.0) for word, weight in first.items())

    def _vector(self, place: int) -> dict[int, float]:
        begin, end = self.matrix.indptr[place : place + 2].tolist()
        columns, weights = self.matrix.indices[begin:end], self.matrix.data[begin:end]
        return dict(zip(columns.tolist(), weights.tolist(), strict=True))


def alike_pairs(rows: Any, others: Any, threshold: float) -> tuple[Any, Any]:
    """Return the pairs of rows of two matrices whose cosine may reach a threshold.

    The cosines are those of scipy, whose sums may be off in the last digits; so some pairs are
    given whose cosine is below the threshold by less than they are off.

    Args:
        rows: Some vectors; see :class:`TextVectors`.
        others: Some more.
        threshold: The least cosine.

    Returns:
        Two arrays, of the places in one matrix and in the other, sorted.
    """
    likeness = (rows @ others.T).tocoo()
    may_reach = likeness.data >= threshold - 1e-9
    first, second = likeness.row[may_reach], likeness.col[may_reach]
    order = (first.astype("int64") * others.shape[0] + second).argsort()
    return first[order], second[order]


THRESHOLD = 0.3
"""From this cosine on, a hypothesis belongs to a cluster."""

_BLOCK = 500
"""Rows of a matrix that are compared with all others at once."""

MOST = 2_000
"""Hypotheses that are clustered at most, as the work grows with their square."""

DIVERSITY_METHOD = (
    "Each hypothesis but the baseline's is a TF-IDF vector over its words (runs of two letters or "
    "more, case folded; only the name, where it begins with [knob NAME] or [play NAME]; weight "
    "(1 + ln f) * ln((1 + n) / d); length 1). In the order "
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
    own = TextVectors(texts)
    found: dict[int, list[int]] = {}
    for position, others in enumerate(_alike_before(own.matrix, threshold)):
        alike = {other: own.cosine(position, other) for other in others if other in found}
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
