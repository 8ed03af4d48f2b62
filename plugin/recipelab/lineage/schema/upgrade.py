"""Upgrades old lineages in the transaction of the caller."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlalchemy import Connection

from recipelab.lineage.schema.from_v1 import from_v1
from recipelab.lineage.schema.from_v2 import from_v2

STEPS: Mapping[int, Callable[[Connection], None]] = {1: from_v1, 2: from_v2}
"""From each old version, what makes the one of this module of it."""


def upgrade(connection: Connection, version: int) -> None:
    """Brings the tables up from an old version to that of this module."""
    STEPS[version](connection)
