"""The near misses of a campaign: better scores that failed a limit, and their repairs."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from statistics import median
from typing import Any

from recipelab.analysis.history import History
from recipelab.core.trial import Status
from recipelab.lineage import PastTrial

MISSES = (
    Status.GATE_MISSED,
    Status.OVERSIZE,
    Status.TRAIN_OVERRUN,
    Status.EVAL_OVERRUN,
)
REPAIRED = (Status.KEPT, Status.DISCARDED)

NEAR_MISS_METHOD = (
    "A near miss ended gate_missed, oversize, train_overrun or eval_overrun with a score better "
    "than that of the best at the moment it was judged. It is repaired by the first trial judged "
    "later that ended kept or discarded and that is its descendant (child), or that is of the same "
    "surface and whose hypothesis or reason names it as 'exp_N' or 'trial N' (named)."
)


def near_misses(history: History) -> dict[str, Any]:
    """Return the near misses, the limits that each missed, and the trial that repaired it."""
    found = [trial for trial in history.judged if _is_near_miss(history, trial)]
    repairs = Repairs(history)
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
    """Finds the trials that repaired near misses, without a walk over all later trials for each.

    A repair is a candidate (kept or discarded) that was judged after the miss. Places count the
    judged trials. Each of the two ways to be one is looked up on its own:

    - child: the earliest place of a candidate below each trial;
    - named: the places of the candidates of each surface that mention a number.

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
        self._first_below: dict[int, int] = {}
        self._mentions: dict[tuple[str, str], list[int]] = defaultdict(list)
        self._index_descendants()
        self._index_mentions()

    def first(self, miss: PastTrial) -> tuple[PastTrial, str] | None:
        """Return the first repair of a near miss, and how it is one; ``None`` without any."""
        after = self._place[miss.number]
        child, named = self._first_child(miss, after), self._first_mention(miss, after)
        place = min(child, named)
        if place == NEVER:
            return None
        return self._candidates[int(place)], "child" if place == child else "named"

    def _index_descendants(self) -> None:
        by_number = {trial.number: trial for trial in self._history.trials}
        for trial in self._history.trials:
            for parent in trial.parents:
                self._children[parent].append(trial.number)
        # From the first candidate on, each goes up as far as no earlier one has been. A trial that
        # moved onto another has a parent with a higher number, so numbers give no order.
        for place, trial in self._candidates.items():
            waiting = list(trial.parents)
            while waiting:
                number = waiting.pop()
                if number not in self._first_below:
                    self._first_below[number] = place
                    waiting.extend(by_number[number].parents if number in by_number else ())

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
                self._mentions[trial.surface, _significant(digits)].append(place)

    def _first_mention(self, miss: PastTrial, after: int) -> float:
        names = self._history.names
        name = _significant((names[miss.number] if names else str(miss.number)).rpartition("_")[2])
        if name.isascii() and name.isdigit():
            places = self._mentions.get((miss.surface, name), [])
            at = bisect_right(places, after)
            return places[at] if at < len(places) else NEVER
        # A released run may have named its trials otherwise.
        mention = re.compile(rf"{_PREFIX}0*{re.escape(name)}(?!\d)", re.IGNORECASE)
        for place, trial in self._candidates.items():
            is_later = place > after and trial.surface == miss.surface
            if is_later and (mention.search(trial.hypothesis) or mention.search(trial.reason)):
                return place
        return NEVER


_PREFIX = r"\b(?:exp|trial)[\s_#]*"
_MENTION = re.compile(rf"{_PREFIX}([0-9]+)(?!\d)", re.IGNORECASE)


def _significant(digits: str) -> str:
    """Return digits without leading zeros."""
    return digits.lstrip("0") or "0"


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
