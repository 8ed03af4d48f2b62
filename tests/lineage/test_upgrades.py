"""What an earlier version has written is opened, asked and gone on with (docs/upgrades.md).

``data/version-N.db.gz`` is a lineage with version N of the tables: a campaign of six trials on the
toy pack, as a recipelab with these tables wrote it; ``.jsonl.gz`` is what that one exported.
Whoever raises ``SCHEMA`` adds a file with the tables before.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from recipelab.campaign.campaign import Campaign
from recipelab.core.trial import Status
from recipelab.exchange.files import import_campaign
from recipelab.lineage import LineageStore
from recipelab.lineage.opening import OLDEST, SCHEMA, open_database
from recipelab.plan import plan_of
from tests.lineage.helpers import outcome, proposal

DATA = Path(__file__).parent / "data"
WRITTEN = sorted(DATA.glob("version-*.db.gz"))
EXPORTED = sorted(DATA.glob("version-*.jsonl.gz"))

SCORES = [34.050, 31.312, 34.050, 36.094, 55.211, 29.816, 28.120]
KEPT = [1, 5, 6]


def unpacked(file: Path, folder: Path) -> Path:
    there = folder / file.name.removesuffix(".gz")
    there.write_bytes(gzip.decompress(file.read_bytes()))
    return there


def check_campaign(store: LineageStore) -> None:
    """Everything that the earlier version has shown of its campaign is there."""
    trials = list(store.trials("old", order="oldest"))
    assert [trial.number for trial in trials] == list(range(7))
    assert [trial.score for trial in trials] == pytest.approx(SCORES, abs=1e-3)
    assert [trial.number for trial in trials if trial.status is Status.KEPT] == KEPT
    assert [link.number for link in store.chain("old", 6)][-1] == 6
    best = store.trial("old", 6)
    assert best.outcome is not None and "2.25" in best.diff
    assert best.outcome.gates and best.outcome.seed_runs
    assert "X = 2.25" in store.files("old", 6)["recipe/train.py"]
    assert 2 in [trial.number for trial in store.trials("old", text="PADDING")]
    assert not list(store.trials("old", text="nowhere"))


def test_there_is_a_file_of_the_oldest_version() -> None:
    assert WRITTEN[0].name == f"version-{OLDEST}.db.gz"
    assert EXPORTED[0].name == f"version-{OLDEST}.jsonl.gz"


@pytest.mark.parametrize("file", WRITTEN, ids=lambda file: file.name)
def test_a_lineage_of_an_earlier_version_opens_and_goes_on(file: Path, tmp_path: Path) -> None:
    lineage = unpacked(file, tmp_path)
    with LineageStore.open(lineage) as store:
        check_campaign(store)
        plan = plan_of(store.campaign("old"))
        assert (plan.limits.trials, plan.sandbox) == (6, "local")
        new = store.propose(
            "old",
            proposal(),
            parents=(6,),
            files=store.files("old", 6),
            digest="new",
            diff="-x\n+y\n",
            round_number=None,
        )
        store.record("old", new, outcome(Status.DISCARDED, 40.0))
    with LineageStore.open(lineage) as store:
        assert next(iter(store.trials("old", order="newest"))).score == 40.0
    database = open_database(lineage, create=False)
    with database.writing() as transaction:
        assert transaction.value("SELECT max(version) FROM recipelab_lineage") == SCHEMA
    database.close()


@pytest.mark.parametrize("file", WRITTEN, ids=lambda file: file.name)
def test_its_campaign_is_read_and_exported(file: Path, tmp_path: Path) -> None:
    unpacked(file, tmp_path).rename(tmp_path / "lineage.db")
    with Campaign.open("old", home=tmp_path) as campaign:
        assert campaign.best.number == 6


@pytest.mark.parametrize("file", EXPORTED, ids=lambda file: file.name)
def test_an_export_of_an_earlier_version_is_imported(file: Path, tmp_path: Path) -> None:
    with LineageStore.open(tmp_path / "lineage.db", create=True) as store:
        imported = import_campaign(store, unpacked(file, tmp_path), "old")
        assert not imported.damage
        check_campaign(store)
