"""What stands behind judgments is kept, and so is what was measured after them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipelab.core.errors import LineageError
from recipelab.core.trial import (
    Certificate,
    Checkpoint,
    Evidence,
    Failure,
    FailureKind,
    GateResult,
    Outcome,
    Phase,
    PhaseTiming,
    SeedRun,
    Standing,
    Status,
)
from recipelab.lineage import LineageStore
from tests.lineage.helpers import CAMPAIGN, FILES, outcome, proposal, with_campaign


def propose(store: LineageStore) -> int:
    """Adds a trial in flight and gives its number."""
    return store.propose(
        CAMPAIGN, proposal("why"), parents=(), files=FILES, digest="", diff="", round_number=None
    )


def tried(store: LineageStore, status: Status, evidence: Evidence | None = None) -> int:
    """Adds a judged trial and gives its number."""
    number = propose(store)
    store.record(CAMPAIGN, number, Outcome(status, "so", evidence=evidence))
    return number


def test_confirmations_are_told_in_the_order_of_their_judgment(store: LineageStore) -> None:
    tried(store, Status.BASELINE)
    tried(store, Status.DISCARDED, Evidence(0, 4, 4))
    tried(store, Status.DISCARDED, Evidence(0, 4, 4, confirmed=4, level=0.01))
    tried(store, Status.KEPT, Evidence(0, 4, 4, confirmed=8, level=0.01))
    tried(store, Status.GATE_MISSED, Evidence(3, 4, 4, confirmed=4, level=0.01))
    # Kept on few seeds, and tested by no level.
    tried(store, Status.KEPT, Evidence(3, 2, 2, standing=Standing.PROVISIONAL))
    tried(store, Status.CRASHED)
    assert store.confirmations(CAMPAIGN) == (False, True, False)


def test_what_racing_saved_is_added_up(store: LineageStore) -> None:
    assert store.racing(CAMPAIGN)["planned"] == 0
    tried(store, Status.BASELINE)
    tried(store, Status.DISCARDED, Evidence(0, 10, 1, saved_seconds=90.0))
    tried(store, Status.KEPT, Evidence(0, 10, 10, confirmed=8))
    found = store.racing(CAMPAIGN)
    assert found == {"planned": 20, "left_out": 9, "saved_seconds": 90.0, "fresh_seeds": 8}


def test_evidence_comes_back_as_it_was(store: LineageStore) -> None:
    evidence = Evidence(
        *(3, 10, 4, 16, 12.5, 0.0004, 0.001, 2, Standing.CERTIFIED, 1, -0.5, 0.25, True, 6)
    )
    number = tried(store, Status.KEPT, evidence)
    found = store.trial(CAMPAIGN, number).outcome
    assert found is not None and found.evidence == evidence
    assert found.evidence.deterministic is True, "SQLite has no truth values"


def test_an_aborted_trial_loses_its_evidence_when_it_runs_again(store: LineageStore) -> None:
    number = tried(store, Status.ABORTED, Evidence(0, 4, 4, confirmed=4, level=0.01))
    store.record(CAMPAIGN, number, Outcome(Status.DISCARDED, "so"))
    assert store.confirmations(CAMPAIGN) == ()


def test_further_seed_runs_stay_apart_from_those_of_the_judgment(store: LineageStore) -> None:
    number = tried(store, Status.KEPT)
    runs = (SeedRun(7, (), {"metric": 1.5}), SeedRun(2**31 - 1, (), {"metric": 2.5}))
    store.add_further_runs(CAMPAIGN, number, runs[:1])
    store.add_further_runs(CAMPAIGN, number, runs[1:])
    assert store.further_runs(CAMPAIGN, number) == runs
    assert store.further_runs(CAMPAIGN, tried(store, Status.DISCARDED)) == ()
    found = store.trial(CAMPAIGN, number).outcome
    assert found is not None and found.seed_runs == ()


def test_a_figure_that_is_none_is_refused(store: LineageStore) -> None:
    number = tried(store, Status.KEPT)
    with pytest.raises(ValueError, match="metric"):
        store.add_further_runs(CAMPAIGN, number, [SeedRun(1, (), {"metric": float("nan")})])
    assert store.further_runs(CAMPAIGN, number) == ()


@settings(max_examples=25, deadline=None)
@given(text=st.text(max_size=30), number=st.floats(allow_nan=False, allow_infinity=False))
def test_certificates_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, text: str, number: float
) -> None:
    with with_campaign(tmp_path_factory.mktemp("lineage") / "lineage.db") as store:
        trial = tried(store, Status.KEPT)
        safe = text.replace("\0", "").encode("utf-8", "ignore").decode()
        found = Certificate(
            "certified", safe, score=number, gates=(GateResult("g", number, 1.0, -0.5),)
        )
        store.add_certificate(CAMPAIGN, trial, found)
        store.add_certificate(CAMPAIGN, trial, Certificate("not_certified"))
        records = store.certificates(CAMPAIGN)
    assert [record.trial for record in records] == [trial, trial]
    assert records[0].found == found


def test_nothing_is_certified_that_is_not_there(store: LineageStore) -> None:
    with pytest.raises(LineageError, match="has no trial 9"):
        store.add_certificate(CAMPAIGN, 9, Certificate("certified"))


def test_a_recipe_is_found_again_whatever_its_comments(store: LineageStore) -> None:
    def add(text: str) -> int:
        return store.propose(
            CAMPAIGN,
            proposal("why"),
            parents=(),
            files={"recipe/train.py": text},
            digest=text,
            diff="",
            round_number=None,
        )

    first = add("x = 1  # one\ny = 2\n")
    add("x = 2\ny = 2\n")
    again = store.find_same(CAMPAIGN, {"recipe/train.py": "# new\nx = 1\n\ny  =  2\n"})
    assert again is not None and again.number == first
    assert store.find_same(CAMPAIGN, {"recipe/train.py": "x = 1\ny = 3\n"}) is None
    store.record(CAMPAIGN, first, outcome(Status.ABORTED))
    assert store.find_same(CAMPAIGN, {"recipe/train.py": "x = 1\ny = 2\n"}) is None


RUN = SeedRun(
    7,
    (PhaseTiming(Phase.TRAIN, 2.5, 2.0, 64.0),),
    {"metric": 1.5},
    items=b"\x00\xff" * 9,
    artifact="ab" * 32,
)


def test_finished_runs_come_back_whole_for_the_same_recipe_beside_the_same_trial(
    store: LineageStore,
) -> None:
    number = propose(store)
    store.add_finished_run(CAMPAIGN, number, "d" * 64, RUN)
    store.add_finished_run(CAMPAIGN, number, "d" * 64, replace(RUN, measures={"metric": 9.0}))
    (found,) = store.finished_runs(CAMPAIGN, number, "d" * 64).values()
    assert (found, found.items, found.artifact) == (RUN, RUN.items, RUN.artifact)
    assert store.finished_runs(CAMPAIGN, number, "e" * 64) == {}
    assert store.finished_runs(CAMPAIGN, number, "d" * 64, beside=0) == {}
    assert store.finished_runs(CAMPAIGN, propose(store), "d" * 64) == {}


def failed(kind: FailureKind) -> Outcome:
    return Outcome(Status.ABORTED, "so", failure=Failure(None, kind, "s", "e"))


@pytest.mark.parametrize(
    ("ended", "stay"),
    [
        (Outcome(Status.DISCARDED, "so"), False),
        (failed(FailureKind.KILLED), False),
        (failed(FailureKind.INFRASTRUCTURE), True),
    ],
)
def test_finished_runs_are_kept_as_long_as_the_trial_may_run_again(
    store: LineageStore, ended: Outcome, stay: bool
) -> None:
    number = propose(store)
    store.add_finished_run(CAMPAIGN, number, "", RUN)
    store.record(CAMPAIGN, number, ended)
    assert bool(store.finished_runs(CAMPAIGN, number, "")) is stay


def test_a_checkpoint_that_is_recorded_needs_its_finished_runs_no_more(store: LineageStore) -> None:
    tried(store, Status.BASELINE)
    head = tried(store, Status.KEPT, Evidence(0, 2, 2, standing=Standing.PROVISIONAL))
    store.add_finished_run(CAMPAIGN, head, "", RUN)
    store.add_checkpoint(CAMPAIGN, Checkpoint(head, 0, True, False, "so", 4))
    assert store.finished_runs(CAMPAIGN, head, "") == {}
