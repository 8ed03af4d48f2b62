"""The moves that the rule-based client can make, and how it ranks them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recipelab.knobs import Knob, KnobValue, find_knobs
from recipelab.models.evidence import Evidence
from recipelab.trial import Status

PLAY_WEIGHT = 1.0
LARGE, SMALL = 1.5, 1.2
"""Factors by which a number is turned up or down."""

SMALL_STEP = 0.6
"""Weight of a small step beside a large one, until the large one has failed."""

LEAVE_OUT = 6.0
"""Weight of leaving a part out (a knob at zero or off), if the metric is a time: ablate first."""

ASIDE = 0.5
"""Weight of a knob that has nothing to do with time, if the metric is a time."""

LESS_WORK = ("EPOCH", "STEP", "ITER", "WIDTH", "DEPTH", "LAYER", "BLOCK", "CHANNEL", "IMAGES")
MORE_AT_ONCE = ("BATCH",)
"""Words in a knob's name that say what it costs; a rule of thumb, no knowledge of the recipe."""


@dataclass(frozen=True)
class Move:
    """Something to propose.

    Attributes:
        weight: How promising it looks.
        surface: The part of the recipe that it is about.
        hypothesis: What is written in the proposal.
        expected_delta: Expected change of the metric.
        edits: The edits as the tools take them.
    """

    weight: float
    surface: str
    hypothesis: str
    expected_delta: float
    edits: tuple[Mapping[str, Any], ...]


def ranked_moves(
    recipe: Mapping[str, Any],
    evidence: Evidence,
    *,
    surfaces: Sequence[str],
    costs_time: bool,
    typical_gain: float,
    rng: random.Random,
) -> list[Move]:
    """All moves that were not tried, in a random order that favors the heavier ones.

    Args:
        recipe: The answer of ``read_recipe``.
        evidence: What past trials say.
        surfaces: The surfaces that may be changed.
        costs_time: Whether the metric is a time to be shortened.
        typical_gain: Expected change of the metric for a knob, signed.
        rng: Source of randomness.

    Returns:
        Moves, the one to try first at the front. The order is that of ``u ** (1 / weight)`` with
        uniform ``u``: sampling without replacement (Efraimidis and Spirakis, 2006).
    """
    knobs = [knob for knob in find_knobs(recipe["files"]) if knob.surface in surfaces]
    moves = [
        move
        for knob in knobs
        for move in _knob_moves(knob, evidence, costs_time=costs_time, gain=typical_gain)
    ]
    moves += _play_moves(recipe.get("playbook", []), evidence, surfaces)
    return sorted(moves, key=lambda move: rng.random() ** (1.0 / move.weight), reverse=True)


def _play_moves(
    plays: Iterable[Mapping[str, Any]], evidence: Evidence, surfaces: Sequence[str]
) -> list[Move]:
    return [
        Move(
            PLAY_WEIGHT,
            str(play["surface"]),
            f"[play {play['id']}] {play['title']}. {play['hypothesis']}",
            float(play["expected_delta"]),
            tuple(play["edits"]),
        )
        for play in plays
        if play["surface"] in surfaces and play["id"] not in evidence.plays
    ]


def _knob_moves(knob: Knob, evidence: Evidence, *, costs_time: bool, gain: float) -> list[Move]:
    moves = []
    for value, step in _values(knob):
        if value == knob.value or evidence.tried(knob.name, value):
            continue
        weight = step * evidence.factor(knob.name, knob.value, value)
        weight *= _rule_of_thumb(knob, value) if costs_time else 1.0
        edit = knob.edit(value)
        row = {"path": edit.path, "search": edit.search, "replace": edit.replace}
        moves.append(Move(weight, knob.surface, _why(knob, value, evidence), gain, (row,)))
    return moves


def _values(knob: Knob) -> list[tuple[KnobValue, float]]:
    """Other values of a knob with the weight of the step that leads there."""
    if knob.choices:
        return [(choice, 1.0) for choice in knob.choices]
    if knob.value == 0:
        return [(_rounded(knob, knob.high / 10), 1.0), (_rounded(knob, knob.high / 3), 1.0)]
    now = float(knob.value)
    steps = [
        (value, weight)
        for factor, weight in ((LARGE, 1.0), (SMALL, SMALL_STEP))
        for value in (now * factor, now / factor)
    ]
    if knob.low == 0:
        steps.insert(0, (0.0, 1.0))
    result: dict[KnobValue, float] = {}
    for value, weight in steps:
        result.setdefault(_rounded(knob, value), weight)
    return list(result.items())


def _rounded(knob: Knob, value: float) -> KnobValue:
    value = min(max(value, knob.low), knob.high)
    if isinstance(knob.value, int):
        # A step that rounds away would be no step.
        whole = round(value)
        if whole == knob.value and value != knob.value:
            whole += 1 if value > knob.value else -1
        return int(min(max(whole, knob.low), knob.high))
    return float(f"{value:.3g}")


def _rule_of_thumb(knob: Knob, value: KnobValue) -> float:
    """Leaving things out costs less time, and so does doing less, or more at once."""
    if isinstance(knob.value, bool):
        return LEAVE_OUT if knob.value else ASIDE
    if isinstance(knob.value, str) or isinstance(value, str):
        return ASIDE
    less, name = value < knob.value, knob.name.upper()
    if any(word in name for word in LESS_WORK):
        return 3.0 if less else 0.2
    if any(word in name for word in MORE_AT_ONCE):
        return ASIDE if less else 1.5
    return LEAVE_OUT if value == 0 else ASIDE


def _why(knob: Knob, value: KnobValue, evidence: Evidence) -> str:
    told = f"[knob {knob.name}] set it from {knob.value!r} to {value!r}"
    last = evidence.last(knob.name)
    if last is None:
        return f"{told}: nothing says that it was turned before, so its effect is worth knowing."
    before = f"trial {last.trial} turned it from {last.old!r} to {last.new!r}"
    if last.status == Status.KEPT:
        return f"{told}: {before} and was kept, so this presses on from there."
    return f"{told}: {before} and ended as {last.status}, so this goes elsewhere."
