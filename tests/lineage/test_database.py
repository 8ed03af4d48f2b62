"""Opening: what is no lineage is refused and left as it is; a killed writer loses nothing."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, inspect, text
from sqlmodel import Field, SQLModel

import recipelab
from recipelab.core.errors import LineageError
from recipelab.core.trial import Status
from recipelab.lineage import LineageStore
from recipelab.lineage.database import BUSY_MILLISECONDS
from recipelab.lineage.opening import OLDEST, SCHEMA, open_database
from tests.lineage.conftest import MakeDatabase
from tests.lineage.helpers import (
    CAMPAIGN,
    FILES,
    judged,
    outcome,
    proposal,
    propose,
    with_campaign,
)

ROOT = Path(__file__).parents[2]


def newer(path: Path) -> None:
    with_campaign(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE recipelab_lineage SET version = version + 1")
        connection.commit()


def too_old(path: Path) -> None:
    with_campaign(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"UPDATE recipelab_lineage SET version = {OLDEST - 1}")
        connection.commit()


def of_no_version(path: Path) -> None:
    with_campaign(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM recipelab_lineage")
        connection.commit()


def of_something_else(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE trial (id INTEGER)")


def damaged(path: Path) -> None:
    with_campaign(path).close()
    path.write_bytes(path.read_bytes()[:100] + b"\xff" * 4_000)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            newer,
            f"has version {SCHEMA + 1} of the lineage's tables, and this recipelab reads v",
        ),
        (
            too_old,
            rf"lineage\.db has version {OLDEST - 1} of .* reads versions {OLDEST} to {SCHEMA}",
        ),
        (of_no_version, "has no version of the lineage's tables"),
        (of_something_else, "is not a lineage: it is a database of something else"),
        (damaged, "cannot open the lineage"),
        (lambda path: path.write_text("hello"), "is not a lineage: it is no SQLite database"),
        (lambda path: path.write_bytes(bytes(5_000)), "is not a lineage: it is no SQLite"),
    ],
)
def test_a_file_that_is_no_lineage_is_left_as_it_is(
    tmp_path: Path, make: Callable[[Path], object], words: str
) -> None:
    path = tmp_path / "lineage.db"
    make(path)
    before = path.read_bytes()
    with pytest.raises(LineageError, match=words):
        LineageStore.open(path)
    assert path.read_bytes() == before


ADDED_AFTER = {
    2: ("finished_run", "turn_trial", "turn", "turn_view"),
    3: ("driver_test", "driver_round", "trial_lease", "driver"),
}
"""Tables that came after a version, in an order in which they can be dropped."""


def of_version(url: str, version: int) -> None:
    """Turns the tables of a lineage into those of an older version."""
    database = open_database(url, create=False)
    with database.writing() as transaction:
        for later in range(version, SCHEMA):
            for table in ADDED_AFTER[later]:
                transaction.run(f"DROP TABLE {table}")
        transaction.run(f"UPDATE recipelab_lineage SET version = {version}")
    database.close()


@pytest.mark.parametrize("version", range(OLDEST, SCHEMA))
def test_an_older_lineage_goes_on_as_it_is_and_keeps_turns_from_now_on(
    database: str, version: int
) -> None:
    with with_campaign(database) as store:
        judged(store, Status.BASELINE)
        before = store.trial(CAMPAIGN, 0)
    of_version(database, version)
    with ThreadPoolExecutor(4) as pool:  # whoever opens it, it is brought up to date once
        for store in pool.map(lambda _: LineageStore.open(database), range(4)):
            assert store.trial(CAMPAIGN, 0) == before
            assert store.turns(CAMPAIGN) == ()
            assert store.drivers(CAMPAIGN) == ()
            store.close()
    with LineageStore.open(database) as store:
        turn = store.add_turn(CAMPAIGN, "opt", view="all that was tried", round_number=None)
        number = propose(store, 0, turn=turn)
        found = store.turn_of(CAMPAIGN, number)
        assert found is not None and found.trials == (number,)
        assert store.turn_of(CAMPAIGN, 0) is None


def test_an_empty_file_becomes_a_lineage(tmp_path: Path) -> None:
    path = tmp_path / "lineage.db"
    path.touch()
    with with_campaign(path) as store:
        assert judged(store, Status.BASELINE) == 0


@pytest.mark.parametrize("name", ["lineage.db", "no/such/folder/lineage.db"])
def test_a_mistyped_path_is_an_error_and_makes_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(LineageError, match=r"no lineage at .*lineage\.db; a campaign makes one"):
        LineageStore.open(tmp_path / name)
    (tmp_path / "empty.db").touch()
    with pytest.raises(LineageError, match="no lineage at"):
        LineageStore.open(tmp_path / "empty.db")
    assert list(tmp_path.iterdir()) == [tmp_path / "empty.db"]
    assert (tmp_path / "empty.db").read_bytes() == b""


def test_what_cannot_be_opened_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "lineage.db"):
        with pytest.raises(LineageError, match="cannot open the lineage"):
            LineageStore.open(path, create=True)
        with pytest.raises(LineageError, match=str(path)):
            LineageStore.open(path)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://me:secret@host/db",
        "postgresql+other://me:secret@host/db",
        "sqlite://",
        "sqlite:///:memory:",
        "://",
        "a b://c",
    ],
)
def test_a_url_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(LineageError) as caught:
        LineageStore.open(url)
    assert "secret" not in str(caught.value)


def test_a_server_that_does_not_answer_is_told_in_words() -> None:
    with pytest.raises(
        LineageError, match=r"cannot open the lineage postgresql.*:\*\*\*@"
    ) as caught:
        LineageStore.open("postgresql+psycopg://me:secret@127.0.0.1:1/db")
    assert "secret" not in str(caught.value)


def test_a_missing_driver_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(LineageError, match=r"needs the driver psycopg: pip install 'recipelab\[p"):
        LineageStore.open("postgresql+psycopg://host/db")


def test_a_libpq_that_is_too_old_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psycopg.pq.version", lambda: 130_011)
    with pytest.raises(LineageError, match="needs libpq 14 or later, not 13"):
        LineageStore.open("postgresql+psycopg://host/db")


@pytest.mark.postgres
def test_a_database_of_something_else_or_a_newer_one_is_left_as_it_is(
    make_database: MakeDatabase,
) -> None:
    url = make_database("postgres")
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE trial (id INTEGER)"))
    with pytest.raises(LineageError, match="is a database of something else"):
        LineageStore.open(url)
    with engine.begin() as connection:
        assert inspect(connection).get_table_names() == ["trial"]
        connection.execute(text("DROP TABLE trial"))
    with pytest.raises(LineageError, match="no lineage at postgresql"):
        LineageStore.open(url)
    with engine.begin() as connection:
        assert inspect(connection).get_table_names() == []
    LineageStore.open(url, create=True).close()
    with engine.begin() as connection:
        connection.execute(text("UPDATE recipelab_lineage SET version = 99"))
    with pytest.raises(LineageError, match="has version 99 of the lineage's tables, and this"):
        LineageStore.open(url)
    engine.dispose()


@pytest.mark.parametrize("name", ["a b.db", "a%20b.db", "ü.db", "a#b.db", "a?b.db"])
def test_any_path_will_do_and_its_url_finds_it(tmp_path: Path, name: str) -> None:
    with with_campaign(tmp_path / name) as store:
        url = store.url
    assert (tmp_path / name).is_file()
    with LineageStore.open(tmp_path / name) as store:
        assert store.campaign(CAMPAIGN).name == CAMPAIGN
    with LineageStore.open(url) as store:
        assert store.campaign(CAMPAIGN).name == CAMPAIGN


def test_a_path_is_found_after_the_folder_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with with_campaign("lineage.db") as store:
        monkeypatch.chdir("elsewhere")
        with ThreadPoolExecutor(4) as pool:
            jobs = [pool.submit(store.campaigns) for _ in range(8)]
            assert all(len(job.result()) == 1 for job in jobs)
        with LineageStore.open(store.url) as again:
            assert len(again.campaigns()) == 1


def test_many_open_a_new_lineage_at_the_same_time(tmp_path: Path) -> None:
    names = [f"c{number}" for number in range(8)]
    for again in range(12):  # who is first is luck

        def opened(name: str, file: Path = tmp_path / f"{again}.db") -> None:
            with with_campaign(file, name):
                pass

        with ThreadPoolExecutor(len(names)) as pool:
            list(pool.map(opened, names))
        with LineageStore.open(tmp_path / f"{again}.db") as store:
            assert sorted(campaign.name for campaign in store.campaigns()) == names


def test_all_answers_of_a_moment_fit_together(store: LineageStore) -> None:
    propose(store)
    with LineageStore.open(store.url) as other:
        with store.moment():
            assert store.trial_count(CAMPAIGN) == 1
            propose(store)
            assert store.trial_count(CAMPAIGN) == len(store.in_flight(CAMPAIGN)) == 1
            assert other.trial_count(CAMPAIGN) == 2
        assert store.trial_count(CAMPAIGN) == len(store.in_flight(CAMPAIGN)) == 2


def test_commits_are_on_the_disk_and_references_hold(tmp_path: Path) -> None:
    with with_campaign(tmp_path / "lineage.db") as store, store._writing() as transaction:
        found = {
            name: transaction.value(f"PRAGMA {name}")
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    full = 2
    assert found == {
        "journal_mode": "wal",
        "synchronous": full,
        "foreign_keys": 1,
        "busy_timeout": BUSY_MILLISECONDS,
    }


def test_tables_of_the_user_stay_out(tmp_path: Path) -> None:
    class Mine(SQLModel, table=True):
        id: int = Field(primary_key=True)

    path = tmp_path / "lineage.db"
    with_campaign(path).close()
    with closing(sqlite3.connect(path)) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    assert "mine" not in names and "trial" in names


CHILD = """
import os, sys
from recipelab.lineage import LineageStore
from recipelab.core.trial import Status
from tests.lineage.conftest import MakeDatabase
from tests.lineage.helpers import CAMPAIGN, FILES, outcome, proposal

