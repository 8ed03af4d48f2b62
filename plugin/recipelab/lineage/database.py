"""Open the database of a lineage, and run plain SQL in its transactions.

The database is a SQLite file or a PostgreSQL database. Statements are SQL text with ``:name``
parameters that both understand; they go straight to the driver, because SQLAlchemy's execution
costs twenty times what SQLite needs for a lookup. ``IN :name`` takes a list.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from functools import lru_cache
from itertools import chain
from json import dumps
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, unquote

from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random

from recipelab.core.content import make_private
from recipelab.core.errors import LineageError
from recipelab.lineage.values import now, to_stamp

SCHEMA = 3
"""Version of the tables; raise it with every change of them."""

OLDEST = 2
"""The oldest version that is brought up to date when it is opened."""

BUSY_MILLISECONDS = 30_000
"""How long a SQLite write waits for another process that writes."""

Row = tuple[Any, ...]

_LIST = re.compile(r"\bIN :(\w+)")
_PARAMETER = re.compile(r"(?<!:):(\w+)")
_PASSWORD = re.compile(r"(://[^:/@]*):[^@]*@")
_SQLITE_HEADER = b"SQLite format 3\x00"

# FULL: a commit is on the disk when it returns, so that not even a power cut of the machine takes
# a measured trial. The cache is in KiB: 64 MiB a connection at most.
_PRAGMAS = (
    f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA cache_size = -65536",
)
_SPELT_OUT = 16
"""Items of a list up to which a SQLite statement names each; reading JSON takes longer to begin."""

_CREATION_LOCK = 7_243_117_905
_NAMING_LOCK = 7_243_117_906
_IDLE_SECONDS = 30.0
"""A PostgreSQL connection that has rested longer is tried before it is used."""


class Transaction:
    """One transaction: everything it reads is of the same moment.

    Args:
        database: Compiles the statements.
        connection: The driver's connection, inside an open transaction.

    Attributes:
        database: The database that it belongs to.
        memo: What callers want to remember until the transaction ends.
    """

    __slots__ = ("_connection", "database", "memo")

    def __init__(self, database: Database, connection: Any) -> None:
        self.database = database
        self.memo: dict[Any, Any] = {}
        self._connection = connection

    def rows(self, statement: str, /, **values: Any) -> list[Row]:
        """Return all rows of a query."""
        return self._execute(statement, values).fetchall()  # type: ignore[no-any-return]

    def row(self, statement: str, /, **values: Any) -> Row | None:
        """Return the first row of a query, if there is one."""
        return self._execute(statement, values).fetchone()  # type: ignore[no-any-return]

    def value(self, statement: str, /, **values: Any) -> Any:
        """Return the first value of the first row; ``None`` without a row."""
        row = self._execute(statement, values).fetchone()
        return None if row is None else row[0]

    def values(self, statement: str, /, **values: Any) -> list[Any]:
        """Return the first value of every row."""
        return [row[0] for row in self._execute(statement, values)]

    def pairs(self, statement: str, /, **values: Any) -> dict[Any, Any]:
        """Return the second value of every row by the first."""
        return dict(self._execute(statement, values).fetchall())

    def run(self, statement: str, /, **values: Any) -> None:
        """Execute a statement that returns nothing."""
        self._execute(statement, values)

    def run_many(self, statement: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Execute a statement once for each row of parameters."""
        if rows:
            text = self.database.bound(statement, {})
            self._connection.cursor().executemany(text, rows)

    def insert(self, table: str, /, **values: Any) -> None:
        """Insert a row."""
        self._execute(_insertion(table, tuple(values)), values)

    def insert_many(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows that all have the same columns."""
        if rows:
            self.run_many(_insertion(table, tuple(rows[0])), rows)

    def _execute(self, statement: str, values: dict[str, Any]) -> Any:
        text = self.database.bound(statement, values)
        return self._connection.execute(text, values)


@lru_cache(maxsize=256)
def _insertion(table: str, columns: tuple[str, ...]) -> str:
    named = ", ".join(f":{name}" for name in columns)
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({named})"


class Database(ABC):
    """An open database. Threads may share it: each transaction has a connection of its own."""

    begin_reading: ClassVar[str]
    begin_writing: ClassVar[str]
    is_sqlite: ClassVar[bool]

    def __init__(self) -> None:
        self._free: list[tuple[Any, float]] = []
        self._closed = False

    @property
    @abstractmethod
    def url(self) -> str:
        """Return the URL under which :func:`open_database` finds it from any folder."""

    @abstractmethod
    def bound(self, statement: str, values: dict[str, Any]) -> Any:
        """Return a statement as the driver takes it; lists among its values become what it can."""

    @abstractmethod
    def _connect(self) -> Any: ...

    @abstractmethod
    def _is_usable(self, connection: Any, idle_seconds: float) -> bool: ...

    @abstractmethod
    def is_outage(self, error: BaseException) -> bool:
        """Return whether an error is of the database and not of a statement of ours."""

    def reading(self) -> AbstractContextManager[Transaction]:
        """Open a transaction that sees one moment and waits for no writer."""
        return self._transaction(self.begin_reading)

    def writing(self) -> AbstractContextManager[Transaction]:
        """Open a transaction that writes; it is on the disk when the context ends."""
        return self._transaction(self.begin_writing)

    @abstractmethod
    def lock_campaign_names(self, transaction: Transaction) -> None:
        """Keep others from naming a campaign until the transaction ends."""

    def commit_connection(self) -> Any:
        """Return a connection of its own that counts commits of others; ``None`` if none can."""
        return None

    def commits_seen(self, connection: Any) -> int:
        """Return a number that is another after each commit of another connection."""
        raise NotImplementedError

    def close(self) -> None:
        """Close all connections: those in use when they are given back."""
        self._closed = True
        while self._free:
            self._free.pop()[0].close()

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[Transaction]:
        with self._outages_told():
            connection = self._take()
            try:
                connection.execute(begin)
                yield Transaction(self, connection)
                connection.execute("COMMIT")
            except BaseException:
                self._roll_back(connection)
                raise
            self._give_back(connection)

    @contextmanager
    def _outages_told(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if self.is_outage(error):
                raise LineageError(f"the lineage cannot be read or written: {error}") from error
            raise

    def _take(self) -> Any:
        while True:
            try:
                connection, since = self._free.pop()
            except IndexError:
                return self._connect()
            if self._is_usable(connection, time.monotonic() - since):
                return connection
            with suppress(Exception):
                connection.close()

    def _roll_back(self, connection: Any) -> None:
        try:
            connection.execute("ROLLBACK")
        except Exception:
            # No transaction has begun, or the connection is broken: a new one is cheap.
            with suppress(Exception):
                connection.close()
        else:
            self._give_back(connection)

    def _give_back(self, connection: Any) -> None:
        self._free.append((connection, time.monotonic()))
        if self._closed:
            self.close()  # It was in use when the others were closed.


class SqliteDatabase(Database):
    """A lineage in a SQLite file.

    Args:
        file: Absolute path of the file.
    """

    begin_reading = "BEGIN"
    # Takes the write lock at once: a transaction that reads first and asks for the lock later
    # would fail, not wait, when another process has written in between.
    begin_writing = "BEGIN IMMEDIATE"
    is_sqlite = True

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    @property
    def url(self) -> str:
        """Return the URL of the file."""
        return f"sqlite:///{quote(str(self.file))}"

    def bound(self, statement: str, values: dict[str, Any]) -> str:
        """Return a statement in which a short list is spelt out and a long one read from JSON."""
        sizes = []
        for name in _lists_of(statement):
            items = values.pop(name)
            if len(items) > _SPELT_OUT:
                values[name] = dumps(items)
                sizes.append(-1)
            else:
                values.update((f"{name}_{place}", item) for place, item in enumerate(items))
                sizes.append(len(items))
        return _spelt_out(statement, tuple(sizes)) if sizes else statement

    def lock_campaign_names(self, transaction: Transaction) -> None:
        """Do nothing: a transaction that writes has the file for itself."""

    def commit_connection(self) -> sqlite3.Connection:
        """Return a connection that counts commits; it waits for no lock."""
        with self._outages_told():
            connection = self._connect()
            connection.execute("PRAGMA busy_timeout = 100")
            return connection

    def commits_seen(self, connection: sqlite3.Connection) -> int:
        """Return SQLite's own count, which costs a look at the file's first page."""
        with self._outages_told():
            return int(connection.execute("PRAGMA data_version").fetchone()[0])

    def _connect(self) -> sqlite3.Connection:
        # The driver must not begin transactions on its own: it would begin them too late.
        connection = sqlite3.connect(
            self.file, isolation_level=None, check_same_thread=False, cached_statements=512
        )
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        # A new file gets its journal by a lock for which SQLite does not wait as for others.
        _patiently()(connection.execute, "PRAGMA journal_mode = WAL")
        return connection

    def _is_usable(self, connection: Any, idle_seconds: float) -> bool:
        return True

    def is_outage(self, error: BaseException) -> bool:
        """Return whether the file is gone, full, damaged, or was locked for too long."""
        return isinstance(error, sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError


class PostgresDatabase(Database):
    """A lineage in a PostgreSQL database.

    Args:
        url: Its URL, as ``postgresql+psycopg://user:password@host/name``.

    Raises:
        LineageError: The driver is missing.
    """

    begin_reading = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    begin_writing = "BEGIN"
    is_sqlite = False

    def __init__(self, url: str) -> None:
        super().__init__()
        try:
            import psycopg
        except ModuleNotFoundError as error:
            raise LineageError(
                "a lineage in PostgreSQL needs the driver psycopg: "
                "pip install 'recipelab[postgres]'"
            ) from error
        self._psycopg: Any = psycopg
        self._url = url

    @property
    def url(self) -> str:
        """Return the URL of the database, password included."""
        return self._url

    def bound(self, statement: str, values: dict[str, Any]) -> bytes:
        """Return a statement with the driver's parameters; lists are arrays."""
        return _for_psycopg(statement)

    def lock_campaign_names(self, transaction: Transaction) -> None:
        """Keep others from naming a campaign until the transaction ends."""
        transaction.value("SELECT pg_advisory_xact_lock(:key)", key=_NAMING_LOCK)

    def _connect(self) -> Any:
        return self._psycopg.connect(
            self._url.replace("postgresql+psycopg:", "postgresql:", 1), autocommit=True
        )

    def _is_usable(self, connection: Any, idle_seconds: float) -> bool:
        if connection.closed:
            return False
        if idle_seconds < _IDLE_SECONDS:
            return True
        try:
            connection.execute("SELECT 1")
        except self._psycopg.Error:
            return False
        return True

    def is_outage(self, error: BaseException) -> bool:
        """Return whether the server is gone, full or out of reach."""
        return isinstance(error, self._psycopg.OperationalError)


@lru_cache(maxsize=1024)
def _lists_of(statement: str) -> tuple[str, ...]:
    return tuple(_LIST.findall(statement))


@lru_cache(maxsize=1024)
def _spelt_out(statement: str, sizes: tuple[int, ...]) -> str:
    """Write a parameter for each item of the lists, or of -1 items, read them from JSON."""
    left = iter(sizes)

    def items(match: re.Match[str]) -> str:
        size, name = next(left), match[1]
        if size < 0:
            return f"IN (SELECT value FROM json_each(:{name}))"
        return f"IN ({', '.join(f':{name}_{place}' for place in range(size))})"

    return _LIST.sub(items, statement)


@lru_cache(maxsize=1024)
def _for_psycopg(statement: str) -> bytes:
    text = _LIST.sub(r"= ANY(:\1)", statement.replace("%", "%%"))
    return _PARAMETER.sub(r"%(\1)s", text).encode()


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


def _patiently() -> Retrying:
    """Try again while another process holds the file."""
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
