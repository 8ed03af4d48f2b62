"""Opens a lineage in a PostgreSQL database."""

from __future__ import annotations

from contextlib import ExitStack

from sqlalchemy import URL, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError

from recipelab.core.errors import LineageError
from recipelab.lineage.schema.making import make_tables, version_of
from recipelab.lineage.schema.upgrade import upgrade
from recipelab.lineage.tables import SCHEMA

_MAKING = 7_243_117_905
"""A number of our own: those who make or upgrade tables take turns by it."""


def open_postgres(url: URL) -> Engine:
    """Opens a database, and makes or upgrades the tables.

    Raises:
        LineageError: The driver is missing, the server cannot be reached, or the database holds
            something else or a newer version.
    """
    try:
        engine = create_engine(url.set(drivername="postgresql+psycopg"), pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise LineageError(
            "a lineage in PostgreSQL needs the driver psycopg: pip install 'recipelab[postgres]'"
        ) from error
    shown = url.render_as_string(hide_password=True)
    with ExitStack() as on_error:
        on_error.callback(engine.dispose)
        try:
            with engine.begin() as connection:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MAKING})
                version = version_of(connection, shown)
                if version == 0:
                    make_tables(connection)
                elif version != SCHEMA:
                    upgrade(connection, version)
        except DBAPIError as error:
            cause = str(error.orig).strip()
            raise LineageError(f"cannot open the lineage {shown}: {cause}") from error
        on_error.pop_all()
    return engine


def reading_postgres(engine: Engine) -> Engine:
    """The same engine for answers: all the queries of one see the same moment."""
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
