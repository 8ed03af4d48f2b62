"""Upgrades old lineages, each version to the next, in the transaction of the caller."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlalchemy import Connection

from recipelab.lineage.schema.from_v1 import from_v1
from recipelab.lineage.tables import SCHEMA

STEPS: Mapping[int, Callable[[Connection], None]] = {1: from_v1}
"""From each old version, what makes the next one of it."""


def upgrade(connection: Connection, version: int) -> None:
    """Brings the tables up from an old version to that of this module."""
    for step in range(version, SCHEMA):
        STEPS[step](connection)
