"""The moves of the offline client: what past trials say, and which changes look promising.

A move turns one knob or makes one play of the playbook. Its weight is that of its kind, times a
factor for every past trial that turned the same knob: a kept one speaks for going on in its
direction, a failed one for going back or for a smaller step. Moves are sampled by weight.
"""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recipelab.core.knobs import Knob, KnobValue, find_knobs
from recipelab.core.trial import Status

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
"""The share that is left of a factor below one, for a step at least as far as the failed one."""

TURN_BACK = 1.3
"""How a failure in one direction changes the weight of the other."""

DOWNHILL = 2.0
"""How a measured loss in one direction changes the weight of the other."""

UNDO = 0.3
"""How a kept trial changes the weight of taking its step back."""

INERT = 0.4
"""How a trial that measured no difference changes the weight of its knob, in either direction."""

REPAIR, OVERSHOOT = 2.5, 0.1
"""After a step that gained but missed a gate: factors of a smaller step, and of a larger one."""

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

_CHANGE = re.compile(r"^(?P<name>[\w-]+): (?P<old>.+) -> (?P<new>.+)$")
_PLAY = re.compile(r"^\[play ([a-z0-9-]+)\]")
_FAILED = frozenset(FACTORS) - {Status.KEPT, Status.DISCARDED}


@dataclass(frozen=True)
class KnobTurn:
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
        """Whether it made no difference beyond the noise."""
        known = self.status == Status.DISCARDED and self.delta_se > 0
        return known and abs(self.delta) <= 2.0 * self.delta_se

    def reaches(self, new: KnobValue) -> bool:
        """Return whether a step to ``new`` goes at least as far as this one."""
        if not all(isinstance(x, int | float) for x in (self.old, self.new, new)):
            return new == self.new
        return abs(float(new) - float(self.old)) >= abs(float(self.new) - float(self.old))

    def overshot(self, *, minimize: bool) -> bool:
        """Return whether it improved the score but missed a gate."""
        missed = self.status in (Status.GATE_MISSED, Status.OVERSIZE)
        return missed and (self.delta < 0) == minimize and self.delta != 0


@dataclass(frozen=True)
class SearchHistory:
    """The knobs and plays that past trials on some surfaces tried.

    Attributes:
        turns: The knobs that were turned, newest first.
        plays: Ids of the plays that were tried.
        minimize: Whether a smaller score is better.
    """

    turns: tuple[KnobTurn, ...]
    plays: frozenset[str]
    minimize: bool = True

    def tried(self, name: str, value: KnobValue) -> bool:
        """Return whether a knob had this value before, set by a trial or left by a kept one."""
        return any(
            turn.name == name
            and (turn.new == value or (turn.old == value and turn.status == Status.KEPT))
            for turn in self.turns
        )

    def last_turn(self, name: str) -> KnobTurn | None:
        """Return the newest turn of this knob."""
        return next((turn for turn in self.turns if turn.name == name), None)

    def factor(self, name: str, old: KnobValue, new: KnobValue) -> float:
        """Return the factor of past trials for turning this knob from ``old`` to ``new``."""
        product = 1.0
        for turn in self.turns:
            if turn.name != name:
                continue
            if turn.inert:
                product *= INERT
            elif _direction(turn.old, turn.new) == _direction(old, new):
                product *= self._same_direction(turn, new)
            else:
                product *= self._other_direction(turn)
        return product

    def _same_direction(self, turn: KnobTurn, new: KnobValue) -> float:
        numbers = not any(isinstance(x, str) for x in (turn.old, turn.new, new))
        if turn.overshot(minimize=self.minimize) and numbers:
            between = min(turn.old, turn.new) < new < max(turn.old, turn.new)  # type: ignore[operator]
            return REPAIR if between else OVERSHOOT
        factor = FACTORS.get(turn.status, 1.0)
        # A step that failed fails further on, too, and a slope seldom turns.
        return factor * BEYOND if factor < 1.0 and turn.reaches(new) else factor

    def _other_direction(self, turn: KnobTurn) -> float:
        if turn.status == Status.KEPT:
            return UNDO
        if turn.status == Status.DISCARDED and turn.delta_se > 0:
            return DOWNHILL
        return TURN_BACK if turn.status in _FAILED else 1.0


def _direction(old: KnobValue, new: KnobValue) -> str:
    """Return up or down for numbers; the new value itself for choices."""
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in (old, new))
    if not numbers:
        return repr(new)
    return "up" if float(new) > float(old) else "down"


