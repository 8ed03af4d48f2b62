"""Holds functions of an editable file fixed, as those that score where a recipe scores itself."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence

from recipelab.pack_upstream import Protected


def changed_names(
    before: Mapping[str, str], after: Mapping[str, str], protected: Sequence[Protected]
) -> tuple[str, ...]:
    """What was changed of what has to stay, as ``path: name``.

    A function is the same if its text is, or if Python reads both alike (comments and layout may
    change). A second definition of its name anywhere in the file, or an assignment to it, counts
    as a change: the last one would be called.

    Args:
        before: The recipe that the pack starts from.
        after: The edited recipe.
        protected: What has to stay.
    """
    return tuple(
        f"{item.path}: {name}"
        for item in protected
        for name in item.names
        if not _same(before.get(item.path, ""), after.get(item.path, ""), name)
    )


def defined_names(text: str, names: Sequence[str]) -> tuple[str, ...]:
    """Those of some names that a file defines exactly once at its top level."""
    return tuple(name for name in names if len(_blocks(text, name)) == 1)


def _same(before: str, after: str, name: str) -> bool:
    old, new = _blocks(before, name), _blocks(after, name)
    if len(old) != 1 or len(new) != 1 or _bound(after, name) > _bound(before, name):
        return False
    return old == new or (_meaning(old[0]) is not None and _meaning(old[0]) == _meaning(new[0]))


def _blocks(text: str, name: str) -> list[str]:
    """The texts of all top-level definitions of a name, with their decorators.

    Found by lines and not by parsing: a recipe may be written for a later Python than this one.
    """
    lines = text.splitlines(keepends=True)
    head = re.compile(rf"(async\s+def|def|class)\s+{re.escape(name)}\b")
    found = []
    for number, line in enumerate(lines):
        if not head.match(line):
            continue
        first, last = number, number + 1
        while first > 0 and lines[first - 1].startswith("@"):
            first -= 1
        while last < len(lines) and (lines[last][:1] in " \t#\r\n" or not lines[last].strip()):
            last += 1
        found.append("".join(lines[first:last]).rstrip())
    return found


def _bound(text: str, name: str) -> int:
    """How often a name is bound in other ways, or may be reached by a string that names it."""
    word = re.escape(name)
    ways = (
        rf"\b{word}\s*(:[^=\n]*)?=(?!=)",
        rf"\b(def|class|global|nonlocal|import|as|for)\s+{word}\b",
        rf"[\"']{word}[\"']",
    )
    return sum(len(re.findall(way, text)) for way in ways)


def _meaning(block: str) -> str | None:
    try:
        return ast.dump(ast.parse(block))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
