"""The connection to PostgreSQL: what is sent together, and what comes of an error or an outage."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from recipelab.core.errors import LineageError
from recipelab.lineage.database import Database, Transaction
from recipelab.lineage.opening import open_database
from tests.lineage.conftest import MakeDatabase

pytestmark = pytest.mark.postgres

ODD = ["a", 'with "quotes"', "back\\slash", "{a,b}", "NULL", "", " ", "ü,'"]


@pytest.fixture
def opened(make_database: MakeDatabase) -> Iterator[Database]:
    """A database with a table of numbers and words."""
    database = open_database(make_database("postgres"), create=True)
    with database.writing() as transaction:
        transaction.run("CREATE TABLE said (number bigint PRIMARY KEY, word varchar)")
    yield database
    database.close()


def words(database: Database) -> list[str]:
    with database.reading() as transaction:
        return transaction.values("SELECT word FROM said ORDER BY number")


def say(transaction: Transaction, number: int, word: str) -> None:
    transaction.insert("said", number=number, word=word)


def backend(transaction: Transaction) -> int:
    return int(transaction.value("SELECT pg_backend_pid()"))


def end_backend(database: Database, number: int) -> None:
    other = open_database(database.url, create=False)
    with other.writing() as transaction:
        transaction.value("SELECT pg_terminate_backend(:pid, 5000)", pid=number)
    other.close()


def test_what_is_written_is_seen_by_the_next_question_and_by_others_after_the_end(
    opened: Database,
) -> None:
    with opened.writing() as transaction:
        for number, word in enumerate(ODD):
            say(transaction, number, word)
        assert transaction.value("SELECT count(*) FROM said") == len(ODD)
        assert words(opened) == []
    assert words(opened) == ODD


@pytest.mark.parametrize("asks", [False, True])
def test_an_error_of_what_was_written_undoes_the_transaction(opened: Database, asks: bool) -> None:
    import psycopg

    for _ in range(3):  # A statement is prepared at its second use, which an error undoes.
        with pytest.raises(psycopg.errors.UniqueViolation), opened.writing() as transaction:
            say(transaction, 1, "one")
            say(transaction, 1, "one again")
            say(transaction, 2, "two")
            transaction.run("UPDATE said SET word = :word", word="three")
            if asks:
                transaction.value("SELECT count(*) FROM said")
        assert words(opened) == []
    with opened.writing() as transaction:
        say(transaction, 1, "one")
        transaction.run("UPDATE said SET word = :word", word="three")
    assert words(opened) == ["three"]


def test_lists_have_any_words_and_none(opened: Database) -> None:
    with opened.writing() as transaction:
        for number, word in enumerate(ODD):
            say(transaction, number, word)
    statement = "SELECT number FROM said WHERE word IN :words AND number IN :numbers ORDER BY 1"
    with opened.reading() as transaction:
        for asked in (ODD, ODD[1:3], ODD[4:5], []):
            found = transaction.values(statement, words=asked, numbers=list(range(100)))
            assert found == [ODD.index(word) for word in asked]
        assert transaction.values(statement, words=ODD, numbers=[-1, 2**40, 3]) == [3]


def test_a_transaction_that_wrote_only_begins_on_a_new_connection_if_the_old_one_broke(
    opened: Database,
) -> None:
    with opened.reading() as transaction:
        ended = backend(transaction)
    end_backend(opened, ended)
    with opened.writing() as transaction:
        say(transaction, 1, "one")
        say(transaction, 2, "two")
    assert words(opened) == ["one", "two"]


def test_what_was_answered_is_not_sent_again(opened: Database) -> None:
    with (
        pytest.raises(LineageError, match="cannot be read or written"),
        opened.writing() as transaction,
    ):
        say(transaction, 1, "one")
        end_backend(opened, backend(transaction))
        say(transaction, 2, "two")
        transaction.value("SELECT count(*) FROM said")
    assert words(opened) == []


def test_who_waits_for_a_lock_holds_up_no_other_thread(opened: Database) -> None:
    lock = "SELECT pg_advisory_xact_lock(:key)"

    def waits() -> None:
        with opened.writing() as transaction:
            transaction.value(lock, key=7)
            say(transaction, 2, "two")

    with ThreadPoolExecutor(1) as pool:
        with opened.writing() as transaction:
            transaction.value(lock, key=7)
            waiting = pool.submit(waits)
            blocked = "SELECT 1 FROM pg_locks WHERE NOT granted AND objid = 7 LIMIT 1"
            while not transaction.value(blocked) and not waiting.done():
                pass
            say(transaction, 1, "one")
        waiting.result(timeout=60)
    assert words(opened) == ["one", "two"]
