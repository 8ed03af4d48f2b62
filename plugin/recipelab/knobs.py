"""Knobs: the numbers and choices that a recipe marks as open to change.

A knob is a module-level assignment of a literal on one line with a trailing comment::

    LEARNING_RATE = 0.05  # knob opt: 0.01 .. 0.5 log
    EPOCHS = 3            # knob opt: 1 .. 8
    OPTIMIZER = "sgd"     # knob opt: "sgd" | "adamw"

A range of a literal integer holds integers; ``log`` means that steps multiply. Knobs are a help to
proposers: nothing checks that an edit stays inside one.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from recipelab.trial import Edit

KnobValue: TypeAlias = int | float | bool | str

_LINE = re.compile(
    r"^(?P<name>[A-Za-z_]\w*)[ \t]*=[ \t]*(?P<value>[^#\n]*?)[ \t]*"
    r"#[ \t]*knob[ \t]+(?P<surface>\w+):[ \t]*(?P<domain>[^\n]+?)[ \t]*$"
)
_RANGE = re.compile(r"^(?P<low>\S+)[ \t]*\.\.[ \t]*(?P<high>\S+?)(?P<log>[ \t]+log)?$")


@dataclass(frozen=True)
class Knob:
    """One open number or choice.

    Attributes:
        path: File that holds it.
        line: Line number, from 1.
        name: Name of the constant.
        surface: Surface it belongs to.
        value: Its value now.
        choices: The valid values, if it is a choice; else empty.
        low: Smallest value of a range.
        high: Largest value of a range.
        log: Whether steps multiply.
        text: The whole line, for a search/replace edit.
    """

    path: str
    line: int
    name: str
    surface: str
    value: KnobValue
    choices: tuple[KnobValue, ...]
    low: float
    high: float
    log: bool
    text: str

    def edit(self, value: KnobValue) -> Edit:
        """The edit that gives this knob another value."""
        head, _, tail = self.text.partition("=")
        body = tail[len(tail) - len(tail.lstrip()) :]
        old = body.split("#", 1)[0].rstrip()
        return Edit(self.path, self.text, f"{head}= {value!r}{body[len(old) :]}")


def find_knobs(files: Mapping[str, str]) -> tuple[Knob, ...]:
    """All knobs of a recipe, in order of path and line; lines that do not parse are no knobs."""
    found = [
        knob
        for path in sorted(files)
        for number, line in enumerate(files[path].split("\n"), start=1)
        if (knob := parse_knob(path, number, line)) is not None
    ]
    return tuple(knob for knob in found if files[knob.path].count(knob.text) == 1)


def parse_knob(path: str, number: int, line: str) -> Knob | None:
    """Reads one line as a knob, or ``None`` if it is not a valid one."""
    match = _LINE.match(line)
    value = _literal(match["value"]) if match else None
    if match is None or value is None:
        return None
    domain = _domain(match["domain"], value)
    if domain is None:
        return None
    choices, low, high, log = domain
    return Knob(path, number, match["name"], match["surface"], value, choices, low, high, log, line)


def _domain(text: str, value: KnobValue) -> tuple[tuple[KnobValue, ...], float, float, bool] | None:
    span = _RANGE.match(text)
    if span is None:
        choices = tuple(_literal(part.strip()) for part in text.split("|"))
        known = tuple(choice for choice in choices if choice is not None)
        return (known, 0.0, 0.0, False) if len(known) == len(choices) and value in known else None
    low, high = _literal(span["low"]), _literal(span["high"])
    numbers = all(
        isinstance(x, int | float) and not isinstance(x, bool) for x in (low, high, value)
    )
    if not numbers or not float(low or 0) <= float(value) <= float(high or 0):
        return None
    return (), float(low or 0), float(high or 0), span["log"] is not None


def _literal(text: str) -> KnobValue | None:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, int | float | bool | str) else None
