"""Figures of campaigns whose answers are known."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipelab.analysis import campaign_stats, history_of
from recipelab.analysis.curve import sparkline
from recipelab.analysis.diversity import clusters
from recipelab.analysis.similarity import cosine, vectors
from recipelab.exchange.importing import import_campaign
from recipelab.lineage import LineageStore
from recipelab.trial import FailureKind, Proposal, Status
from tests.exchange.runs import airbench, write_run
from tests.tools.history import add_campaign, failed, measured, propose, rate, tell


@pytest.fixture
def store(project: Path) -> Iterator[LineageStore]:
    """A campaign of the toy pack (lower is better), with a known history."""
    with LineageStore.open("lineage.db") as opened:
        add_campaign(opened, "c")
        tell(opened, "c")
        yield opened


def test_a_known_campaign(store: LineageStore) -> None:
    facts = campaign_stats(history_of(store, "c"))
    assert (facts["trials"], facts["kept"]) == (5, 1)
    assert facts["by_status"] == {
        "baseline": 1,
        "kept": 1,
        "discarded": 2,
        "crashed": 1,
        "gate_missed": 1,
        "in_flight": 1,
    }
    assert facts["by_surface"]["opt"] == {
        "trials": 4,
        "kept": 1,
        "failed": 1,
        "by_status": {"kept": 1, "discarded": 2, "gate_missed": 1},
    }
    assert [point["score"] for point in facts["curve"]["points"]] == [10.0, 8.0]
    assert facts["best"]["change_percent"] == pytest.approx(-20.0)
    assert facts["failures"]["rate"] == pytest.approx(2 / 5)
    chain = facts["chain"]
    assert [item["trial"] for item in chain["best_chain"]] == [0, 1]
    assert (chain["best_depth"], chain["deepest"]) == (1, 2)
    assert facts["time"]["by_status"]["kept"]["cpu_seconds"] == pytest.approx(8.0)


def test_repeats_and_the_repair_of_a_near_miss(store: LineageStore) -> None:
    for n in range(3):
        number = propose(store, "c", 0, f"step {n}", rate("0.1", "0.3"), digest=f"d{n}")
        store.record("c", number, failed("ValueError: bad", FailureKind.VALUE, "ValueError: bad"))
    repair = propose(store, "c", 4, "trial 4 with a little less", rate("0.4", "0.35"))
    store.record("c", repair, measured(Status.KEPT, 7.0))
    facts = campaign_stats(history_of(store, "c"))
    repeats = facts["repeats"]
    assert (repeats["failures"], repeats["signatures"], repeats["repeated"]) == (5, 3, 2)
    assert repeats["most_frequent"][0]["count"] == 3
    misses = facts["near_misses"]
    assert (misses["count"], misses["repaired"], misses["kept_after_repair"]) == (1, 1, 1)
    (item,) = misses["trials"]
    assert item["trial"] == 4
    assert item["excess"] == {"accuracy": pytest.approx(0.02)}
    assert item["repaired_by"] == {"trial": repair, "how": "child", "kept": True}


def test_a_released_run(store: LineageStore, tmp_path: Path) -> None:
    import_campaign(store, write_run(tmp_path / "run", airbench()), "old")
    facts = campaign_stats(history_of(store, "old"))
    assert (facts["trials"], facts["kept"]) == (4, 1)
    assert facts["best"]["source_id"] == "004"
    assert facts["best"]["change_percent"] == pytest.approx(-5.0)
    assert facts["near_misses"]["count"] == 1
    assert facts["near_misses"]["trials"][0]["repaired_by"]["how"] == "named"


def test_effective_clusters_of_even_groups_are_their_number(store: LineageStore) -> None:
    add_campaign(store, "even")
    words = ["wider network layers", "smaller learning rate", "crop images randomly"]
    for n in range(9):
        propose_first(store, n, words[n % 3])
    found = campaign_stats(history_of(store, "even"))["diversity"]
    assert found["clusters"] == 3
    assert found["effective_clusters"] == pytest.approx(3.0)
    assert found["inverse_simpson"] == pytest.approx(3.0)


def propose_first(store: LineageStore, n: int, words: str) -> None:
    number = store.propose(
        "even",
        Proposal("opt", "opt", 0, words, 0.0, ()),
        parents=(),
        files={},
        digest=f"d{n}",
        diff="",
        round_number=None,
    )
    store.record("even", number, measured(Status.DISCARDED, 1.0))


@given(st.lists(st.text(max_size=30), max_size=12))
def test_every_text_is_in_one_cluster(texts: list[str]) -> None:
    found = clusters(texts)
    assert sorted(i for group in found for i in group) == list(range(len(texts)))
    for vector in vectors(texts):
        if vector:
            assert math.isclose(cosine(vector, vector), 1.0)


@given(st.lists(st.floats(-1e6, 1e6), max_size=200), st.integers(1, 80))
def test_a_sparkline_fits_its_width(values: list[float], width: int) -> None:
    assert len(sparkline(values, width)) == min(width, len(values))
