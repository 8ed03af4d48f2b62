"""Trials: what goes in comes out, once, whoever writes at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipelab.core.errors import LineageError
from recipelab.core.trial import (
    Failure,
    FailureKind,
    GateResult,
    Outcome,
    Phase,
    PhaseTiming,
    Proposal,
    SeedRun,
    Status,
)
from recipelab.lineage import LineageStore
from recipelab.lineage.values import CUT_MARK
from tests.lineage.conftest import DATABASES, MakeDatabase
from tests.lineage.helpers import (
    CAMPAIGN,
    FILES,
    OUTCOMES,
    PROPOSALS,
    TEXT,
    cleaned,
    cleaned_edits,
    cleaned_outcome,
    judged,
    outcome,
    proposal,
    propose,
    with_campaign,
)


@pytest.fixture(scope="module", params=DATABASES)
def shared(request: pytest.FixtureRequest, make_database: MakeDatabase) -> Iterator[LineageStore]:
    with with_campaign(make_database(request.param)) as store:
        propose(store)
        yield store


@settings(max_examples=60, deadline=None)
@given(
    proposed=PROPOSALS,
    came=OUTCOMES,
    files=st.dictionaries(TEXT, TEXT, max_size=3),
    at_once=st.booleans(),
)
def test_what_is_stored_is_read_again(
    shared: LineageStore, proposed: Proposal, came: Outcome, files: dict[str, str], at_once: bool
) -> None:
    rest: dict[str, Any] = {
        "parents": (0,),
        "digest": "d",
        "diff": "+\0",
        "round_number": None,
    }
    if at_once:
        number = shared.propose_and_record(CAMPAIGN, proposed, came, files=files, **rest)
    else:
        number = shared.propose(CAMPAIGN, proposed, files=files, **rest)
        assert shared.trial(CAMPAIGN, number).in_flight
        shared.record(CAMPAIGN, number, came)
    record = shared.trial(CAMPAIGN, number)
    assert record.outcome == cleaned_outcome(came)
    assert record.edits == cleaned_edits(proposed.edits)
    assert record.hypothesis == cleaned(proposed.hypothesis)
    assert (record.specialist, record.surface) == (
        cleaned(proposed.specialist),
        cleaned(proposed.surface),
    )
    assert record.expected_delta == proposed.expected_delta
    assert (record.number, record.parents, record.round) == (number, (0,), None)
    assert (record.digest, record.diff) == ("d", "+\ufffd")
    expected = {cleaned(path): cleaned(content) for path, content in files.items()}
    assert shared.files(CAMPAIGN, number) == expected


def test_times_are_aware_and_in_utc(store: LineageStore) -> None:
    before = datetime.now(UTC)
    record = store.trial(CAMPAIGN, judged(store, Status.BASELINE))
    assert record.judged_at is not None
    assert before <= record.proposed_at <= record.judged_at <= datetime.now(UTC)
    assert record.proposed_at.utcoffset() == timedelta(0)
    brief = store.brief(CAMPAIGN, record.number)
    assert (brief.proposed_at, brief.judged_at) == (record.proposed_at, record.judged_at)
    assert store.campaign(CAMPAIGN).created_at.utcoffset() == timedelta(0)


def test_long_text_is_cut_with_a_mark_and_a_log_keeps_its_end(store: LineageStore) -> None:
    failure = Failure(Phase.TRAIN, FailureKind.OOM, "s" * 501, "e" * 4_001)
    came = replace(
        outcome(Status.CRASHED),
        log_tail="a" * 9_000 + "z" * 9_000,
        failure=failure,
        reason="r" * 9_000,
    )
    number = store.propose_and_record(
        CAMPAIGN,
        proposal("h" * 4_001),
        came,
        parents=(),
        files={},
        digest="",
        diff="d" * 200_001,
        round_number=None,
    )
    record = store.trial(CAMPAIGN, number)
    kept = record.outcome
    assert kept is not None and kept.failure is not None
    assert (len(record.hypothesis), len(record.diff)) == (4_000, 200_000)
    assert (len(kept.log_tail), len(kept.failure.excerpt)) == (16_000, 4_000)
    assert record.hypothesis.endswith(f"h{CUT_MARK}") and record.diff.endswith(f"d{CUT_MARK}")
    assert kept.log_tail.startswith(f"{CUT_MARK}a") and kept.log_tail.endswith("z" * 9_000)
    assert store.trial(CAMPAIGN, propose(store)).hypothesis == proposal().hypothesis


def test_text_at_its_limit_is_kept_whole(store: LineageStore) -> None:
    number = store.propose(
        CAMPAIGN,
        proposal("h" * 4_000),
        parents=(),
        files={},
        digest="",
        diff="",
        round_number=None,
    )
    assert store.trial(CAMPAIGN, number).hypothesis == "h" * 4_000


def test_a_trial_is_of_a_round_that_there_is(store: LineageStore) -> None:
    rest: dict[str, Any] = {"parents": (), "files": FILES, "digest": "", "diff": ""}
    with pytest.raises(LineageError, match=rf"{CAMPAIGN} has no round 1; it has none yet"):
        store.propose(CAMPAIGN, proposal(), **rest, round_number=1)
    store.start_round(CAMPAIGN)
    number = store.propose(CAMPAIGN, proposal(), **rest, round_number=1)
    assert store.trial(CAMPAIGN, number).round == store.brief(CAMPAIGN, number).round == 1


def test_a_trial_is_judged_once(store: LineageStore) -> None:
    number = judged(store, Status.DISCARDED)
    with pytest.raises(LineageError, match=r"trial 0 of night-1 is judged already: discarded"):
        store.record(CAMPAIGN, number, outcome(Status.KEPT))
    assert store.trial(CAMPAIGN, number).status is Status.DISCARDED


def test_an_aborted_trial_is_judged_again_and_nothing_old_stays(store: LineageStore) -> None:
    number = propose(store)
    failure = Failure(None, FailureKind.INFRASTRUCTURE, "daemon gone", "daemon gone", 3)
    store.record(CAMPAIGN, number, replace(outcome(Status.ABORTED), failure=failure))
    store.record(CAMPAIGN, number, outcome(Status.KEPT))
    assert store.trial(CAMPAIGN, number).outcome == outcome(Status.KEPT)
    with pytest.raises(LineageError, match="judged already: kept"):
        store.record(CAMPAIGN, number, outcome(Status.ABORTED))


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "came",
    [
        outcome(score=NAN),
        outcome(score=INF),
        replace(outcome(), delta_se=NAN),
        replace(outcome(), gates=(GateResult("g", NAN, 1.0, 1.0),)),
        replace(outcome(), seed_runs=(SeedRun(0, (), {"m": INF}),)),
        replace(outcome(), seed_runs=(SeedRun(0, (PhaseTiming(Phase.TRAIN, 1.0, NAN),)),)),
    ],
)
def test_a_figure_that_is_no_number_is_refused_and_leaves_no_trace(
    store: LineageStore, came: Outcome
) -> None:
    number = propose(store)
    with pytest.raises(ValueError, match="must be a finite number"):
        store.record(CAMPAIGN, number, came)
    with pytest.raises(ValueError, match="must be a finite number"):
        store.propose_and_record(
            CAMPAIGN, proposal(), came, parents=(), files={}, digest="", diff="", round_number=None
        )
    with pytest.raises(ValueError, match="expected_delta must be a finite number"):
        store.propose(
            CAMPAIGN,
            replace(proposal(), expected_delta=NAN),
            parents=(),
            files={},
            digest="",
            diff="",
            round_number=None,
        )
    assert store.counts(CAMPAIGN) == {None: 1}


def test_threads_get_numbers_of_their_own(store: LineageStore) -> None:
    start = threading.Barrier(8)

    def work(_: int) -> list[int]:
        start.wait()
        return [propose(store) for _ in range(12)]

    with ThreadPoolExecutor(8) as pool:
        numbers = [number for given_out in pool.map(work, range(8)) for number in given_out]
    assert sorted(numbers) == list(range(96))
    assert [record.number for record in store.in_flight(CAMPAIGN)] == list(range(96))


def test_two_stores_on_a_file_get_numbers_of_their_own(store: LineageStore) -> None:
    with LineageStore.open(store.url) as other, ThreadPoolExecutor(2) as pool:
        work = [pool.submit(propose, opened) for _ in range(20) for opened in (store, other)]
        assert sorted(job.result() for job in work) == list(range(40))


def test_readers_do_not_wait_for_a_writer(store: LineageStore) -> None:
    propose(store)
    with store._writing() as transaction:
        transaction.run("UPDATE trial_text SET edits = '[]'")
        with ThreadPoolExecutor(1) as pool:
            record = pool.submit(store.trial, CAMPAIGN, 0).result(timeout=5)
    assert record.edits == proposal().edits
    assert store.trial(CAMPAIGN, 0).edits == ()


def test_files_are_stored_once_by_content(store: LineageStore) -> None:
    for _ in range(3):
        propose(store)
    assert store.files(CAMPAIGN, 2) == FILES
    (hashes,) = store.file_hashes(CAMPAIGN, [2]).values()
    assert list(hashes) == sorted(FILES)
    assert {path: store.file_text(key) for path, key in hashes.items()} == FILES
    with pytest.raises(LineageError, match="no recipe in the lineage has a file"):
        store.file_text("0" * 64)
    with store._reading() as transaction:
        assert transaction.value("SELECT count(*) FROM recipe_file") == 2


def test_counts_and_in_flight(store: LineageStore) -> None:
    assert store.counts(CAMPAIGN) == {} and store.trial_count(CAMPAIGN) == 0
    for status in (Status.KEPT, Status.BASELINE, Status.KEPT):
        judged(store, status)
    running = propose(store)
    assert list(store.counts(CAMPAIGN).items()) == [
        (Status.BASELINE, 1),
        (Status.KEPT, 2),
        (None, 1),
    ]
    assert store.trial_count(CAMPAIGN) == 4
    assert [record.number for record in store.in_flight(CAMPAIGN)] == [running]


def test_the_best_is_the_last_judged_kept_whatever_its_number(store: LineageStore) -> None:
    with pytest.raises(LineageError, match="has no trial 0; it has none yet"):
        store.best(CAMPAIGN)
    judged(store, Status.BASELINE)
    assert store.best(CAMPAIGN).number == 0
    early, late = propose(store, 0), propose(store, 0)
    store.record(CAMPAIGN, late, outcome(Status.KEPT))
    store.record(CAMPAIGN, early, outcome(Status.KEPT))
    judged(store, Status.DISCARDED, 0)
    assert store.best(CAMPAIGN).number == early


def test_a_chain_goes_from_the_root_by_first_parents(store: LineageStore) -> None:
    for parents in ((), (0,), (0,), (2, 1), (3,)):
        propose(store, *parents)
    assert [record.number for record in store.chain(CAMPAIGN, 4)] == [0, 2, 3, 4]
    assert store.trial(CAMPAIGN, 3).parents == (2, 1)
    assert [record.number for record in store.chain(CAMPAIGN, 0)] == [0]


def test_a_long_chain_is_whole(store: LineageStore) -> None:
    propose(store)
    for number in range(20):
        propose(store, number)
    chain = store.chain(CAMPAIGN, 20)
    assert [record.number for record in chain] == list(range(21))
    assert [record.parents for record in chain[1:]] == [(number,) for number in range(20)]


def test_a_recipe_is_found_again_if_it_was_measured(store: LineageStore) -> None:
    judged(store, Status.REJECTED, digest="a")
    judged(store, Status.ABORTED, digest="a")
    assert store.find_digest(CAMPAIGN, "a") is None
    running = propose(store, digest="a")
    judged(store, Status.CRASHED, digest="a")
    found = store.find_digest(CAMPAIGN, "a")
    assert found is not None and found.number == running
    assert store.find_digest(CAMPAIGN, "\ud800") is None


def test_a_lineage_is_there_after_it_was_closed(database: str) -> None:
    with with_campaign(database) as store:
        number, url = judged(store, Status.KEPT), store.url
        record = store.trial(CAMPAIGN, number)
    with LineageStore.open(url) as store:
        assert store.trial(CAMPAIGN, number) == record


@pytest.mark.parametrize("status", [None, Status.CRASHED, Status.GATE_MISSED, Status.ABORTED])
def test_a_starting_recipe_that_was_not_measured_begins_anew(
    store: LineageStore, status: Status | None
) -> None:
    number = propose(store, digest="old") if status is None else judged(store, status, digest="old")
    files = {**FILES, "recipe/train.py": "x = 5\n"}
    store.begin_anew(CAMPAIGN, number, files=files, digest="new", meaning="mended")
    record = store.trial(CAMPAIGN, number)
    assert (record.outcome, store.files(CAMPAIGN, number)) == (None, files)
    assert store.find_digest(CAMPAIGN, "old") is None
    found = store.find_digest(CAMPAIGN, "new")
    assert found is not None and found.number == number
    assert store.counts(CAMPAIGN) == {None: 1}
    store.record(CAMPAIGN, number, outcome(Status.BASELINE))
    for refused in (number, propose(store, number)):
        with pytest.raises(LineageError, match="cannot begin anew; valid: a starting recipe"):
            store.begin_anew(CAMPAIGN, refused, files=files, digest="", meaning="")


def test_a_trial_of_the_same_meaning_is_found_but_for_how_it_ended(store: LineageStore) -> None:
    for status in (Status.OVERSIZE, Status.CRASHED):
        number = store.propose(
            CAMPAIGN, proposal(), parents=(), files=FILES, digest=status, diff="",
            round_number=None, meaning="m",
        )  # fmt: skip
        store.record(CAMPAIGN, number, outcome(status))
    first = store.find_meaning(CAMPAIGN, "m")
    second = store.find_meaning(CAMPAIGN, "m", but=(Status.OVERSIZE,))
    assert first is not None and second is not None
    assert (first.status, second.status) == (Status.OVERSIZE, Status.CRASHED)
    assert store.find_meaning(CAMPAIGN, "m", but=(Status.OVERSIZE, Status.CRASHED)) is None


def test_a_campaign_goes_on_with_other_settings(store: LineageStore) -> None:
    record = store.reopen_campaign(
        CAMPAIGN, trials=30, model="openai:a", sandbox="docker", settings={"seal": {"a": "b"}}
    )
    assert record == store.campaign(CAMPAIGN)
    assert (record.trials, record.model, record.sandbox) == (30, "openai:a", "docker")
    assert record.settings == {"slots": 2, "seal": {"a": "b"}}
    assert store.reopen_campaign(CAMPAIGN).settings == record.settings


def test_as_many_trials_in_flight_as_are_asked_for(store: LineageStore) -> None:
    numbers = [propose(store) for _ in range(4)]
    assert [brief.number for brief in store.in_flight_briefs(CAMPAIGN, limit=2)] == numbers[:2]
    assert [brief.number for brief in store.in_flight_briefs(CAMPAIGN)] == numbers


def test_a_moment_knows_no_trial_that_came_after_it(store: LineageStore) -> None:
    propose(store)
    with store.moment():
        assert store.trial_count(CAMPAIGN) == 1
        with ThreadPoolExecutor(1) as other:
            number = other.submit(propose, store).result()
            assert other.submit(store.trial, CAMPAIGN, number).result().number == number
        with pytest.raises(LineageError, match=f"no trial {number}"):
            store.trial(CAMPAIGN, number)
    assert store.trial(CAMPAIGN, number).number == number
