"""Where a new trial stands in the tree of first parents, so that its ancestors are found fast.

Beside its parent, a trial knows one ancestor further up (``jump``). The jumps are chosen as in a
skew-binary number, so that from depth ``d`` any ancestor is some ``log2(d)`` steps away; see
Myers, "An applicative random-access stack" (1983).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, bindparam, select
from sqlalchemy.orm import aliased
from sqlmodel import col

from recipelab.lineage.tables import TrialRow

_JUMP, _NEXT = aliased(TrialRow), aliased(TrialRow)
_PARENT: Select[*tuple[Any, ...]] = (
    select(
        col(TrialRow.depth),
        col(TrialRow.jump_id),
        col(_JUMP.depth).label("jump_depth"),
        col(_JUMP.jump_id).label("next_id"),
        col(_NEXT.depth).label("next_depth"),
    )
    .outerjoin(_JUMP, col(_JUMP.id) == col(TrialRow.jump_id))
    .outerjoin(_NEXT, col(_NEXT.id) == col(_JUMP.jump_id))
    .where(col(TrialRow.id) == bindparam("id"))
)


@dataclass(frozen=True)
class Place:
    """A place in the tree: first parent, number of ancestors, and an ancestor further up."""

    parent_id: int | None = None
    depth: int = 0
    jump_id: int | None = None


def place_under(connection: Connection, parent_ids: Sequence[int]) -> Place:
    """The place of a trial with these parents."""
    if not parent_ids:
        return Place()
    parent_id = parent_ids[0]
    row = connection.execute(_PARENT, {"id": parent_id}).one()
    jump_id = parent_id
    if row.next_id is not None and row.depth - row.jump_depth == row.jump_depth - row.next_depth:
        jump_id = row.next_id
    return Place(parent_id, row.depth + 1, jump_id)
