"""Knobs: constants of a recipe that are open to change, with the values that they may have.

A comment marks a constant where it stands::

    WIDTH = 64  # knob arch: 16 .. 256 log

Files that carry no comments have their knobs in a table beside the recipe, ``knobs.toml``::

    [[knobs]]
    file = "recipe/config.yaml"
    name = "optimizer.lr"
    surface = "opt"
    domain = "0.0001 .. 0.01 log"

The table is one of the recipe's files, so that whoever sees a recipe sees its knobs. A knob is a
leaf on a line of its own: the text of an edit is that line, with as many before it as make it
unique. Where leaves stand is for :mod:`~recipelab.core.leaves` to find.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from recipelab.core.leaves import Leaf, LeafValue, find_leaf, leaf_of, literal, written
from recipelab.core.trial import Edit

KNOBS_FILE = "knobs.toml"
"""Name of the table of knobs, which lies beside the folder of the recipe."""

KnobValue = LeafValue

_KEYS = ("file", "name", "surface", "domain")
_MARK = re.compile(r"[ \t]*knob[ \t]+(\w+):")
_MEANT = re.compile(r"[ \t]*knob\b")
_BLANKS = " \t\r"
_LOG = " log"
_DOMAINS = '"low .. high", with "log" behind it where steps multiply, or choices as "a | b"'


@dataclass(frozen=True)
class Knob:
    """A constant of a recipe, marked as open to change: a number in a range, or a choice.

    Attributes:
        path: File that holds it.
        line: Line number, from 1.
        name: Name of the constant; of a key path its last part.
        surface: Surface it belongs to.
        value: Its value now.
        choices: The valid values, if it is a choice; else empty.
        low: Smallest value of a range.
        high: Largest value of a range.
        log: Whether steps multiply.
        text: The line, and those before it that make it unique, for a search/replace edit.
        leaf: Where the value stands in the last line of the text.
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
    leaf: Leaf

    def edit(self, value: KnobValue) -> Edit:
        """Return the edit that gives this knob another value."""
        before, newline, line = self.text.rpartition("\n")
        changed = line[: self.leaf.start] + written(value, self.leaf) + line[self.leaf.end :]
        return Edit(self.path, self.text, f"{before}{newline}{changed}")


class KnobProblem(NamedTuple):
    """A knob that somebody meant and that is none.

    Attributes:
        place: File and line, or the place in the table.
        why: What is wrong with it.
    """

    place: str
    why: str


def find_knobs(files: Mapping[str, str]) -> tuple[Knob, ...]:
    """Return all knobs of a recipe, in order of path and line.

    A marked line that occurs twice in its file is no knob, as an edit could not name it.
    """
    return tuple(found for found in _all(files) if isinstance(found, Knob))


def knob_problems(files: Mapping[str, str]) -> tuple[KnobProblem, ...]:
    """Return what somebody marked as a knob, in a comment or in the table, and why it is none."""
    return tuple(found for found in _all(files) if isinstance(found, KnobProblem))


def _all(files: Mapping[str, str]) -> Iterator[Knob | KnobProblem]:
    table = table_path(files)
    found: dict[tuple[str, int], Knob] = {}
    if table is not None:
        for number, entry in enumerate(_entries(files[table]), start=1):
            one = entry if isinstance(entry, str) else _of_entry(files, entry)
            if isinstance(one, str):
                place = f"{table}: knobs {number}" if isinstance(entry, dict) else table
                yield KnobProblem(place, one)
            else:
                found[one.path, one.line] = one
    for path in sorted(files):
        lines = files[path].split("\n") if path != table and "knob" in files[path] else []
        for number, line in enumerate(lines, start=1):
            marked = _of_line(path, number, line)
            if isinstance(marked, Knob) and (count := files[path].count(marked.text)) > 1:
                marked = f"the same line is there {count} times, so that no edit could name it"
            if isinstance(marked, str):
                yield KnobProblem(f"{path}:{number}", marked)
            elif marked is not None:
                found.setdefault((path, number), marked)
    yield from (found[key] for key in sorted(found))


def parse_knob(path: str, number: int, line: str) -> Knob | None:
    """Return the knob that a comment on a line marks; ``None`` if it does not mark a valid one."""
    found = _of_line(path, number, line)
    return found if isinstance(found, Knob) else None


def _of_line(path: str, number: int, line: str) -> Knob | str | None:
    """Return the knob on a line, or why what is marked there is none."""
    sign = "//" if path.endswith(C_SUFFIXES) else "#"
    code, found, comment = line.partition(sign)
    if not found or not _MEANT.match(comment):
        return None
    mark = _MARK.match(comment)
    if mark is None:
        return f"a knob is marked as: {sign} knob SURFACE: {_DOMAINS}"
    leaf = leaf_of(path, code)
    if leaf is None:
        return "there is no name with a number, a text or a truth value before the comment"
    text = comment[mark.end() :].strip(_BLANKS)
    # Another comment may follow; in a choice the sign may also be part of a text.
    domains = (text, text.split(f" {sign}")[0].strip(_BLANKS))
    domain = next((d for t in domains if isinstance(d := _domain(t, leaf.value), _Domain)), None)
    if domain is None:
        return str(_domain(domains[1], leaf.value))
    return Knob(path, number, leaf.name, mark[1], leaf.value, *domain, line, leaf)


