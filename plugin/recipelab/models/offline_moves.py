"""What the rule-based client learns from the rows of ``lineage_query``."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recipelab.core.recipe import Knob, KnobValue, find_knobs
from recipelab.core.trial import Status

_CHANGE = re.compile(r"^(?P<name>\w+): (?P<old>.+) -> (?P<new>.+)$")
_PLAY = re.compile(r"^\[play ([a-z0-9-]+)\]")

FACTORS: Mapping[str, float] = {
    Status.KEPT: 3.0,
    Status.DISCARDED: 0.5,
    Status.GATE_MISSED: 0.35,
    Status.OVERSIZE: 0.3,
    Status.CRASHED: 0.2,
    Status.TRAIN_OVERRUN: 0.1,
    Status.EVAL_OVERRUN: 0.1,
    Status.ILLEGAL: 0.05,
}
"""How an outcome changes the weight of going on in the same direction."""

BEYOND = 0.1
"""What is left of such a factor for a step at least as far as the one that did no good."""

TURN_BACK = 1.3
"""How a failure in one direction changes the weight of the other."""

DOWNHILL = 2.0
"""How a measured loss in one direction changes the weight of the other."""

UNDO = 0.3
"""How a kept trial changes the weight of taking its step back."""

INERT = 0.4
"""How a trial that measured no difference changes the weight of its knob, either way."""

REPAIR, OVERSHOOT = 2.5, 0.1
"""After a step that gained but missed a gate: a smaller one is the way, a larger one is not."""

_FAILED = frozenset(FACTORS) - {Status.KEPT, Status.DISCARDED}


@dataclass(frozen=True)
class Turned:
    """One knob that a past trial turned.

    Attributes:
        trial: Number of the trial.
        name: The knob.
        old: Its value before.
        new: Its value after.
        status: How the trial ended.
        delta: Change of the score against the best of its time; zero without a score.
        delta_se: Standard error of that change; zero where it is unknown.
    """

    trial: int
    name: str
    old: KnobValue
    new: KnobValue
    status: str
    delta: float = 0.0
    delta_se: float = 0.0

    @property
    def inert(self) -> bool:
        """Whether it made no difference that stands out of the noise."""
        known = self.status == Status.DISCARDED and self.delta_se > 0
        return known and abs(self.delta) <= 2.0 * self.delta_se

    def beyond(self, new: KnobValue) -> bool:
        """Whether a value lies at least as far from the old one as what was tried."""
        if not all(isinstance(x, int | float) for x in (self.old, self.new, new)):
            return new == self.new
        return abs(float(new) - float(self.old)) >= abs(float(self.new) - float(self.old))

    def overshot(self, *, minimize: bool) -> bool:
        """Whether it gained, but at the price of a gate."""
        missed = self.status in (Status.GATE_MISSED, Status.OVERSIZE)
        return missed and (self.delta < 0) == minimize and self.delta != 0


@dataclass(frozen=True)
class PromptFacts:
    """What past trials on some surfaces say.

    Attributes:
        turned: The knobs that were turned, newest first.
        plays: Ids of the plays that were tried.
        minimize: Whether a smaller score is better.
    """

    turned: tuple[Turned, ...]
    plays: frozenset[str]
    minimize: bool = True

    def tried(self, name: str, value: KnobValue) -> bool:
        """Whether a knob was set to this value before, or left it for a better one."""
        return any(
            item.name == name
            and (item.new == value or (item.old == value and item.status == Status.KEPT))
            for item in self.turned
        )

    def factor(self, name: str, old: KnobValue, new: KnobValue) -> float:
        """How much past trials speak for turning this knob in this direction."""
        total = 1.0
        for item in self.turned:
            if item.name != name:
                continue
            if item.inert:
                total *= INERT
            elif _direction(item.old, item.new) == _direction(old, new):
                total *= self._same_way(item, new)
            else:
                total *= self._other_way(item)
        return total

    def _same_way(self, item: Turned, new: KnobValue) -> float:
        """How much a trial speaks for going its way again, up to a new value."""
        numbers = not any(isinstance(x, str) for x in (item.old, item.new, new))
        if item.overshot(minimize=self.minimize) and numbers:
            between = min(item.old, item.new) < new < max(item.old, item.new)  # type: ignore[operator]
            return REPAIR if between else OVERSHOOT
        factor = FACTORS.get(item.status, 1.0)
        # A cliff that was met does not go away further on, and a slope seldom turns.
        return factor * BEYOND if factor < 1.0 and item.beyond(new) else factor

    def _other_way(self, item: Turned) -> float:
        """How much a trial speaks for going the other way."""
        if item.status == Status.KEPT:
            return UNDO
        if item.status == Status.DISCARDED and item.delta_se > 0:
            return DOWNHILL
        return TURN_BACK if item.status in _FAILED else 1.0

    def last(self, name: str) -> Turned | None:
        """The newest trial that turned this knob."""
        return next((item for item in self.turned if item.name == name), None)


def read_evidence(rows: Iterable[Mapping[str, Any]], *, minimize: bool = True) -> PromptFacts:
    """Reads rows, newest first, as ``lineage_query`` answers them."""
    turned: list[Turned] = []
    plays: set[str] = set()
    for row in rows:
        status = str(row.get("status"))
        if status == Status.ABORTED:
            continue
        played = _PLAY.match(str(row.get("hypothesis", "")))
        if played:
            plays.add(played[1])
        for change in row.get("changes", []):
            item = _turned(row, str(change), status)
            if item is not None and not played:
                turned.append(item)
    return PromptFacts(tuple(turned), frozenset(plays), minimize)


def _turned(row: Mapping[str, Any], change: str, status: str) -> Turned | None:
    match = _CHANGE.match(change)
    if match is None:
        return None
    try:
        old, new = ast.literal_eval(match["old"]), ast.literal_eval(match["new"])
    except (ValueError, SyntaxError):
        return None
    delta, error = (float(row.get(name) or 0.0) for name in ("delta", "delta_se"))
    return Turned(int(row["trial"]), match["name"], old, new, status, delta, error)


def _direction(old: KnobValue, new: KnobValue) -> str:
    """Up or down for numbers; the new value itself for choices."""
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in (old, new))
    if not numbers:
        return repr(new)
    return "up" if float(new) > float(old) else "down"


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
    evidence: PromptFacts,
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
    plays: Iterable[Mapping[str, Any]], evidence: PromptFacts, surfaces: Sequence[str]
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


def _knob_moves(knob: Knob, evidence: PromptFacts, *, costs_time: bool, gain: float) -> list[Move]:
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


def _why(knob: Knob, value: KnobValue, evidence: PromptFacts) -> str:
    told = f"[knob {knob.name}] set it from {knob.value!r} to {value!r}"
    last = evidence.last(knob.name)
    if last is None:
        return f"{told}: nothing says that it was turned before, so its effect is worth knowing."
    before = f"trial {last.trial} turned it from {last.old!r} to {last.new!r}"
    if last.status == Status.KEPT:
        return f"{told}: {before} and was kept, so this presses on from there."
    return f"{told}: {before} and ended as {last.status}, so this goes elsewhere."
