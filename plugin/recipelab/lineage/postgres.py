"""A lineage in PostgreSQL: statements go to libpq itself, and those of which nothing is asked wait.

A round trip to the server costs more than most statements do, so a transaction makes one for each
answer that is asked of it and not one for each statement. What begins it, and what writes, is sent
together with the next question; what ends one that only reads is sent at once, and its answer is
taken by the next transaction. Every other commit is waited for.
"""

from __future__ import annotations

import re
import select
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple

from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random

from recipelab.core.errors import LineageError
from recipelab.lineage.database import LIST, PARAMETER, Database, Row, Transaction

RESTART_SECONDS = 20.0
"""How long a PostgreSQL server is waited for that was there before, as when it restarts."""

_OLDEST_LIBPQ = 140_000
"""The first version that sends statements without waiting for answers."""

_NAMING_LOCK = 7_243_117_906
_STOPPED_MILLISECONDS = 15_000
_MOST_PREPARED = 500


class PostgresDatabase(Database):
    """A lineage in a PostgreSQL database.

    Args:
        url: Its URL, as ``postgresql+psycopg://user:password@host/name``.

    Raises:
        LineageError: The driver is missing, or its libpq is too old.
    """

    begin_reading = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    begin_writing = "BEGIN"
    is_sqlite = False
    clock = "(extract(epoch FROM clock_timestamp())::float8)"

    def __init__(self, url: str) -> None:
        super().__init__()
        try:
            import psycopg
        except ModuleNotFoundError as error:
            raise LineageError(
                "a lineage in PostgreSQL needs the driver psycopg: "
                "pip install 'recipelab[postgres]'"
            ) from error
        if psycopg.pq.version() < _OLDEST_LIBPQ:
            raise LineageError(
                "a lineage in PostgreSQL needs libpq 14 or later, not "
                f"{psycopg.pq.version() // 10_000}: pip install 'recipelab[postgres]' brings one"
            )
        self._psycopg: Any = psycopg
        self._url = url
        self._was_there = False

    @property
    def url(self) -> str:
        """Return the URL of the database, password included."""
        return self._url

    def bound(self, statement: str, values: dict[str, Any]) -> Statement:
        """Return a statement with numbers for its parameters; lists become arrays."""
        found = _numbered(statement)
        for name in found.lists:
            values[name] = _array(values[name])
        return found

    def lock_campaign_names(self, transaction: Transaction) -> None:
        """Keep others from naming a campaign until the transaction ends."""
        transaction.value("SELECT pg_advisory_xact_lock(:key)", key=_NAMING_LOCK)

    def post(self, connection: Any, statement: Any, values: Mapping[str, Any]) -> None:
        """Send a statement with the next question, which raises its error; or at the end."""
        connection.post(statement, values)

    def _begin(self, connection: Any, begin: str) -> None:
        connection.begin(begin)

    def _commit(self, connection: Any, *, reads_only: bool) -> None:
        connection.commit(reads_only=reads_only)

    def _connect(self) -> PostgresConnection:
        return PostgresConnection(self._connected)

    def _connected(self) -> Any:
        patience = Retrying(
            retry=retry_if_exception(self.is_outage),
            stop=stop_after_delay(RESTART_SECONDS if self._was_there else 0.0),
            wait=wait_random(0.05, 0.5),
            reraise=True,
        )
        address = self._url.replace("postgresql+psycopg:", "postgresql:", 1)
        connection = patience(self._psycopg.connect, address, autocommit=True)
        self._was_there = True
        # The server ends the transaction of a process that was stopped or lost within it: others
        # would wait for its locks as long as the connection lives.
        connection.execute(f"SET idle_in_transaction_session_timeout = {_STOPPED_MILLISECONDS}")
        return connection

    def _is_usable(self, connection: Any) -> bool:
        return not connection.closed

    def is_outage(self, error: BaseException) -> bool:
        """Return whether the server is gone, full or out of reach, or has ended the transaction."""
        stopped = self._psycopg.errors.IdleInTransactionSessionTimeout
        return isinstance(error, (self._psycopg.OperationalError, stopped))


