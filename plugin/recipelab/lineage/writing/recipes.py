"""Writes the files of recipes, each content once, and near-equal ones as what they differ in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from sqlalchemy import Connection, bindparam, select, text
from sqlmodel import col

from recipelab.lineage.pieces import packed
from recipelab.lineage.reading.recipes import file_contents
from recipelab.lineage.tables import RecipeFileRow
from recipelab.lineage.text import clean

MAX_DEPTH = 4
"""Bases that must be read to read a content, at most."""
WORTH = 4
"""A content refers to a base only if that makes it this many times smaller than it is plain."""

_KNOWN = select(col(RecipeFileRow.sha256), col(RecipeFileRow.id)).where(
    col(RecipeFileRow.sha256).in_(bindparam("sha256s", expanding=True))
)
_BASE = select(col(RecipeFileRow.depth), col(RecipeFileRow.base_id)).where(
    col(RecipeFileRow.id) == bindparam("id")
)
# Writers of another campaign may store the same content at the same moment.
_NEW = text(
    "INSERT INTO recipe_file (sha256, base_id, depth, data) VALUES (:sha256, :base_id, :depth, "
    ":data) ON CONFLICT (sha256) DO NOTHING"
)


def save_files(connection: Connection, files: Mapping[str, str], parent_files: str | None) -> str:
    """Stores a recipe's files.

    Args:
        connection: Where to.
        files: Path to text.
        parent_files: What this function gave for the parent: near-equal files, most likely.

    Returns:
        JSON of path to id.
    """
    if not files:
        return "{}"
    contents = {clean(path): clean(text).encode() for path, text in files.items()}
    shas = {path: hashlib.sha256(data).hexdigest() for path, data in contents.items()}
    before: dict[str, int] = json.loads(parent_files or "{}")
    found = connection.execute(_KNOWN, {"sha256s": sorted(set(shas.values()))})
    ids: dict[str, int] = {sha: key for sha, key in found}
    # In the order of the hashes, so that two writers cannot wait for each other.
    for path in sorted(shas, key=lambda path: shas[path]):
        if shas[path] not in ids:
            ids[shas[path]] = _save(connection, shas[path], contents[path], before.get(path))
    return json.dumps({path: ids[sha] for path, sha in sorted(shas.items())})


def _save(connection: Connection, sha: str, content: bytes, near: int | None) -> int:
    base, depth = (None, 0) if near is None else _base(connection, near)
    data = b""
    if base is not None:
        data = packed(content, file_contents(connection, [base])[base])
    if base is None or len(data) * WORTH > len(content):
        alone = packed(content)
        if base is None or len(data) * WORTH > len(alone):
            base, depth, data = None, 0, alone
    connection.execute(_NEW, {"sha256": sha, "base_id": base, "depth": depth, "data": data})
    return int(connection.execute(_KNOWN, {"sha256s": [sha]}).one().id)


def _base(connection: Connection, near: int) -> tuple[int, int]:
    """The id of the base to refer to, and the depth that comes of it."""
    depth, base_id = connection.execute(_BASE, {"id": near}).one()
    return (near, depth + 1) if depth < MAX_DEPTH else (int(base_id or near), depth)
