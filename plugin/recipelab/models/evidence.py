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

TURN_BACK = 1.3
"""How a failure in one direction changes the weight of the other."""

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
    """

    trial: int
    name: str
    old: KnobValue
    new: KnobValue
    status: str
    delta: float = 0.0

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
        """Whether a knob was set to this value before."""
        return any(item.name == name and item.new == value for item in self.turned)

    def factor(self, name: str, old: KnobValue, new: KnobValue) -> float:
        """How much past trials speak for turning this knob in this direction."""
        total = 1.0
        for item in self.turned:
            if item.name != name:
                continue
            if _direction(item.old, item.new) == _direction(old, new):
                total *= self._same_way(item, new)
            elif item.status in _FAILED:
                total *= TURN_BACK
        return total

    def _same_way(self, item: Turned, new: KnobValue) -> float:
        """How much a trial speaks for going its way again, up to a new value."""
        if not item.overshot(minimize=self.minimize) or isinstance(new, str):
            return FACTORS.get(item.status, 1.0)
        if isinstance(item.new, str) or isinstance(item.old, str):
            return FACTORS.get(item.status, 1.0)
        between = min(item.old, item.new) < new < max(item.old, item.new)
        return REPAIR if between else OVERSHOOT

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
    delta = float(row.get("delta") or 0.0)
    return Turned(int(row["trial"]), match["name"], old, new, status, delta)


def _direction(old: KnobValue, new: KnobValue) -> str:
    """Up or down for numbers; the new value itself for choices."""
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in (old, new))
    if not numbers:
        return repr(new)
    return "up" if float(new) > float(old) else "down"
