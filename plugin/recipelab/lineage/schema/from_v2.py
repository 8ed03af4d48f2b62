"""Makes a lineage of schema 3 from one of schema 2: tables are added, nothing is changed."""

from __future__ import annotations

from sqlalchemy import Connection

from recipelab.lineage.schema.making import note_version
from recipelab.lineage.tables import LineageTable


def from_v2(connection: Connection) -> None:
    """Adds the tables of evidence, further seed runs and certificates."""
    LineageTable.metadata.create_all(connection)
    note_version(connection)
