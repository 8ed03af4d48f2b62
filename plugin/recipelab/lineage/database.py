"""Run plain SQL in transactions on the database of a lineage.

The database is a SQLite file or a PostgreSQL database. Statements are SQL text with ``:name``
parameters that both understand; they go straight to the driver, because SQLAlchemy's execution
costs twenty times what SQLite needs for a lookup. ``IN :name`` takes a list.
"""

from __future__ import annotations

import re
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import lru_cache
from json import dumps
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random

from recipelab.core.errors import LineageError

_KEPT_CHARACTERS = 8_000_000
"""Characters of recipes that are kept in memory."""

BUSY_MILLISECONDS = 30_000
"""How long a SQLite write waits for another process that writes."""

Row = tuple[Any, ...]

LIST = re.compile(r"\bIN :(\w+)")
"""A list in a statement."""

PARAMETER = re.compile(r"(?<!:):(\w+)")
"""A parameter in a statement."""

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


class Transaction:
    """One transaction: everything it reads is of the same moment.

    Args:
        database: Compiles the statements.
        connection: The driver's connection, inside an open transaction.
        reads_only: Whether it writes nothing.

    Attributes:
        database: The database that it belongs to.
        memo: What callers want to remember until the transaction ends.
        reads_only: Whether it writes nothing, and so sees nothing that may be rolled back.
    """

    __slots__ = ("_connection", "database", "memo", "reads_only")

    def __init__(self, database: Database, connection: Any, *, reads_only: bool = False) -> None:
        self.database = database
        self.reads_only = reads_only
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
        """Execute a statement that returns nothing.

        PostgreSQL may execute it with the next question or at the end, and raise its error there.
        """
        self._post(statement, values)

    def run_many(self, statement: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Execute a statement once for each row of parameters."""
        if self.database.is_sqlite and len(rows) > _SPELT_OUT:  # A cursor takes time to begin.
            self._connection.executemany(self.database.bound(statement, {}), rows)
            return
        for row in rows:
            self._post(statement, dict(row))

    def insert(self, table: str, /, **values: Any) -> None:
        """Insert a row."""
        self._post(_insertion(table, tuple(values)), values)

    def insert_many(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows that all have the same columns; a few go in one statement."""
        if len(rows) > _SPELT_OUT:
            self.run_many(_insertion(table, tuple(rows[0])), rows)
        elif rows:
            named = {f"{n}_{i}": value for i, row in enumerate(rows) for n, value in row.items()}
            self._post(_insertion_of_many(table, tuple(rows[0]), len(rows)), named)

    def _execute(self, statement: str, values: dict[str, Any]) -> Any:
        text = self.database.bound(statement, values)
        return self._connection.execute(text, values)

    def _post(self, statement: str, values: dict[str, Any]) -> None:
        text = self.database.bound(statement, values)
        self.database.post(self._connection, text, values)


@lru_cache(maxsize=256)
def _insertion(table: str, columns: tuple[str, ...]) -> str:
    named = ", ".join(f":{name}" for name in columns)
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({named})"


@lru_cache(maxsize=256)
def _insertion_of_many(table: str, columns: tuple[str, ...], count: int) -> str:
    rows = (", ".join(f":{name}_{place}" for name in columns) for place in range(count))
    values = ", ".join(f"({row})" for row in rows)
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {values}"


class Lasting:
    """What was read of a database and never changes in it, so that it is not asked for again.

    Attributes:
        trials: Ids of trials that are there.
    """

    def __init__(self) -> None:
        self.trials: set[int] = set()
        self._texts: dict[int, str] = {}
        self._characters = 0

    def text(self, key: int) -> str | None:
        """Return the text of a recipe's file by the id of its row; ``None`` if it is not kept."""
        return self._texts.get(key)

    def keep_text(self, key: int, text: str) -> None:
        """Keep the text of a recipe's file; all are forgotten when they become too much."""
        if self._characters > _KEPT_CHARACTERS:
            self._texts, self._characters = {}, 0
        self._texts[key] = text
        self._characters += len(text)


class Database(ABC):
    """An open database. Threads may share it: each transaction has a connection of its own."""

    begin_reading: ClassVar[str]
    begin_writing: ClassVar[str]
    is_sqlite: ClassVar[bool]
    clock: str
    """SQL of the seconds since 1970 by the database's own clock, which all its users share."""

    def __init__(self) -> None:
        self._free: list[Any] = []
        self._closed = False
        self.lasting = Lasting()

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
    def _is_usable(self, connection: Any) -> bool: ...

    @abstractmethod
    def is_outage(self, error: BaseException) -> bool:
        """Return whether an error is of the database and not of a statement of ours."""

    def post(self, connection: Any, statement: Any, values: Mapping[str, Any]) -> None:
        """Execute a statement of which nothing is asked, now or with the next question."""
        connection.execute(statement, values)

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
            self._free.pop().close()

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[Transaction]:
        with self._outages_told():
            reads_only = begin == self.begin_reading
            connection = self._take()
            try:
                self._begin(connection, begin)
                yield Transaction(self, connection, reads_only=reads_only)
                self._commit(connection, reads_only=reads_only)
            except BaseException:
                self._roll_back(connection)
                raise
            self._give_back(connection)

    def _begin(self, connection: Any, begin: str) -> None:
        connection.execute(begin)

    def _commit(self, connection: Any, *, reads_only: bool) -> None:
        connection.execute("COMMIT")

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
                connection = self._free.pop()
            except IndexError:
                return self._connect()
            if self._is_usable(connection):
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
        self._free.append(connection)
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
    clock = "((julianday('now') - 2440587.5) * 86400.0)"

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

    def _is_usable(self, connection: Any) -> bool:
        return True

    def is_outage(self, error: BaseException) -> bool:
        """Return whether the file is gone, full, damaged, or was locked for too long."""
        return isinstance(error, sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError


@lru_cache(maxsize=1024)
def _lists_of(statement: str) -> tuple[str, ...]:
    return tuple(LIST.findall(statement))


@lru_cache(maxsize=1024)
def _spelt_out(statement: str, sizes: tuple[int, ...]) -> str:
    """Write a parameter for each item of the lists, or of -1 items, read them from JSON."""
    left = iter(sizes)

    def items(match: re.Match[str]) -> str:
        size, name = next(left), match[1]
        if size < 0:
            return f"IN (SELECT value FROM json_each(:{name}))"
        return f"IN ({', '.join(f':{name}_{place}' for place in range(size))})"

    return LIST.sub(items, statement)


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
