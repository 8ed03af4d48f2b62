"""What triggers keep stays in step with the trials: the tally and the text index."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipelab.core.trial import Failure, FailureKind, Outcome, Phase, Status
from recipelab.lineage import LineageStore, TrialFilter
from recipelab.lineage.database import Transaction
from tests.lineage.helpers import CAMPAIGN, outcome, proposal, with_campaign

COUNTED = """
SELECT surface, specialist, coalesce(status, ''), coalesce(failure_id, 0), count(*)
FROM trial GROUP BY surface, specialist, coalesce(status, ''), coalesce(failure_id, 0)
ORDER BY 1, 2, 3, 4
"""
TALLIED = """
SELECT surface, specialist, status, failure_id, trials FROM tally ORDER BY 1, 2, 3, 4
"""
BOUNDS = """
SELECT surface, specialist, status, failure_id, min(t.id), max(t.id)
FROM trial t WHERE status IS NOT NULL GROUP BY surface, specialist, status, failure_id
ORDER BY 1, 2, 3, 4
"""
TALLIED_BOUNDS = """
SELECT surface, specialist, status, failure_id, first_id, last_id FROM tally WHERE status <> ''
ORDER BY 1, 2, 3, 4
"""
SINCE_KEPT = """
SELECT s.{column}, sum(CASE WHEN s.judged_order > coalesce((
  SELECT max(k.judged_order) FROM trial k WHERE k.{column} = s.{column} AND k.status = 'kept'
), 0) THEN 1 ELSE 0 END)
FROM trial s WHERE s.status IS NOT NULL GROUP BY s.{column} ORDER BY 1
"""
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["propose", "judge"]),
        st.sampled_from(["opt", "arch"]),
        st.sampled_from(["ann", "bob"]),
        st.sampled_from(Status),
        st.floats(-5, 5),
        st.integers(0, 40),
    ),
    max_size=30,
)


def judgment(status: Status, delta: float) -> Outcome:
    failure = Failure(Phase.TRAIN, FailureKind.OOM, f"kind {int(delta) % 2}", "no memory")
    if status.is_failure:
        return replace(outcome(status, None), failure=failure)
    return replace(outcome(status, delta), delta=delta)


def check_tally(transaction: Transaction) -> None:
    rows = transaction.rows(COUNTED)
    assert transaction.rows(TALLIED) == rows
    bounds = [(*row[:3], row[3] or 0, *row[4:]) for row in transaction.rows(BOUNDS)]
    assert sorted(transaction.rows(TALLIED_BOUNDS)) == sorted(bounds)
    deltas = transaction.rows("SELECT delta FROM trial WHERE status IN ('kept', 'discarded')")
    known = [delta for (delta,) in deltas]
    (extremes,) = transaction.rows("SELECT min(low_delta), max(high_delta) FROM tally")
    assert extremes == (min(known, default=None), max(known, default=None))


@settings(max_examples=20, deadline=None)
@given(steps=STEPS)
def test_the_tally_is_what_grouping_the_trials_gives(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, str, Status, float, int]]
) -> None:
    with with_campaign(tmp_path_factory.mktemp("lineage") / "lineage.db") as store:
        follow(store, steps)


def follow(store: LineageStore, steps: list[tuple[str, str, str, Status, float, int]]) -> None:
    """Does the steps that a campaign could do, and looks at the tally after each."""
    statuses: list[Status | None] = []
    for step, surface, specialist, status, delta, place in steps:
        if step == "propose" or not statuses:
            made = replace(proposal(surface=surface), specialist=specialist)
            rest = {"files": {}, "digest": "", "diff": "", "round_number": None}
            store.propose(CAMPAIGN, made, parents=(), **rest)  # type: ignore[arg-type]
            statuses.append(None)
        elif statuses[number := place % len(statuses)] in (None, Status.ABORTED):
            store.record(CAMPAIGN, number, judgment(status, delta))
            statuses[number] = status
        with store._reading() as transaction:
            check_tally(transaction)
            check_since_kept(store, transaction)


def check_since_kept(store: LineageStore, transaction: Transaction) -> None:
    for column, summaries in (
        ("surface", store.surfaces(CAMPAIGN)),
        ("specialist", store.specialists(CAMPAIGN)),
    ):
        since = dict(transaction.rows(SINCE_KEPT.format(column=column)))
        assert {s.name: s.since_kept for s in summaries} == {
            s.name: since.get(s.name, 0) for s in summaries
        }


def test_the_tally_holds_on_every_database(store: LineageStore) -> None:
    for status in (Status.ABORTED, Status.KEPT, Status.CRASHED, Status.DISCARDED, Status.ABORTED):
        follow(store, [("propose", "opt", "ann", status, 0.0, 0)])
        number = store.trial_count(CAMPAIGN) - 1
        store.record(CAMPAIGN, number, judgment(status, 0.5))
        with store._reading() as transaction:
            check_tally(transaction)
    store.record(CAMPAIGN, 0, judgment(Status.KEPT, -1.0))
    store.advance(CAMPAIGN, 4, "queued")
    with store._reading() as transaction:
        check_tally(transaction)


def found(store: LineageStore, text: str) -> list[int]:
    return [brief.number for brief in store.briefs(CAMPAIGN, TrialFilter(text=text)).items]


def test_words_are_found_from_the_proposal_on_and_forgotten_with_the_outcome(
    store: LineageStore,
) -> None:
    rest = {"files": {}, "digest": "", "diff": "+NEW_RATE = 0.25\n", "round_number": None}
    number = store.propose(CAMPAIGN, proposal("wider layers"), parents=(), **rest)  # type: ignore[arg-type]
    assert found(store, "wider new_rate") == found(store, "0.25 LAYERS") == [number]
    assert found(store, "memory") == []
    store.record(CAMPAIGN, number, judgment(Status.ABORTED, 0.0))
    assert found(store, "memory wider kind") == [number]
    store.advance(CAMPAIGN, number, "queued")
    assert found(store, "memory") == [] and found(store, "wider") == [number]


def test_the_text_index_is_whole(tmp_path: Path) -> None:
    with with_campaign(tmp_path / "lineage.db") as store:
        follow(store, [("propose", "opt", "ann", Status.KEPT, 0.0, 0)] * 3)
        for number, status in enumerate((Status.ABORTED, Status.CRASHED, Status.KEPT)):
            store.record(CAMPAIGN, number, judgment(status, 1.0))
        store.record(CAMPAIGN, 0, judgment(Status.DISCARDED, 1.0))
        with store._writing() as transaction:
            transaction.run(
                "INSERT INTO trial_words (trial_words, rank) VALUES ('integrity-check', 1)"
            )
