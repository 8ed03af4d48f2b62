"""Makes the tables of a new lineage, and looks at the version of one that is there."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection, func, insert, inspect, select, text
from sqlmodel import col

from recipelab.core.errors import LineageError
from recipelab.lineage import evidence, ledgers
from recipelab.lineage.tables import SCHEMA, LineageTable, SchemaVersion

WORDS_TABLE = "words"

# Without texts, positions and lengths: the index says which trials have a word, and no more.
_WORDS_SQLITE = (
    "CREATE VIRTUAL TABLE words USING fts5(w, content='', detail=none, columnsize=0, "
    "tokenize=\"ascii tokenchars '.:_+-'\")",
)
_WORDS_POSTGRES = (
    "CREATE TABLE words (rowid BIGINT PRIMARY KEY, w TSVECTOR NOT NULL)",
    "CREATE INDEX words_w ON words USING gin (w)",
)

TABLES = (LineageTable, ledgers.TallyRow, evidence.EvidenceRow)
"""Names all modules of tables, so that all are known before they are made."""


def version_of(connection: Connection, where: str) -> int:
    """The version of the tables; 0 if there are none at all.

    Raises:
        LineageError: There are tables of something else, or of a newer version.
    """
    names = inspect(connection).get_table_names()
    if not names:
        return 0
    if SchemaVersion.__tablename__ not in names:
        raise LineageError(f"{where} is not a lineage: it is a database of something else")
    version = connection.scalar(select(func.max(col(SchemaVersion.version))))
    if version is None:
        raise LineageError(f"{where} is not a whole lineage: it says no version of its tables")
    if version > SCHEMA:
        raise LineageError(
            f"{where} was made by a newer recipelab: its schema has version {version}, this "
            f"recipelab reads versions 1 to {SCHEMA}; open it with that one, or choose another"
        )
    return int(version)


def make_tables(connection: Connection) -> None:
    """Makes all tables, and notes their version."""
    LineageTable.metadata.create_all(connection)
    sqlite = connection.dialect.name == "sqlite"
    for statement in _WORDS_SQLITE if sqlite else _WORDS_POSTGRES:
        connection.execute(text(statement.replace(":", r"\:")))
    note_version(connection)


def note_version(connection: Connection) -> None:
    """Notes that the tables have the version of this module."""
    marker = insert(SchemaVersion).values(version=SCHEMA, created_at=datetime.now(UTC))
    connection.execute(marker)