class Statement(NamedTuple):
    """A statement as libpq takes it.

    Attributes:
        text: Its text, with numbers for parameters.
        names: The parameters' names in the order of their numbers.
        lists: Names of those that are lists.
    """

    text: bytes
    names: tuple[str, ...]
    lists: tuple[str, ...]


class _Message(NamedTuple):
    """A statement with the values of its parameters, as they are sent."""

    text: bytes
    values: Sequence[Any] | None
    types: tuple[int, ...]
    formats: Sequence[Any] | None


class _Rows:
    """The rows of a statement, all of them read."""

    __slots__ = ("_next", "_rows")

    def __init__(self, rows: list[Row]) -> None:
        self._rows = rows
        self._next = 0

    def fetchall(self) -> list[Row]:
        """Return all rows."""
        return self._rows

    def fetchone(self) -> Row | None:
        """Return the next row, if there is one."""
        self._next += 1
        return self._rows[self._next - 1] if self._next <= len(self._rows) else None

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)


class PostgresConnection:
    """A connection in libpq's pipeline mode, for one transaction after the other.

    Statements are prepared at their second use. Values and results are turned by the driver, so
    that nothing is another than with its cursors. A connection that broke while it rested is
    replaced by a new one: what was sent since the beginning of the transaction is sent again, as
    long as nothing of it was answered and nothing can have been committed.

    Args:
        connect: Returns a connection of the driver's own that commits by itself.
    """

    def __init__(self, connect: Callable[[], Any]) -> None:
        import psycopg

        self._psycopg: Any = psycopg
        self._sync = psycopg.pq.ExecStatus.PIPELINE_SYNC
        self._good = (
            psycopg.pq.ExecStatus.TUPLES_OK,
            psycopg.pq.ExecStatus.COMMAND_OK,
            psycopg.pq.ExecStatus.EMPTY_QUERY,
        )
        self._connect = connect
        self._unanswered: list[_Message] | None = None
        self._open()

    def _open(self) -> None:
        self._connection = self._connect()
        self._pgconn: Any = self._connection.pgconn
        self._pgconn.enter_pipeline_mode()
        self._input = select.poll()
        self._input.register(self._pgconn.socket, select.POLLIN)
        self._turned = self._psycopg.adapt.Transformer(self._connection)
        self._used: set[tuple[bytes, Any]] = set()
        self._prepared: dict[tuple[bytes, Any], bytes] = {}
        self._names = 0
        # What is sent and not answered yet: whether its error is anybody's, and what it prepares.
        self._awaited: deque[tuple[bool, tuple[bytes, Any] | None]] = deque()

    @property
    def closed(self) -> bool:
        """Whether it is of no use any more."""
        return bool(self._connection.closed)

    def begin(self, statement: str) -> None:
        """Begin a transaction, together with its first question."""
        self._unanswered = []
        self.post(statement)

    def commit(self, *, reads_only: bool) -> None:
        """End a transaction; one that has only read is not waited for."""
        if not reads_only:
            if self._unanswered is not None:
                self._answer()  # So that nothing is sent twice that may have been committed.
            self.execute("COMMIT")
            return
        self._unanswered = None
        with suppress(self._psycopg.Error):  # The next transaction sees that it is broken.
            self._send(_Message(b"COMMIT", None, (), None), heeded=False)
            self._pgconn.pipeline_sync()
            self._awaited.append((False, None))
            self._flush()

    def execute(self, statement: str | Statement, values: Mapping[str, Any] | None = None) -> _Rows:
        """Run a statement and return its rows; without values as it is."""
        self.post(statement, values)
        result = self._answer()
        if result is None or not result.nfields:
            return _Rows([])
        self._turned.set_pgresult(result)
        return _Rows(self._turned.load_rows(0, result.ntuples, tuple))

    def post(self, statement: str | Statement, values: Mapping[str, Any] | None = None) -> None:
        """Send a statement, of which nothing is asked, together with the next question."""
        message = self._message(statement, values)
        if self._unanswered is not None:
            self._unanswered.append(message)
        self._send(message)

    def close(self) -> None:
        """Close it."""
        self._connection.close()

    def _message(self, statement: str | Statement, values: Mapping[str, Any] | None) -> _Message:
        if isinstance(statement, str):
            return _Message(statement.encode(), None, (), None)
        turned, names = self._turned, statement.names
        given = [(values or {})[name] for name in names]
        sent = turned.dump_sequence(given, [self._psycopg.adapt.PyFormat.AUTO] * len(given))
        return _Message(statement.text, sent, turned.types, turned.formats)

    def _send(self, message: _Message, *, heeded: bool = True) -> None:
        text, values, types, formats = message
        pgconn, key = self._pgconn, (text, types)
        name = self._prepared.get(key)
        if name is None and key in self._used and len(self._prepared) < _MOST_PREPARED:
            self._names += 1
            name = self._prepared[key] = b"recipelab_%d" % self._names
            pgconn.send_prepare(name, text, types)
            self._awaited.append((heeded, key))
        if name is None:
            self._used.add(key)
            pgconn.send_query_params(text, values, types, formats)
        else:
            pgconn.send_query_prepared(name, values, formats)
        self._awaited.append((heeded, None))

    def _answer(self) -> Any:
        """Return the result of what was sent last; raise the first error of all that was sent."""
        try:
            return self._answered()
        except self._psycopg.OperationalError:
            again, self._unanswered = self._unanswered, None
            if again is None or not self.closed:
                raise
        self._open()
        for message in again:
            self._send(message)
        return self._answered()

    def _answered(self) -> Any:
        self._pgconn.pipeline_sync()
        self._awaited.append((False, None))
        self._flush()
        found = error = None
        while self._awaited:
            try:
                result = self._next_result()
            except self._psycopg.OperationalError:
                if error is None:
                    raise
                break  # The server has said why, and closed the connection.
            heeded, prepares = self._awaited[0]
            if result is None or result.status == self._sync:
                self._awaited.popleft()
            elif result.status in self._good:
                found = result if heeded else found
            else:
                if prepares is not None:
                    del self._prepared[prepares]
                error = result if heeded and error is None else error
        if error is not None:
            self._raise(error)
        self._unanswered = None
        return found

    def _next_result(self) -> Any:
        """Return the next result, or ``None`` at the end of those of a statement."""
        while self._pgconn.is_busy():
            self._input.poll()  # Other threads go on meanwhile, as they would not within libpq.
            self._pgconn.consume_input()
        return self._pgconn.get_result()

    def _flush(self) -> None:
        """Send what is to be sent; the server may have to say something first."""
        while self._pgconn.flush():
            both = select.poll()
            both.register(self._pgconn.socket, select.POLLIN | select.POLLOUT)
            if any(event & select.POLLIN for _, event in both.poll()):
                self._pgconn.consume_input()

    def _raise(self, result: Any) -> None:
        error = self._psycopg.errors.error_from_result(result)
        if self.closed:
            raise self._psycopg.OperationalError(str(error)) from error
        raise error


@lru_cache(maxsize=1024)
def _numbered(statement: str) -> Statement:
    """Return a statement with numbers for its parameters, a list as an array."""
    numbers: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        return f"${numbers.setdefault(match[1], len(numbers) + 1)}"

    text = PARAMETER.sub(number, LIST.sub(r"= ANY(:\1)", statement))
    return Statement(text.encode(), tuple(numbers), tuple(dict.fromkeys(LIST.findall(statement))))


def _array(items: Sequence[int | str]) -> str:
    """Return a list as PostgreSQL writes an array; the statement says of which type."""
    return f"{{{','.join(map(_item, items))}}}"


def _item(item: int | str) -> str:
    if isinstance(item, int):
        return str(item)
    escaped = item.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'