store = LineageStore.open(sys.argv[1])
given = dict(files=FILES, digest="", diff="", round_number=None)
while True:
    number = store.propose(CAMPAIGN, proposal(), parents=(), **given)
    store.record(CAMPAIGN, number, outcome(Status.DISCARDED, float(number)))
    os.write(1, f"{number}\\n".encode())
    number = store.propose_and_record(
        CAMPAIGN, proposal(), outcome(Status.REJECTED, float(number + 1)), parents=(), **given
    )
    os.write(1, f"{number}\\n".encode())
"""


def write_until_killed(path: Path, after: int, pause: float) -> list[int]:
    """Has a process write trials, kills it, and gives the numbers it reported as recorded."""
    paths = os.pathsep.join([str(ROOT), str(Path(recipelab.__file__).parents[1])])
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": paths},
    ) as child:
        assert child.stdout is not None
        told = [child.stdout.readline() for _ in range(after)]
        time.sleep(pause)
        child.send_signal(signal.SIGKILL)
        told += child.stdout.readlines()
    # The last line may be torn, but a number is told only after it was recorded.
    return [int(line) for line in told if line.endswith(b"\n")]


def test_a_killed_writer_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lineage.db"
    with_campaign(path).close()
    rng = random.Random(5)
    told: list[int] = []
    for _ in range(3):
        told += write_until_killed(path, rng.randint(1, 20), rng.uniform(0.0, 0.02))
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    assert len(told) == len(set(told)) >= 3
    with LineageStore.open(path) as store:
        for number in told:
            record = store.trial(CAMPAIGN, number)
            assert record.status is not None
            assert record.outcome == outcome(record.status, float(number))
            assert record.edits == proposal().edits
            assert store.files(CAMPAIGN, number) == FILES
        total = store.trial_count(CAMPAIGN)
        assert {store.trial(CAMPAIGN, number).number for number in range(total)} == set(
            range(total)
        )
        # A kill leaves at most the one trial that was proposed and not yet recorded.
        assert len(store.in_flight(CAMPAIGN)) <= 3


@pytest.mark.postgres
def test_connections_that_the_server_has_closed_are_replaced(
    make_database: Callable[[str], str],
) -> None:
    with with_campaign(make_database("postgres")) as store:
        with store._database.reading() as transaction:
            backend = transaction.value("SELECT pg_backend_pid()")
        with LineageStore.open(store.url) as other, other._database.writing() as transaction:
            transaction.value("SELECT pg_terminate_backend(:pid)", pid=backend)
        assert judged(store, Status.BASELINE) == 0
        assert store.trial_count(CAMPAIGN) == 1


@pytest.mark.postgres
def test_a_server_that_restarts_is_waited_for_and_one_that_was_never_there_is_not(
    make_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    connect, tries = psycopg.connect, [0]

    def refused(*args: Any, **further: Any) -> Any:
        tries[0] += 1
        if tries[0] < 3:
            raise psycopg.OperationalError("the database system is starting up")
        return connect(*args, **further)

    url = make_database("postgres")
    with with_campaign(url) as store:
        while store._database._free:
            store._database._free.pop().close()
        monkeypatch.setattr(psycopg, "connect", refused)
        assert judged(store, Status.BASELINE) == 0
    tries[0] = 0
    with pytest.raises(LineageError, match="starting up"):
        LineageStore.open(url)
    assert tries == [1]
