"""The near misses of a campaign: better scores that failed a limit, and their repairs."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import lru_cache
from statistics import median
from typing import Any

from recipelab.analysis.history import History, PastTrial
from recipelab.analysis.similarity import Vector, WordWeights, cosine
from recipelab.core.trial import Status

MISSES = (
    Status.GATE_MISSED,
    Status.OVERSIZE,
    Status.TRAIN_OVERRUN,
    Status.EVAL_OVERRUN,
)
REPAIRED = (Status.KEPT, Status.DISCARDED)
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
    """Return the near misses, the limits that each missed, and the trial that repaired it."""
    found = [trial for trial in history.judged if _is_near_miss(history, trial)]
    repairs = Repairs(history, {trial.surface for trial in found})
    listed = [_facts(history, trial, repairs.first(trial)) for trial in found]
    repaired = [item["repaired_by"] for item in listed if item["repaired_by"] is not None]
    counts = {status: sum(trial.status is status for trial in found) for status in MISSES}
    return {
        "count": len(listed),
        "repaired": len(repaired),
        "kept_after_repair": sum(repair["kept"] for repair in repaired),
        "by_status": {status.value: many for status, many in counts.items() if many},
        "missed_gates": excesses(found),
        "method": NEAR_MISS_METHOD,
        "trials": listed,
    }


def _is_near_miss(history: History, trial: PastTrial) -> bool:
    best, score = history.best_before[trial.number], trial.score
    if trial.status not in MISSES or best is None or score is None:
        return False
    return history.metric.goal.sign * (score - best) > 0.0


def _facts(
    history: History, trial: PastTrial, repair: tuple[PastTrial, str] | None
) -> dict[str, Any]:
    repaired_by = None
    if repair is not None:
        later, how = repair
        kept = later.status is Status.KEPT
        repaired_by = history.named(later.number) | {"how": how, "kept": kept}
    return history.named(trial.number) | {
        "status": trial.status_name,
        "score": trial.score,
        "best": history.best_before[trial.number],
        "excess": dict(trial.missed),
        "repaired_by": repaired_by,
    }


NEVER = math.inf
"""The place of a trial that does not exist."""


class Repairs:
    """Finds the trial that repaired a near miss, without a walk over all later trials.

    A repair is a candidate (kept or discarded) that was judged after the miss. Places count the
    judged trials. Each of the three ways to be one has an index:

    - child: the earliest place of a candidate below each trial, found from the last trial to the
      first;
    - named: the places of the candidates that mention a number;
    - alike: :class:`AlikeIndex`.

    Args:
        history: The campaign.
        surfaces: The surfaces of the near misses.
    """

    def __init__(self, history: History, surfaces: Iterable[str]) -> None:
        self._history = history
        self._place = {trial.number: place for place, trial in enumerate(history.judged)}
        self._candidates = {
            place: trial for place, trial in enumerate(history.judged) if trial.status in REPAIRED
        }
        self._children: dict[int, list[int]] = defaultdict(list)
        self._first_below: dict[int, float] = {}
        self._mentions: dict[str, list[int]] = defaultdict(list)
        self._alike: dict[str, AlikeIndex] = {}
        wanted = set(surfaces)
        if wanted:
            self._index_descendants()
            self._index_mentions()
            weights = WordWeights(trial.hypothesis for trial in history.trials)
            self._alike = {surface: AlikeIndex(weights) for surface in wanted}
            for place, trial in self._candidates.items():
                if trial.surface in wanted:
                    self._alike[trial.surface].add(place, trial.hypothesis)

    def first(self, miss: PastTrial) -> tuple[PastTrial, str] | None:
        """Return the first repair of a near miss, and how it is one."""
        after = self._place[miss.number]
        child, named = self._first_child(miss, after), self._first_mention(miss, after)
        before = min(child, named)
        alike = self._alike[miss.surface].first(miss.hypothesis, after, before)
        place = min(before, alike)
        if place == NEVER:
            return None
        how = "child" if place == child else "named" if place == named else "alike"
        return self._history.judged[int(place)], how

    def _index_descendants(self) -> None:
        for trial in reversed(self._history.trials):
            place = self._place.get(trial.number, NEVER)
            own = place if place in self._candidates else NEVER
            first = min(own, self._first_below.get(trial.number, NEVER))
            for parent in trial.parents:
                if parent < trial.number:
                    self._children[parent].append(trial.number)
                    self._first_below[parent] = min(first, self._first_below.get(parent, NEVER))

    def _first_child(self, miss: PastTrial, after: int) -> float:
        first = self._first_below.get(miss.number, NEVER)
        if first > after:
            return first
        # Rare: a descendant was judged before the miss itself. Look at all of them.
        found, seen, waiting = NEVER, {miss.number}, [miss.number]
        while waiting:
            for number in self._children[waiting.pop()]:
                if number not in seen:
                    seen.add(number)
                    waiting.append(number)
                    place = self._place.get(number, NEVER)
                    if place > after and place in self._candidates:
                        found = min(found, place)
        return found

    def _index_mentions(self) -> None:
        for place, trial in self._candidates.items():
            texts = (trial.hypothesis, trial.reason)
            for digits in {found for text in texts for found in _MENTION.findall(text)}:
                self._mentions[_significant(digits)].append(place)

    def _first_mention(self, miss: PastTrial, after: int) -> float:
        names = self._history.names
        name = _significant((names[miss.number] if names else str(miss.number)).rpartition("_")[2])
        if name.isascii() and name.isdigit():
            places = self._mentions.get(name, [])
            at = bisect_right(places, after)
            return places[at] if at < len(places) else NEVER
        # A released run may have named its trials otherwise.
        mention = re.compile(rf"{_PREFIX}0*{re.escape(name)}(?!\d)", re.IGNORECASE)
        for place, trial in self._candidates.items():
            if place > after and (mention.search(trial.hypothesis) or mention.search(trial.reason)):
                return place
        return NEVER


_PREFIX = r"\b(?:exp|trial)[\s_#]*"
_MENTION = re.compile(rf"{_PREFIX}([0-9]+)(?!\d)", re.IGNORECASE)


def _significant(digits: str) -> str:
    """Return digits without leading zeros."""
    return digits.lstrip("0") or "0"


NEARBY = 8
"""Candidates that are compared one by one before the index is asked."""


class AlikeIndex:
    """Finds the first hypothesis that is like another one, among the candidates of a surface.

    It follows prefix filtering (Bayardo, Ma and Srikant, "Scaling Up All Pairs Similarity Search",
    WWW 2007). The words of each vector are sorted from rare to common, and behind each word stands
    the length of the rest of the vector from that word on. If w is the first word that two vectors
    share in that order, their cosine is at most the product of their rests from w on. So a vector
    is found under those of its words alone whose rest is at least :data:`ALIKE`, and is compared
    only if the product of the rests suffices.

    Args:
        weights: The weights of words in the campaign.
    """

    def __init__(self, weights: WordWeights) -> None:
        self._weights = weights
        self._vector = lru_cache(maxsize=4_096)(weights.vector)
        self._places: list[int] = []
        self._texts: dict[int, str] = {}
        self._postings: dict[str, list[tuple[float, int]]] = defaultdict(list)
        self._is_sorted = True

    def add(self, place: int, hypothesis: str) -> None:
        """Add a candidate; places are added in order."""
        self._places.append(place)
        self._texts[place] = hypothesis
        for word, rest in self._rests(self._weights.vector(hypothesis)):
            self._postings[word].append((rest, place))
        self._is_sorted = False

    def first(self, hypothesis: str, after: int, before: float) -> float:
        """Return the first place between two others whose hypothesis is like this one."""
        vector = self._vector(hypothesis)
        start = bisect_right(self._places, after)
        for place in self._places[start : start + NEARBY]:
            if place >= before:
                return NEVER
            if cosine(vector, self._vector(self._texts[place])) >= ALIKE:
                return place
        if start + NEARBY >= len(self._places):
            return NEVER
        after = self._places[start + NEARBY - 1]
        for place in sorted(self._possible(vector, after, before)):
            if cosine(vector, self._vector(self._texts[place])) >= ALIKE:
                return place
        return NEVER

    def _possible(self, vector: Vector, after: int, before: float) -> set[int]:
        """Return the places between two others whose hypothesis may be alike."""
        if not self._is_sorted:
            for postings in self._postings.values():
                postings.sort(reverse=True)
            self._is_sorted = True
        found: set[int] = set()
        for word, rest in self._rests(vector):
            for other, place in self._postings.get(word, ()):
                if other * rest < ALIKE - _ROUNDING:
                    break
                if after < place < before:
                    found.add(place)
        return found

    def _rests(self, vector: Vector) -> Iterator[tuple[str, float]]:
        """Yield the words of a vector from rare to common, while the rest may suffice."""
        rarity = self._weights.rarity
        square = 1.0
        for word in sorted(vector, key=lambda word: (-rarity[word], word)):
            rest = math.sqrt(max(square, 0.0))
            if rest < ALIKE - _ROUNDING:
                return
            yield word, rest
            square -= vector[word] ** 2


_ROUNDING = 1e-9
"""By so much sums of floating-point numbers may be off."""


def excesses(trials: Iterable[PastTrial]) -> dict[str, dict[str, Any]]:
    """Return the gates that trials missed: how many did, and by how much at the median."""
    found: dict[str, list[float]] = {}
    for trial in trials:
        for name, excess in trial.missed.items():
            found.setdefault(name, []).append(excess)
    return {
        name: {"missed": len(values), "median_excess": median(values)}
        for name, values in found.items()
    }
