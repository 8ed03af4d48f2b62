"""Knobs: constants of a recipe that are open to change, with the values that they may have."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from recipelab.core.trial import Edit

MAX_KNOB_BITS = 1024
"""A larger whole number is no knob: it is data, and Python refuses to write it out."""

KnobValue: TypeAlias = int | float | bool | str

# A line is taken apart at its first "#" and "=": one expression for all of it would try the blanks
# of a hostile line in every way there is.
_KNOB_NAME = re.compile(r"([A-Za-z_]\w*)[ \t]*")
_KNOB_MARK = re.compile(r"[ \t]*knob[ \t]+(\w+):")
_BLANKS = " \t"
_LOG = " log"


@dataclass(frozen=True)
class Knob:
    """A constant of a recipe, marked as open to change: a number in a range, or a choice.

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
        """Return the edit that gives this knob another value."""
        head, _, tail = self.text.partition("=")
        body = tail[len(tail) - len(tail.lstrip()) :]
        old = body.split("#", 1)[0].rstrip()
        return Edit(self.path, self.text, f"{head}= {value!r}{body[len(old) :]}")


def find_knobs(files: Mapping[str, str]) -> tuple[Knob, ...]:
    """Return all knobs of a recipe, in order of path and line.

    A line that occurs twice in its file is no knob, as an edit could not name it.
    """
    found = [
        knob
        for path in sorted(files)
        for number, line in enumerate(files[path].split("\n"), start=1)
        if (knob := parse_knob(path, number, line)) is not None
    ]
    return tuple(knob for knob in found if files[knob.path].count(knob.text) == 1)


def parse_knob(path: str, number: int, line: str) -> Knob | None:
    """Return the knob on a line; ``None`` if the line does not mark a valid one."""
    code, _, comment = line.partition("#")
    mark = _KNOB_MARK.match(comment)
    left, _, right = code.partition("=")
    name = _KNOB_NAME.fullmatch(left) if mark else None
    value = _literal(right.strip(_BLANKS)) if name else None
    if mark is None or name is None or value is None:
        return None
    text = comment[mark.end() :].strip(_BLANKS)
    domain = _choices(text, value) or _range(text, value)
    return Knob(path, number, name[1], mark[1], value, *domain, line) if domain else None


class _Domain(NamedTuple):
    """The valid values of a knob: the fields of :class:`Knob` of the same names."""

    choices: tuple[KnobValue, ...]
    low: float
    high: float
    log: bool


def _choices(text: str, value: KnobValue) -> _Domain | None:
    if _bounds(text):
        return None
    choices = [_literal(part.strip()) for part in text.split("|")]
    known = tuple(choice for choice in choices if choice is not None)
    if len(known) < len(choices) or value not in known:
        return None
    return _Domain(known, 0.0, 0.0, False)


def _bounds(text: str) -> tuple[str, str, bool] | None:
    """Return the ends of a range ``LOW .. HIGH``, and whether ``log`` follows."""
    low, dots, high = text.replace("\t", " ").rpartition("..")
    low, high, log = low.rstrip(), high.lstrip(), high.endswith(_LOG)
    high = high.removesuffix(_LOG).rstrip() if log else high
    is_range = dots and low and high and " " not in low and " " not in high
    return (low, high, log) if is_range else None


def _range(text: str, value: KnobValue) -> _Domain | None:
    ends = _bounds(text)
    if ends is None:
        return None
    numbers = [_literal(ends[0]), value, _literal(ends[1])]
    if any(isinstance(x, bool) or not isinstance(x, int | float) for x in numbers):
        return None
    try:
        low, now, high = (float(x or 0) for x in numbers)
    except OverflowError:
        return None
    return _Domain((), low, high, ends[2]) if low <= now <= high else None


def _literal(text: str) -> KnobValue | None:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    if isinstance(value, int) and value.bit_length() > MAX_KNOB_BITS:
        return None
    return value if isinstance(value, int | float | bool | str) else None
