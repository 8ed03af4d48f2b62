"""Open lineages with one campaign, in each kind of database."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import DBAPIError

from recipelab.lineage import LineageStore
from tests.lineage.helpers import with_campaign

DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_server() -> str:
    """URL of a server, from RECIPELAB_TEST_POSTGRES or as psql finds it; skips if there is none."""
    url = os.environ.get("RECIPELAB_TEST_POSTGRES", "postgresql+psycopg:///postgres")
    required = os.environ.get("RECIPELAB_REQUIRE_POSTGRES") == "1"
    try:
        _run(url, "SELECT 1")
    except (DBAPIError, ModuleNotFoundError) as error:
        if required:
            pytest.fail(f"PostgreSQL is required: {error}")
        pytest.skip(f"no PostgreSQL: {error}")
    return url


MakeDatabase = Callable[[str], str]


@pytest.fixture(scope="session")
def make_database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MakeDatabase]:
    """Makes an empty database of a kind, and gives its URL."""
    made: list[tuple[str, str]] = []

    def make(kind: str) -> str:
        if kind == "sqlite":
            return f"sqlite:///{tmp_path_factory.mktemp('lineage') / 'lineage.db'}"
        server = request.getfixturevalue("postgres_server")
        schema = f"recipelab_test_{os.getpid()}_{next(_numbers)}"
        _run(server, f"CREATE SCHEMA {schema}")
        made.append((server, schema))
        url = make_url(server).update_query_dict({"options": f"-csearch_path={schema}"})
        return url.render_as_string(hide_password=False)

    yield make
    for server, schema in made:
        _run(server, f"DROP SCHEMA {schema} CASCADE")


def _run(server: str, statement: str) -> None:
    engine = create_engine(server)
    with engine.begin() as connection:
        connection.execute(text("SET client_min_messages = warning"))
        connection.execute(text(statement))
    engine.dispose()


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest, make_database: MakeDatabase) -> str:
    """URL of an empty database, of each kind in turn."""
    return make_database(request.param)


@pytest.fixture
def store(database: str) -> Iterator[LineageStore]:
    """An open lineage with one campaign."""
    with with_campaign(database) as opened:
        yield opened
