"""The near misses of a campaign: better scores that failed a limit, and their repairs."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import median
from typing import Any

from recipelab.analysis.history import History
from recipelab.analysis.similarity import TextVectors, alike_pairs
from recipelab.core.trial import Status
from recipelab.lineage import PastTrial

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
    repairs = Repairs(history).first(found) if found else {}
    listed = [_facts(history, trial, repairs.get(trial.number)) for trial in found]
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
    """Finds the trials that repaired near misses, without a walk over all later trials for each.

    A repair is a candidate (kept or discarded) that was judged after the miss. Places count the
    judged trials. Each of the three ways to be one is looked up on its own:

    - child: the earliest place of a candidate below each trial, found from the last trial to the
      first;
    - named: the places of the candidates that mention a number;
    - alike: :func:`first_alike`, surface by surface.

    Args:
        history: The campaign.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._place = {trial.number: place for place, trial in enumerate(history.judged)}
        self._candidates = {
            place: trial for place, trial in enumerate(history.judged) if trial.status in REPAIRED
        }
        self._children: dict[int, list[int]] = defaultdict(list)
        self._first_below: dict[int, float] = {}
        self._mentions: dict[str, list[int]] = defaultdict(list)
        self._index_descendants()
        self._index_mentions()

    def first(self, misses: Sequence[PastTrial]) -> dict[int, tuple[PastTrial, str]]:
        """Return the first repair of each near miss that was repaired, and how it is one."""
        found: dict[int, tuple[PastTrial, str]] = {}
        # A trial stands at the place of its number, so its number is the place of its vector.
        vectors = TextVectors(trial.hypothesis for trial in self._history.trials)
        for surface in {miss.surface for miss in misses}:
            some = [miss for miss in misses if miss.surface == surface]
            ways = [self._child_and_mention(miss) for miss in some]
            queries = [
                AlikeQuery(miss.number, self._place[miss.number], min(way))
                for miss, way in zip(some, ways, strict=True)
            ]
            candidates = {
                place: trial.number
                for place, trial in self._candidates.items()
                if trial.surface == surface
            }
            alike = first_alike(vectors, queries, candidates)
            for miss, (child, named), third in zip(some, ways, alike, strict=True):
                place = min(child, named, third)
                if place != NEVER:
                    how = "child" if place == child else "named" if place == named else "alike"
                    found[miss.number] = self._candidates[int(place)], how
        return found

    def _child_and_mention(self, miss: PastTrial) -> tuple[float, float]:
        after = self._place[miss.number]
        return self._first_child(miss, after), self._first_mention(miss, after)

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


_BLOCK = 512
"""Candidates that are compared with the near misses at once."""


@dataclass(frozen=True)
class AlikeQuery:
    """A search for the first candidate whose hypothesis is like another one.

    Attributes:
        text: The place of the hypothesis in the collection.
        after: Only candidates at later places.
        before: Only candidates at earlier places.
    """

    text: int
    after: int
    before: float


def first_alike(
    vectors: TextVectors, queries: Sequence[AlikeQuery], candidates: Mapping[int, int]
) -> list[float]:
    """Return for each query the place of the first candidate that is alike, or :data:`NEVER`.

    All queries are compared with a block of candidates at a time, by a product of sparse matrices,
    until they are answered.

    Args:
        vectors: The vectors of all hypotheses.
        queries: The queries.
        candidates: The hypotheses of the candidates by their own places, in order.
    """
    found: list[float] = [NEVER] * len(queries)
    items = iter(candidates.items())
    while some := list(islice(items, _BLOCK)):
        places, texts = zip(*some, strict=True)
        active = [
            row
            for row, query in enumerate(queries)
            if found[row] == NEVER and query.after < places[-1] and query.before > places[0]
        ]
        if not active:
            continue
        own = vectors.matrix[[queries[row].text for row in active]]
        rows, columns = alike_pairs(own, vectors.matrix[list(texts)], ALIKE)
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            query, place = queries[active[row]], places[column]
            is_wanted = found[active[row]] == NEVER and query.after < place < query.before
            if is_wanted and vectors.cosine(query.text, texts[column]) >= ALIKE:
                found[active[row]] = place
    return found


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