def read_history(rows: Iterable[Mapping[str, Any]], *, minimize: bool = True) -> SearchHistory:
    """Read rows of trials, newest first, as ``lineage_query`` answers them."""
    turns: list[KnobTurn] = []
    plays: set[str] = set()
    for row in rows:
        if row.get("status") == Status.ABORTED:
            continue
        play = _PLAY.match(str(row.get("hypothesis", "")))
        if play:
            plays.add(play[1])
            continue
        changes = (_knob_turn(row, str(change)) for change in row.get("changes", []))
        turns += [turn for turn in changes if turn is not None]
    return SearchHistory(tuple(turns), frozenset(plays), minimize)


def _knob_turn(row: Mapping[str, Any], change: str) -> KnobTurn | None:
    match = _CHANGE.match(change)
    if match is None:
        return None
    try:
        old, new = ast.literal_eval(match["old"]), ast.literal_eval(match["new"])
    except (ValueError, SyntaxError):
        return None
    delta, error = (float(row.get(name) or 0.0) for name in ("delta", "delta_se"))
    return KnobTurn(
        int(row["trial"]), match["name"], old, new, str(row.get("status")), delta, error
    )


@dataclass(frozen=True)
class Move:
    """A change to propose.

    Attributes:
        weight: How promising it looks.
        surface: The part of the recipe that it changes.
        hypothesis: The hypothesis of the proposal.
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
    history: SearchHistory,
    *,
    surfaces: Sequence[str],
    costs_time: bool,
    typical_gain: float,
    rng: random.Random,
) -> list[Move]:
    """Return all moves that were not tried, in a random order that favors the heavier ones.

    Args:
        recipe: The answer of ``read_recipe``.
        history: The knobs and plays that past trials tried.
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
        for move in _knob_moves(knob, history, costs_time=costs_time, gain=typical_gain)
    ]
    moves += [
        Move(
            PLAY_WEIGHT,
            str(play["surface"]),
            f"[play {play['id']}] {play['title']}. {play['hypothesis']}",
            float(play["expected_delta"]),
            tuple(play["edits"]),
        )
        for play in recipe.get("playbook", [])
        if play["surface"] in surfaces and play["id"] not in history.plays
    ]
    return sorted(moves, key=lambda move: rng.random() ** (1.0 / move.weight), reverse=True)


def _knob_moves(knob: Knob, history: SearchHistory, *, costs_time: bool, gain: float) -> list[Move]:
    moves = []
    for value, step in _steps(knob):
        if value == knob.value or history.tried(knob.name, value):
            continue
        weight = step * history.factor(knob.name, knob.value, value)
        weight *= _time_factor(knob, value) if costs_time else 1.0
        edit = knob.edit(value)
        row = {"path": edit.path, "search": edit.search, "replace": edit.replace}
        moves.append(Move(weight, knob.surface, _hypothesis(knob, value, history), gain, (row,)))
    return moves


def _steps(knob: Knob) -> list[tuple[KnobValue, float]]:
    """Return other values of a knob, each with the weight of the step that leads there."""
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
    weights: dict[KnobValue, float] = {}
    for value, weight in steps:
        weights.setdefault(_rounded(knob, value), weight)
    return list(weights.items())


def _rounded(knob: Knob, value: float) -> KnobValue:
    value = min(max(value, knob.low), knob.high)
    if isinstance(knob.value, int):
        # A step that rounds away would not be a step.
        whole = round(value)
        if whole == knob.value and value != knob.value:
            whole += 1 if value > knob.value else -1
        return int(min(max(whole, knob.low), knob.high))
    return float(f"{value:.3g}")


def _time_factor(knob: Knob, value: KnobValue) -> float:
    """Return a factor by the rule of thumb that less work, or more at once, saves time."""
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


def _hypothesis(knob: Knob, value: KnobValue, history: SearchHistory) -> str:
    change = f"[knob {knob.name}] set it from {knob.value!r} to {value!r}"
    last = history.last_turn(knob.name)
    if last is None:
        return f"{change}: nothing says that it was turned before, so its effect is worth knowing."
    before = f"trial {last.trial} turned it from {last.old!r} to {last.new!r}"
    if last.status == Status.KEPT:
        return f"{change}: {before} and was kept, so this presses on from there."
    if last.status not in tuple(Status):
        return f"{change}: {before} and has no outcome yet, so this goes elsewhere."
    return f"{change}: {before} and ended as {last.status}, so this goes elsewhere."
