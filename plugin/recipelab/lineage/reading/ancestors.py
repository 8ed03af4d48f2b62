"""Ways in the tree of first parents: up to the root, and whether one trial stems from another."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import CTE, BigInteger, Connection, Select, bindparam, literal, select
from sqlmodel import col

from recipelab.lineage.tables import ParentRow, TrialRow

_STEPS = select(
    col(TrialRow.id), col(TrialRow.parent_id), col(TrialRow.jump_id), col(TrialRow.depth)
).where(col(TrialRow.id).in_(bindparam("ids", expanding=True)))


def _upward() -> Select[int, int | None]:
    start = select(col(TrialRow.id), col(TrialRow.parent_id), literal(1).label("length")).where(
        col(TrialRow.id) == bindparam("id")
    )
    chain = start.cte("chain", recursive=True)
    older = (
        select(col(TrialRow.id), col(TrialRow.parent_id), chain.c.length + 1)
        .join(chain, col(TrialRow.id) == chain.c.parent_id)
        .where(chain.c.length < bindparam("limit", type_=BigInteger))
    )
    chain = chain.union_all(older)
    return select(chain.c.id, chain.c.parent_id)


_CHAIN = _upward()
_DEPTH = select(col(TrialRow.depth)).where(col(TrialRow.id) == bindparam("id"))


def chain_ids(connection: Connection, trial_id: int, limit: int) -> list[int]:
    """The ids from an ancestor to a trial, the last ones if there are more than the limit."""
    found = connection.scalars(_CHAIN, {"id": trial_id, "limit": limit})
    # A parent is older than its children, so ids order the chain.
    return sorted(found)


def depth_of(connection: Connection, trial_id: int) -> int:
    """How many ancestors a trial has by first parents."""
    return int(connection.scalars(_DEPTH, {"id": trial_id}).one())


def _downward() -> Select[int]:
    parent, child = col(ParentRow.parent_id), col(ParentRow.trial_id)
    first = col(ParentRow.position) == 0
    below: Select[int] = select(child.label("id")).where(parent == bindparam("id"), first)
    found: CTE = below.cte("below", recursive=True)
    return select(
        found.union_all(select(child).join(found, parent == found.c.id).where(first)).c.id
    )


_BELOW = _downward().limit(bindparam("limit", type_=BigInteger))


def few_descendants(connection: Connection, trial_id: int, most: int) -> set[int] | None:
    """The ids of all that stem from a trial; ``None`` if they are more than so many."""
    # Databases compute such a union row by row, so the limit ends it early.
    found = set(connection.scalars(_BELOW, {"id": trial_id, "limit": most + 1}))
    return found if len(found) <= most else None


class Descent:
    """Tells of trials whether they stem from one, in few queries for many.

    Args:
        connection: Where to look.
        ancestor_id: The trial that they may stem from.
    """

    def __init__(self, connection: Connection, ancestor_id: int) -> None:
        self._connection = connection
        self._ancestor_id = ancestor_id
        self._depth = depth_of(connection, ancestor_id)
        self._known: dict[int, bool] = {ancestor_id: True}

    def among(self, ids: Iterable[int]) -> set[int]:
        """Those of the trials that stem from the ancestor, which itself does not."""
        parents = {row.id: row.parent_id for row in self._rows(ids)}
        self._learn({parent for parent in parents.values() if parent is not None})
        return {key for key, parent in parents.items() if parent and self._known[parent]}

    def _learn(self, ids: Iterable[int]) -> None:
        at = {key: key for key in ids if key not in self._known}
        while at:
            steps = {row.id: row for row in self._rows(set(at.values()))}
            jumps = {row.jump_id for row in steps.values() if row.jump_id is not None}
            depths = {row.id: row.depth for row in self._rows(jumps)}
            for key, place in list(at.items()):
                row = steps[place]
                if row.depth <= self._depth:
                    self._known[key] = place == self._ancestor_id
                    del at[key]
                else:
                    # A jump that stays below the ancestor's depth would pass it by.
                    far = depths[row.jump_id] >= self._depth
                    at[key] = row.jump_id if far else row.parent_id

    def _rows(self, ids: Iterable[int]) -> list[Any]:
        asked = list(ids)
        return list(self._connection.execute(_STEPS, {"ids": asked})) if asked else []
