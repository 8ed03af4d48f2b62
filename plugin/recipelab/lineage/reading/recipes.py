"""Reads the files of recipes."""

from __future__ import annotations

import json
from collections.abc import Iterable

from sqlalchemy import Connection, bindparam, select
from sqlmodel import col

from recipelab.lineage.pieces import unpacked
from recipelab.lineage.tables import RecipeFileRow, TrialTextRow

_ROWS = select(col(RecipeFileRow.id), col(RecipeFileRow.base_id), col(RecipeFileRow.data)).where(
    col(RecipeFileRow.id).in_(bindparam("ids", expanding=True))
)
_FILES = select(col(TrialTextRow.files)).where(col(TrialTextRow.trial_id) == bindparam("id"))


def recipe_files(connection: Connection, trial_id: int) -> dict[str, str]:
    """The files of a trial's recipe by path: path to text."""
    ids: dict[str, int] = json.loads(connection.scalar(_FILES, {"id": trial_id}) or "{}")
    contents = file_contents(connection, ids.values())
    return {path: contents[ids[path]].decode() for path in sorted(ids)}


def file_contents(connection: Connection, ids: Iterable[int]) -> dict[int, bytes]:
    """The contents of recipe files by id."""
    rows: dict[int, tuple[int | None, bytes]] = {}
    missing = set(ids)
    while missing:
        found = connection.execute(_ROWS, {"ids": sorted(missing)})
        rows |= {key: (base_id, data) for key, base_id, data in found}
        bases = {base_id for base_id, _ in rows.values() if base_id is not None}
        missing = bases - rows.keys()
    contents: dict[int, bytes] = {}
    for key in rows:
        _unpack(key, rows, contents)
    return contents


def _unpack(
    key: int, rows: dict[int, tuple[int | None, bytes]], contents: dict[int, bytes]
) -> bytes:
    if key not in contents:
        base_id, data = rows[key]
        base = b"" if base_id is None else _unpack(base_id, rows, contents)
        contents[key] = unpacked(data, base)
    return contents[key]
