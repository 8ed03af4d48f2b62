"""Open the database of a lineage: found by path or URL, made, or brought up to date."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from itertools import chain
from os import PathLike
from pathlib import Path
from urllib.parse import unquote

from recipelab.core.content import make_private
from recipelab.core.errors import LineageError
from recipelab.lineage.database import Database, SqliteDatabase, Transaction
from recipelab.lineage.postgres import PostgresDatabase
from recipelab.lineage.values import now, to_stamp

SCHEMA = 4
"""Version of the tables; raise it with every change of them."""

OLDEST = 2
"""The oldest version that is brought up to date when it is opened."""

_PASSWORD = re.compile(r"(://[^:/@]*):[^@]*@")
_SQLITE_HEADER = b"SQLite format 3\x00"

_CREATION_LOCK = 7_243_117_905


def open_database(target: str | PathLike[str], *, create: bool) -> Database:
    """Open a lineage, or make a new one with its folders.

    One of an older version, from :data:`OLDEST` on, is brought up to date: tables are added, and
    nothing that is there is touched.

    Args:
        target: Path of the file, or its URL as ``sqlite:///folder/lineage.db``, or the URL of a
            database as ``postgresql+psycopg://user:password@host/name``.
        create: Whether to make a new one if there is none.

    Raises:
        LineageError: There is no lineage and none is to be made, there is something else, a
            damaged one, or one of a version that is not read (it is left as it is), or it cannot
            be opened or made.
    """
    file = sqlite_file(target)
    if file is None:
        return _open_postgres(str(target), create=create)
    if not create:
        _check_there(file)
    return _open_sqlite(file)


def sqlite_file(target: str | PathLike[str]) -> Path | None:
    """Return the absolute path of a lineage in SQLite; ``None`` for one in PostgreSQL.

    Args:
        target: As in :func:`open_database`.

    Raises:
        LineageError: It is neither.
    """
    if not isinstance(target, str) or "://" not in target:
        return Path(target).absolute()
    scheme, _, rest = target.partition("://")
    if scheme in ("postgresql", "postgresql+psycopg"):
        return None
    # An absolute path has a slash of its own after the one that ends the empty host.
    path = unquote(rest.removeprefix("/"))
    if scheme != "sqlite" or not rest.startswith("/") or "?" in rest or path in ("", ":memory:"):
        raise LineageError(
            "a lineage is a SQLite file, as sqlite:///folder/lineage.db, or a PostgreSQL "
            "database, as postgresql+psycopg://user:password@host/name: "
            f"{_without_password(target)!r}"
        )
    return Path(path).absolute()


def _without_password(url: str) -> str:
    return _PASSWORD.sub(r"\1:***@", url)


def _check_there(file: Path) -> None:
    """Check that a file holds a lineage, without writing a byte.

    Raises:
        LineageError: There is no such file, an empty one, or one of something else.
    """
    try:
        is_there = _version_of_file(file) is not None
    except (OSError, sqlite3.Error) as error:
        raise LineageError(f"cannot open the lineage {file}: {error}") from error
    if not is_there:
        raise LineageError(_nothing_at(str(file)))


def _nothing_at(where: str) -> str:
    return (
        f"no lineage at {where}; a campaign makes one (recipelab run PACK), and so does "
        "LineageStore.open(..., create=True)"
    )


def _open_sqlite(file: Path) -> SqliteDatabase:
    database = SqliteDatabase(file)
    with _opening(database, str(file)):
        make_private(file.parent)
        # It holds the secrets that seeds are drawn from; SQLite's other files take on its mode.
        with suppress(FileExistsError):
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        if _version_of_file(file) != SCHEMA:
            with database.writing() as transaction:
                # Another process may have made the tables since we looked.
                _make_current(transaction, _version_of(transaction, str(file)))
    return database


def _open_postgres(url: str, *, create: bool) -> PostgresDatabase:
    database = PostgresDatabase(url)
    shown = _without_password(url)
    with _opening(database, shown), database.writing() as transaction:
        transaction.value("SELECT pg_advisory_xact_lock(:key)", key=_CREATION_LOCK)
        version = _version_of(transaction, shown)
        if version is None and not create:
            raise LineageError(_nothing_at(shown))
        _make_current(transaction, version)
    return database


@contextmanager
def _opening(database: Database, shown: str) -> Iterator[None]:
    """Say which lineage cannot be opened; nothing of it stays open then."""
    try:
        yield
    except Exception as error:
        database.close()
        cause = error.__cause__ if isinstance(error, LineageError) else error
        if cause is None or not (isinstance(cause, OSError) or database.is_outage(cause)):
            raise
        raise LineageError(f"cannot open the lineage {shown}: {str(cause).strip()}") from cause


def _version_of_file(file: Path) -> int | None:
    """Return the version of a lineage, or ``None`` if it is new, without writing a byte."""
    if not file.exists():
        return None
    with file.open("rb") as stream:
        header = stream.read(len(_SQLITE_HEADER))
    if not header:
        return None
    # SQLite itself takes a short file of another kind for an empty database, and writes over it.
    if header != _SQLITE_HEADER:
        raise LineageError(f"{file} is not a lineage: it is no SQLite database")
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
        return _version_of(Transaction(SqliteDatabase(file), connection), str(file))


def _version_of(transaction: Transaction, where: str) -> int | None:
    """Return the version of the tables; ``None`` if there are none at all.

    Raises:
        LineageError: There are tables of something else, or of a version that is not read.
    """
    names = transaction.values(
        "SELECT name FROM sqlite_master WHERE type = 'table'"
        if transaction.database.is_sqlite
        else "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
    )
    if not names:
        return None
    if "recipelab_lineage" not in names:
        raise LineageError(f"{where} is not a lineage: it is a database of something else")
    version: int | None = transaction.value("SELECT max(version) FROM recipelab_lineage")
    if version is None or not OLDEST <= version <= SCHEMA:
        raise LineageError(
            f"{where} has {'no version' if version is None else f'version {version}'} of the "
            f"lineage's tables, and this recipelab reads versions {OLDEST} to {SCHEMA}: open it "
            "with the recipelab that made it, or choose another"
        )
    return version


def _make_current(transaction: Transaction, version: int | None) -> None:
    """Make the tables, or bring those of an older version up to date."""
    if version == SCHEMA:
        return
    # Imported here, because SQLModel takes longer to load than a lineage takes to open.
    from recipelab.lineage.definitions import table_definitions, upgrade_definitions

    is_sqlite = transaction.database.is_sqlite
    if version is None:
        definitions = table_definitions(sqlite=is_sqlite)
    else:
        steps = (upgrade_definitions(old, sqlite=is_sqlite) for old in range(version, SCHEMA))
        definitions = chain.from_iterable(steps)
    for definition in definitions:
        transaction._connection.execute(definition)
    transaction.run(
        "INSERT INTO recipelab_lineage (version, created_at) VALUES (:version, :created_at)",
        version=SCHEMA,
        created_at=to_stamp(now()),
    )