C_SUFFIXES = (".c", ".h", ".cc", ".cpp", ".hpp", ".cu", ".cuh")
"""Suffixes of files in which ``//`` begins a comment."""


# The table.


def table_path(files: Mapping[str, str]) -> str | None:
    """Return the path of the table: beside the recipe's folder, where no other file lies."""
    for path in files:
        folder, _, name = path.rpartition("/")
        if name == KNOBS_FILE and not any(
            other != path and other.rpartition("/")[0] == folder for other in files
        ):
            return path
    return None


def _entries(text: str) -> list[dict[str, Any] | str]:
    """Return the entries of a table, or what is wrong with it."""
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        return [f"not valid TOML: {error}"]
    unknown = sorted(set(table) - {"knobs"})
    entries = table.get("knobs", [])
    if unknown or not isinstance(entries, list):
        return [f"only tables [[knobs]] are known, each with: {', '.join(_KEYS)}"]
    return [entry if isinstance(entry, dict) else "an entry is no table" for entry in entries]


def _of_entry(files: Mapping[str, str], entry: Mapping[str, Any]) -> Knob | str:
    """Return the knob of an entry, or why it is none."""
    for key in _KEYS:
        if not isinstance(entry.get(key), str):
            return f"{key}: a text is needed; an entry has: {', '.join(_KEYS)}"
    if unknown := sorted(set(entry) - set(_KEYS)):
        return f"{unknown[0]}: unknown key; valid: {', '.join(_KEYS)}"
    path, name = entry["file"], entry["name"]
    if path not in files:
        known = ", ".join(sorted(set(files))[:20])
        return f"file: no text file {path!r} in the recipe; files: {known}"
    found = find_leaf(path, files[path], name)
    if isinstance(found, str):
        return f"name: {path}: {found}"
    number, leaf = found
    domain = _domain(entry["domain"].strip(), leaf.value)
    if isinstance(domain, str):
        return f"domain: {name}: {domain}"
    text = _unique(files[path], number)
    if text is None:
        return f"name: {path}:{number}: no lines before it make the line unique"
    return Knob(path, number, leaf.name, entry["surface"], leaf.value, *domain, text, leaf)


def _unique(text: str, number: int) -> str | None:
    """Return a line with as many lines before it as make it unique in its file."""
    lines = text.split("\n")
    for first in range(number - 1, -1, -1):
        found = "\n".join(lines[first:number])
        if text.count(found) == 1:
            return found
    return None


# Domains.


class _Domain(NamedTuple):
    """The valid values of a knob: the fields of :class:`Knob` of the same names."""

    choices: tuple[KnobValue, ...]
    low: float
    high: float
    log: bool


def _domain(text: str, value: KnobValue) -> _Domain | str:
    """Return the domain that a text names, or why the value has none there."""
    ends = _bounds(text)
    if ends is not None:
        return _range(ends, value)
    choices = [_choice(part.strip(), value) for part in text.split("|")]
    known = tuple(choice for choice in choices if choice is not None)
    if not text or len(known) < len(choices):
        return f"{text!r} is no domain; valid: {_DOMAINS}"
    if value not in known:
        return f"the value {value!r} is none of its choices, {text}"
    return _Domain(known, 0.0, 0.0, False)


def _choice(text: str, value: KnobValue) -> KnobValue | None:
    """Return a choice; other languages have small truth values, and words without quotes."""
    found = literal(text)
    if found is None and isinstance(value, bool):
        found = {"true": True, "false": False}.get(text)
    if found is None and isinstance(value, str) and re.fullmatch(r"[\w./+-]+", text):
        found = text
    return found


def _bounds(text: str) -> tuple[str, str, bool] | None:
    """Return the ends of a range ``LOW .. HIGH``, and whether ``log`` follows."""
    low, dots, high = text.replace("\t", " ").rpartition("..")
    low, high, log = low.rstrip(), high.lstrip(), high.endswith(_LOG)
    high = high.removesuffix(_LOG).rstrip() if log else high
    is_range = dots and low and high and " " not in low and " " not in high
    return (low, high, log) if is_range else None


def _range(ends: tuple[str, str, bool], value: KnobValue) -> _Domain | str:
    numbers = [literal(ends[0]), value, literal(ends[1])]
    if any(isinstance(x, bool) or not isinstance(x, int | float) for x in numbers):
        return f"{ends[0]} .. {ends[1]} is a range of numbers, and the value is {value!r}"
    try:
        low, now, high = (float(x or 0) for x in numbers)
    except OverflowError:
        return "a number is too large"
    if not low <= now <= high:
        return f"the value {value!r} is outside of {ends[0]} .. {ends[1]}"
    return _Domain((), low, high, ends[2])


def changed_surfaces(before: Iterable[Knob], after: Iterable[Knob]) -> frozenset[str]:
    """Return the surfaces of which a knob is new, gone, or has another value."""
    one, other = (
        {(knob.path, knob.name, repr(knob.value), knob.surface) for knob in knobs}
        for knobs in (before, after)
    )
    return frozenset(surface for *_, surface in one ^ other)
