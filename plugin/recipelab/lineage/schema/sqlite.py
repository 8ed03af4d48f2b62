"""Opens the file of a lineage: checks that it is one, makes its tables, or upgrades them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event
from sqlalchemy.exc import DatabaseError
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random

from recipelab.core.errors import LineageError
from recipelab.lineage.schema.making import make_tables, version_of
from recipelab.lineage.schema.upgrade import upgrade
from recipelab.lineage.tables import SCHEMA

BUSY_MILLISECONDS = 30_000
"""How long a write waits for another process that writes."""

# FULL: a commit is on the disk when it returns, so that not even a power cut of the machine
# takes a measured trial. It costs one fsync a commit, and a trial takes minutes.
# The cache is in KiB: 64 MiB a connection at most. Mapped pages are the system's own cache.
_JOURNAL = "PRAGMA journal_mode = WAL"
_PRAGMAS = (
    f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA cache_size = -65536",
)

_HEADER = b"SQLite format 3\x00"
_WRITES = "recipelab_writes"


def open_sqlite(file: Path) -> Engine:
    """Opens a file, makes a new one with its folders, or upgrades an old one.

    Raises:
        LineageError: The file is no lineage, is damaged, or is of a newer version (it is left as
            it is), or cannot be opened or made.
    """
    engine = create_engine(URL.create("sqlite", database=str(file)))
    _configure(engine)
    with ExitStack() as on_error:
        on_error.callback(engine.dispose)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            version = _check_file(file)
            if version != SCHEMA:
                _bring_up(writing_sqlite(engine), file, version)
        except ValueError as error:
            # The transaction is rolled back: the file is as it was.
            raise LineageError(
                f"cannot upgrade the lineage {file}: it holds what no recipelab wrote: {error}"
            ) from error
        except (OSError, DatabaseError) as error:
            cause = error.orig if isinstance(error, DatabaseError) else error
            raise LineageError(f"cannot open the lineage {file}: {cause}") from error
        on_error.pop_all()
    return engine


def writing_sqlite(engine: Engine) -> Engine:
    """The same engine for transactions that write: they take the write lock when they begin.

    A transaction that reads first and asks for the lock later would fail, not wait, when another
    process has written in between.
    """
    return engine.execution_options(**{_WRITES: True})


def _check_file(file: Path) -> int:
    """The version of a lineage; 0 if it is new. Looks without writing a byte."""
    if not file.exists():
        return 0
    with file.open("rb") as stream:
        header = stream.read(len(_HEADER))
    if not header:
        return 0
    # SQLite itself takes a short file of another kind for an empty database, and writes over it.
    if header != _HEADER:
        raise LineageError(f"{file} is not a lineage: it is no SQLite database")
    engine = create_engine("sqlite://", creator=_read_only(file), poolclass=NullPool)
    with engine.connect() as connection:
        version = version_of(connection, str(file))
        if version not in (0, SCHEMA):
            _check_whole(connection, file)
        return version


def _check_whole(connection: Connection, file: Path) -> None:
    # An upgrade reads every page, and must not stop half way or carry damage over.
    told = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    if told != "ok":
        raise LineageError(f"cannot open the lineage {file}: it is damaged: {told}")


def _read_only(file: Path) -> Callable[[], sqlite3.Connection]:
    return lambda: sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)


def _configure(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def connected(connection: Any, record: object) -> None:
        # The driver must not begin transactions on its own: it would begin them too late.
        connection.isolation_level = None
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        # A new file gets its journal by a lock for which SQLite does not wait as for others.
        _patiently()(connection.execute, _JOURNAL)

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _patiently() -> Retrying:
    """Tries again while another process holds the file."""
    return Retrying(
        retry=retry_if_exception(_is_busy),
        stop=stop_after_delay(BUSY_MILLISECONDS / 1000),
        wait=wait_random(0.001, 0.02),
        reraise=True,
    )


def _is_busy(error: BaseException) -> bool:
    # The low byte of an extended code is its kind.
    return isinstance(error, sqlite3.OperationalError) and (
        error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
    )


def _bring_up(engine: Engine, file: Path, before: int) -> None:
    if before:
        _keep_copy(file, before)
    with engine.begin() as connection:
        # Another process may have made or upgraded the tables since we looked.
        version = version_of(connection, str(file))
        if version == 0:
            make_tables(connection)
        elif version != SCHEMA:
            upgrade(connection, version)


def _keep_copy(file: Path, version: int) -> None:
    """Copies a file beside itself, with what its journal holds, before it is upgraded."""
    copy = file.with_name(f"{file.name}.v{version}.bak")
    if copy.exists():
        return
    half = copy.with_name(copy.name + ".part")
    with closing(_read_only(file)()) as source, closing(sqlite3.connect(half)) as target:
        source.backup(target)
    half.replace(copy)
