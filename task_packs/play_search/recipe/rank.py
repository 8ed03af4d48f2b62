"""Ranks passages for a query: a sum over shared terms of how rare and frequent they are (BM25)."""

from collections import Counter

import numpy as np
from terms import terms, weight_of

K1 = 3.0  # knob rank: 0.05 .. 20.0 log
B = 0.2  # knob rank: 0.0 .. 1.0
IDF_POWER = 0.5  # knob rank: 0.25 .. 4.0 log
QUERY_POWER = 1.0  # knob rank: 0.0 .. 2.0
PRIOR = 2.0  # knob learn: 0.0 .. 8.0

DEPTH = 10  # as many answers as count


class Index:
    """Where each term occurs, and how much an occurrence is worth."""

    def __init__(self, passages: list[str], learned: dict[str, float]) -> None:
        """Takes the passages, and the share of other passages that hold a term."""
        self.count = len(passages)
        counted = [terms(passage) for passage in passages]
        lengths = np.array([sum(counts.values()) for counts in counted], dtype=np.float64)
        relative = lengths / max(1.0, lengths.mean())
        places: dict[str, list[int]] = {}
        often: dict[str, list[int]] = {}
        for place, counts in enumerate(counted):
            for term, number in counts.items():
                places.setdefault(term, []).append(place)
                often.setdefault(term, []).append(number)
        self.postings: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for term, where in places.items():
            at = np.array(where)
            frequency = np.array(often[term], dtype=np.float64)
            damped = frequency * (K1 + 1) / (frequency + K1 * (1 - B + B * relative[at]))
            rarity = self.rarity(len(where), learned.get(term, 0.0))
            self.postings[term] = at, damped * rarity * weight_of(term)

    def rarity(self, holding: int, learned: float) -> float:
        """How much a term tells, from how many passages hold it, here and in other plays."""
        share = (holding + PRIOR * learned * self.count) / (1 + PRIOR)
        return float(max(np.log((self.count + 1) / (share + 0.5)), 1e-6) ** IDF_POWER)

    def scores(self, query: Counter[str]) -> np.ndarray:
        """How well each passage goes with the terms of a query."""
        total = np.zeros(self.count)
        for term, number in query.items():
            if term in self.postings:
                at, worth = self.postings[term]
                total[at] += worth * number**QUERY_POWER
        return total

    def best(self, query: str) -> list[int]:
        """The places of the best passages, best first."""
        total = self.scores(terms(query))
        return [int(place) for place in np.argsort(-total, kind="stable")[:DEPTH]]
