"""A lineage of an earlier version is upgraded, whole or not at all; a damaged one says so."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from recipelab.core.errors import LineageError
from recipelab.core.trial import FailureKind, Status
from recipelab.lineage import LineageStore, TrialFilter, TrialState
from tests.lineage.helpers import CAMPAIGN, judged, outcome, proposal, with_campaign

OLD = Path(__file__).parent / "data" / "v1.sql"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A lineage as the first version made it."""
    file = tmp_path / "lineage.db"
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(OLD.read_text("utf-8"))
    connection.close()
    return file


def rows(file: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(file)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_everything_is_there_after_the_upgrade(old: Path) -> None:
    before = rows(
        old,
        "SELECT campaign.name, trial.number, status, hypothesis, score, diff, reason FROM trial "
        "JOIN campaign ON campaign.id = campaign_id ORDER BY campaign_id, number",
    )
    messages = rows(old, "SELECT count(*) FROM message")
    with LineageStore.open(old) as store:
        names = [campaign.name for campaign in store.campaigns()]
        after = [
            (
                name,
                record.number,
                record.status,
                record.hypothesis,
                record.outcome.score if record.outcome else None,
                record.diff,
                record.outcome.reason if record.outcome else "",
            )
            for name in names
            for record in store.query(name, TrialFilter(order="oldest", limit=200)).items
        ]
        assert after == before
        assert sum(len(store.messages(name)) for name in names) == messages[0][0]
        for name in names:
            counts = store.counts(name)
            found = [row[2] for row in before if row[0] == name]
            assert counts == {status: found.count(status) for status in counts}
            for record in store.in_flight(name):
                assert record.state is TrialState.PROPOSED


def test_the_old_file_is_kept_beside_it(old: Path) -> None:
    LineageStore.open(old).close()
    copy = old.with_name("lineage.db.v1.bak")
    assert rows(copy, "SELECT version FROM recipelab_lineage") == [(1,)]
    assert rows(old, "SELECT max(version) FROM recipelab_lineage") == [(3,)]


def test_an_upgraded_lineage_goes_on(old: Path) -> None:
    with LineageStore.open(old) as store:
        name = store.campaigns()[0].name
        failed = store.query(name, TrialFilter(failure_kinds=tuple(FailureKind))).items
        groups = store.failures(name).items
        assert sum(group.count for group in groups) == len(failed)
        number = store.trial_count(name)
        best = store.best(name).number
        assert number == store.propose(
            name,
            proposal("on top of what was there"),
            parents=(best,),
            files={"a.py": "x = 1\n"},
            digest="new",
            diff="",
            round_number=None,
        )
        store.record(name, number, outcome(Status.DISCARDED))
        found = store.briefs(name, TrialFilter(text="on top of what was there"))
        assert [brief.number for brief in found.items] == [number]


def test_a_damaged_one_is_left_as_it_is(old: Path, tmp_path: Path) -> None:
    with sqlite3.connect(old) as connection:
        connection.execute("UPDATE trial SET status = 'great' WHERE number = 0")
    connection.close()
    kept = tmp_path / "kept.db"
    shutil.copy(old, kept)
    with pytest.raises(LineageError, match="'great' is not a valid Status"):
        LineageStore.open(old)
    assert old.read_bytes() == kept.read_bytes()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_pages_that_were_overwritten_are_told_in_words(tmp_path: Path, share: float) -> None:
    file = tmp_path / "lineage.db"
    with with_campaign(file) as store:
        for _ in range(40):
            judged(store, Status.DISCARDED)
    whole = file.read_bytes()
    start = max(4_096, int(share * len(whole)) // 4_096 * 4_096)
    torn = whole[:start] + b"\xff" * (len(whole) - start)
    file.write_bytes(torn)
    with pytest.raises(LineageError), LineageStore.open(file) as store:
        store.counts(CAMPAIGN)
        store.query(CAMPAIGN, TrialFilter(limit=200))
        store.surfaces(CAMPAIGN)
        for number in range(40):
            store.files(CAMPAIGN, number)
            store.trial(CAMPAIGN, number)
    assert file.read_bytes() == torn
