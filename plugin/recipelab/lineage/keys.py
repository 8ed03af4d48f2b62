"""Keys of edits: two trials with a common key tried the same, however it was written.

They are taken from the diff, which is computed, not from the edits, which may be whole files:

- the form of an edit: its changed lines without comments and spacing;
- a knob's new value: a changed line that gives a name a plain value.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from recipelab.core.errors import EditError
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Edit

MAX_KNOBS = 8

_TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<comment>\#.*)|(?P<token>\w+(?:\.\w+)*|\S)"""
)
_ASSIGNED = re.compile(r"([A-Za-z_][\w.]*)\x1f(?::\x1f[^=]*)?=\x1f(.+)")


@dataclass(frozen=True)
class EditKeys:
    """What an edit changes, without how it is written.

    Attributes:
        form: Its changed lines; empty if it changes comments and spacing alone.
        knobs: ``path:name=value`` for each name that gets a plain value.
        knobs_only: Whether it changes nothing else.
    """

    form: str
    knobs: tuple[str, ...]
    knobs_only: bool


def keys_of(diff: str) -> EditKeys:
    """The keys of a unified diff, as :meth:`Recipe.diff` makes it."""
    form: list[str] = []
    knobs: list[str] = []
    plain = True
    for path, removed, added in _changes(diff):
        gone, new = _without(removed, added), _without(added, removed)
        if gone or new:
            form.append("\n".join([path, *("-" + line for line in gone), *("+" + n for n in new)]))
        found = [_knob(path, line) for line in new]
        knobs += [knob for knob in found if knob]
        plain = plain and all(found) and len(gone) == len(new)
    few = tuple(dict.fromkeys(knobs))[:MAX_KNOBS]
    return EditKeys("\n".join(form), few, plain and bool(few) and len(few) == len(knobs))


def diff_of(edits: Iterable[Edit], files: Mapping[str, str]) -> tuple[str, str]:
    """The diff and the digest that edits of a recipe make.

    Returns:
        An empty digest if the edits do not apply to it; the diff is then from the blocks alone.
    """
    edits = tuple(edits)
    recipe = Recipe(files)
    try:
        edited = recipe.apply(edits, {edit.path for edit in edits})
    except EditError:
        return "".join(_block(edit) for edit in edits), ""
    return recipe.diff(edited), edited.digest


def hashed(campaign_id: int, kind: str, value: str) -> int:
    """The number under which a key is stored, unlike that of any other campaign or kind."""
    text = f"{campaign_id}\0{kind}\0{value}".encode("utf-8", "replace")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big", signed=True)


def stored_keys(campaign_id: int, digest: str, diff: str, meaning: str = "") -> set[int]:
    """The numbers under which a trial is to be found."""
    keys = keys_of(diff)
    named = [("knob", knob) for knob in keys.knobs]
    whole = (("form", keys.form), ("digest", digest), ("meaning", meaning))
    named += [(kind, value) for kind, value in whole if value]
    return {hashed(campaign_id, kind, value) for kind, value in named}


def _block(edit: Edit) -> str:
    return Recipe({edit.path: edit.search or ""}).diff(Recipe({edit.path: edit.replace}))


def _changes(diff: str) -> Iterator[tuple[str, list[str], list[str]]]:
    for part in re.split(r"(?m)^diff --git ", "\n" + diff):
        head, _, body = part.partition("\n@@")
        names = re.findall(r"(?m)^(?:---|\+\+\+) [ab]/(.+)$", head)
        removed, added = _sides(body if names else part)
        if removed or added:
            yield (names[-1] if names else ""), removed, added


def _sides(body: str) -> tuple[list[str], list[str]]:
    removed: list[str] = []
    added: list[str] = []
    for line in body.split("\n"):
        if line[:1] in "+-" and (plain := _plain(line[1:])):
            (added if line[0] == "+" else removed).append(plain)
    return removed, added


def _plain(line: str) -> str:
    """The tokens of a line; spacing and comments are none."""
    tokens = [match[0] for match in _TOKEN.finditer(line) if match.lastgroup != "comment"]
    return "\x1f".join(tokens)


def _without(lines: list[str], others: list[str]) -> list[str]:
    """The lines that are not only moved or spaced anew."""
    left = Counter(others)
    kept: list[str] = []
    for line in lines:
        left[line] -= 1
        if left[line] < 0:
            kept.append(line)
    return kept


def _knob(path: str, line: str) -> str | None:
    match = _ASSIGNED.fullmatch(line.removesuffix("\x1f,"))
    if match is None:
        return None
    try:
        value = ast.literal_eval(match[2].replace("\x1f", ""))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return f"{path}:{match[1]}={_value(value)}"


def _value(value: object) -> str:
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15
    return repr(int(value)) if whole else repr(value)  # type: ignore[call-overload]
