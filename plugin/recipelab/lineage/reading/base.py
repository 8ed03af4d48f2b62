"""What all readers of the store share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine

from recipelab.lineage.database import reading
from recipelab.lineage.finding import find_campaign


class Asking:
    """An open database, and one moment of it for each answer.

    Args:
        engine: The open database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._read_engine = reading(engine)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        # A connection is one transaction: all the queries of an answer see the same moment.
        with self._read_engine.connect() as connection:
            yield connection

    @contextmanager
    def _asking(self, campaign: str) -> Iterator[tuple[Connection, int]]:
        with self._reading() as connection:
            yield connection, find_campaign(connection, campaign)["id"]
