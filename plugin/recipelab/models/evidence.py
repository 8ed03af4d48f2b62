"""What the rule-based client learns from the rows of ``lineage_query``."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from recipelab.knobs import KnobValue
from recipelab.trial import Status

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
class Evidence:
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


def read_evidence(rows: Iterable[Mapping[str, Any]], *, minimize: bool = True) -> Evidence:
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
    return Evidence(tuple(turned), frozenset(plays), minimize)


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
