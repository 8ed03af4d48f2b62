"""How alike texts are: the cosine of their TF-IDF vectors, in plain Python."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

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
