"""What all readers of the store share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DatabaseError, OperationalError

from recipelab.core.errors import LineageError
from recipelab.lineage.database import reading
from recipelab.lineage.finding import find_campaign

_MOMENT: ContextVar[tuple[Engine, Connection] | None] = ContextVar("moment", default=None)
"""The moment that answers see in the code that asked for one, and of which database."""


@contextmanager
def told_in_words() -> Iterator[None]:
    """Says what became of the database: gone, full, damaged, locked for too long.

    Raises:
        LineageError: Something did; it is no fault of the statement.
    """
    try:
        yield
    except DatabaseError as error:
        # Kinds below these mean that a statement of ours is wrong.
        if type(error) not in (DatabaseError, OperationalError):
            raise
        raise LineageError(f"the lineage cannot be read or written: {error.orig}") from error


class Asking:
    """An open database, and one moment of it for each answer.

    Args:
        engine: The open database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._read_engine = reading(engine)
        # No campaign is ever removed or renamed, so a name means the same one for ever.
        self._campaign_ids: dict[str, int] = {}

    @contextmanager
    def moment(self) -> Iterator[None]:
        """Within it, all answers see the lineage as it is at the first of them.

        Not for code that awaits, or that reads what it has itself written meanwhile.
        """
        with self._reading() as connection:
            before = _MOMENT.set((self._read_engine, connection))
            try:
                yield
            finally:
                _MOMENT.reset(before)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        held = _MOMENT.get()
        if held is not None and held[0] is self._read_engine:
            yield held[1]
            return
        # A connection is one transaction: all the queries of an answer see the same moment.
        with told_in_words(), self._read_engine.connect() as connection:
            yield connection

    @contextmanager
    def _asking(self, campaign: str) -> Iterator[tuple[Connection, int]]:
        with self._reading() as connection:
            if campaign not in self._campaign_ids:
                self._campaign_ids[campaign] = find_campaign(connection, campaign)["id"]
            yield connection, self._campaign_ids[campaign]
