"""What all writers of the store share."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, text

from recipelab.lineage.database import writing
from recipelab.lineage.reading.base import Asking, told_in_words

_NAMING = 7_243_117_906
"""A number of our own: those who name new campaigns take turns by it."""


class Writing(Asking):
    """An open database, and one transaction for each write.

    Args:
        engine: The open database.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._write_engine = writing(engine)
        self._turn = threading.Lock()

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._turn, told_in_words(), self._write_engine.begin() as connection:
            yield connection


def lock_names(connection: Connection) -> None:
    """Keeps others from naming a campaign until the transaction ends."""
    if connection.dialect.name != "sqlite":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _NAMING})
