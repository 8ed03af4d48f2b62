"""Opens the file of a lineage: checks that it is one, and makes its tables if it is new."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    NullPool,
    create_engine,
    event,
    func,
    insert,
    inspect,
    make_url,
    select,
)
from sqlalchemy.exc import ArgumentError, DatabaseError
from sqlmodel import col

from recipelab.errors import LineageError
from recipelab.lineage.tables import SCHEMA, LineageTable, SchemaVersion

BUSY_MILLISECONDS = 30_000
"""How long a write waits for another process that writes."""

# FULL: a commit is on the disk when it returns, so that not even a power cut of the machine
# takes a measured trial. It costs one fsync a commit, and a trial takes minutes.
_PRAGMAS = (
    f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
)

_HEADER = b"SQLite format 3\x00"
_WRITES = "recipelab_writes"


def open_engine(target: str | PathLike[str]) -> Engine:
    """Opens a lineage, or makes a new one with its folders.

    Args:
        target: Path of the file, or its URL as ``sqlite:///folder/lineage.db``.

    Returns:
        An engine whose connections have the pragmas set.

    Raises:
        LineageError: The file is no lineage, or of another version (it is left as it is), or
            cannot be opened or made.
    """
    file = _file_of(target)
    engine = create_engine(URL.create("sqlite", database=str(file)))
    _configure(engine)
    with ExitStack() as on_error:
        on_error.callback(engine.dispose)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            if not _check_file(file):
                _create(writing(engine), file)
        except (OSError, DatabaseError) as error:
            cause = error.orig if isinstance(error, DatabaseError) else error
            raise LineageError(f"cannot open the lineage {file}: {cause}") from error
        on_error.pop_all()
    return engine


def writing(engine: Engine) -> Engine:
    """The same engine for transactions that write: they take the write lock when they begin.

    A transaction that reads first and asks for the lock later would fail, not wait, when another
    process has written in between.
    """
    return engine.execution_options(**{_WRITES: True})


def _file_of(target: str | PathLike[str]) -> Path:
    if not isinstance(target, str) or "://" not in target:
        return Path(target).absolute()
    try:
        url = make_url(target)
    except ArgumentError as error:
        raise LineageError(f"not a database URL: {target!r}") from error
    if url.get_backend_name() != "sqlite" or url.query or url.database in (None, "", ":memory:"):
        shown = url.render_as_string(hide_password=True)
        raise LineageError(f"a lineage is a SQLite file, as sqlite:///folder/lineage.db: {shown!r}")
    return Path(str(url.database)).absolute()


def _check_file(file: Path) -> bool:
    """Whether the file is a lineage; false if it is new. Looks without writing a byte."""
    if not file.exists():
        return False
    with file.open("rb") as stream:
        header = stream.read(len(_HEADER))
    if not header:
        return False
    # SQLite itself takes a short file of another kind for an empty database, and writes over it.
    if header != _HEADER:
        raise LineageError(f"{file} is not a lineage: it is no SQLite database")
    engine = create_engine("sqlite://", creator=_read_only(file), poolclass=NullPool)
    with engine.connect() as connection:
        return _check_version(connection, file)


def _read_only(file: Path) -> Callable[[], sqlite3.Connection]:
    return lambda: sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)


def _check_version(connection: Connection, file: Path) -> bool:
    names = inspect(connection).get_table_names()
    if not names:
        return False
    if SchemaVersion.__tablename__ not in names:
        raise LineageError(f"{file} is not a lineage: it is a database of something else")
    version = connection.execute(select(func.max(col(SchemaVersion.version)))).scalar_one()
    if version != SCHEMA:
        age = "a newer" if version > SCHEMA else "an older"
        raise LineageError(
            f"{file} was made by {age} recipelab: its schema has version {version}, this "
            f"recipelab reads version {SCHEMA}; open it with that one, or choose another file"
        )
    return True


def _configure(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def connected(connection: Any, record: object) -> None:
        # The driver must not begin transactions on its own: it would begin them too late.
        connection.isolation_level = None
        # SQLite's own folds A to Z alone, and a hypothesis may be in any language.
        connection.create_function("lower", 1, _folded, deterministic=True)
        for pragma in _PRAGMAS:
            connection.execute(pragma)

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _folded(text: str | None) -> str | None:
    return None if text is None else text.casefold()


def _create(engine: Engine, file: Path) -> None:
    with engine.begin() as connection:
        # Another process may have made the tables since we looked.
        if not _check_version(connection, file):
            LineageTable.metadata.create_all(connection)
            marker = insert(SchemaVersion).values(version=SCHEMA, created_at=datetime.now(UTC))
            connection.execute(marker)
