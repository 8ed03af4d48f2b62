"""Opens a lineage where its address says: a SQLite file, or a PostgreSQL database."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from sqlalchemy import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError

from recipelab.core.errors import LineageError
from recipelab.lineage.schema.postgres import open_postgres, reading_postgres
from recipelab.lineage.schema.sqlite import open_sqlite, writing_sqlite

_SQLITE, _POSTGRES = "sqlite", "postgresql"


def open_engine(target: str | PathLike[str]) -> Engine:
    """Opens a lineage, or makes a new one.

    Args:
        target: Path of the file, or its URL as ``sqlite:///folder/lineage.db``, or the URL of a
            database as ``postgresql+psycopg://user:password@host/name``.

    Returns:
        An engine; see :func:`reading` and :func:`writing`.

    Raises:
        LineageError: There is no lineage, or one of a newer version (it is left as it is), or it
            cannot be opened or made.
    """
    if not isinstance(target, str) or "://" not in target:
        return open_sqlite(Path(target).absolute())
    try:
        url = make_url(target)
    except ArgumentError as error:
        raise LineageError(f"not a database URL: {target!r}") from error
    if url.get_backend_name() == _POSTGRES and url.drivername in (
        _POSTGRES,
        f"{_POSTGRES}+psycopg",
    ):
        return open_postgres(url)
    return open_sqlite(_file_of(url))


def _file_of(url: URL) -> Path:
    if url.get_backend_name() != _SQLITE or url.query or url.database in (None, "", ":memory:"):
        shown = url.render_as_string(hide_password=True)
        raise LineageError(
            "a lineage is a SQLite file, as sqlite:///folder/lineage.db, or a PostgreSQL "
            f"database, as postgresql+psycopg://user:password@host/name: {shown!r}"
        )
    return Path(str(url.database)).absolute()


def reading(engine: Engine) -> Engine:
    """The engine for answers: all the queries of one see the same moment."""
    return engine if engine.dialect.name == _SQLITE else reading_postgres(engine)


def writing(engine: Engine) -> Engine:
    """The engine for transactions that write."""
    return writing_sqlite(engine) if engine.dialect.name == _SQLITE else engine
