"""Merges two changes of the same text, line by line."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import SequenceMatcher
from itertools import pairwise

Change = tuple[int, int, tuple[str, ...]]
"""Lines of the base, from and up to, and what takes their place."""

Files = Mapping[str, str]


def merged_files(base: Files, ours: Files, theirs: Files) -> dict[str, str] | str:
    """Applies what leads from a base to other files to a third version of them.

    Args:
        base: The files that both changed.
        ours: The files that the change is applied to.
        theirs: The files with the change.

    Returns:
        The merged files, or the path of a file in which both changed the same lines.
    """
    found: dict[str, str] = {}
    for path in sorted({*base, *ours, *theirs}):
        texts = base.get(path), ours.get(path), theirs.get(path)
        try:
            text = _merged(*texts)
        except _ConflictError:
            return path
        if text is not None:
            found[path] = text
    return found


class _ConflictError(Exception):
    """Both changed the same lines."""


def _merged(base: str | None, ours: str | None, theirs: str | None) -> str | None:
    if base == theirs or ours == theirs:
        return ours
    if base == ours:
        return theirs
    if base is None or ours is None or theirs is None:
        raise _ConflictError
    lines = base.splitlines(keepends=True)
    changes = sorted({*_changes(lines, ours), *_changes(lines, theirs)})
    for one, other in pairwise(changes):
        if _touch(one, other):
            raise _ConflictError
    for start, end, new in reversed(changes):
        lines[start:end] = new
    return "".join(lines)


def _changes(base: list[str], text: str) -> list[Change]:
    lines = text.splitlines(keepends=True)
    codes = SequenceMatcher(None, base, lines, autojunk=False).get_opcodes()
    return [(i, j, tuple(lines[k:m])) for tag, i, j, k, m in codes if tag != "equal"]


def _touch(one: Change, other: Change) -> bool:
    """Whether two changes overlap; lines put in at the edge of a change could go either side."""
    inserts = one[0] == one[1] or other[0] == other[1]
    return other[0] < one[1] or (inserts and other[0] == one[1])
