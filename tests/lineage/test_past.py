"""The figures of past trials: those of their records, page by page."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipelab.core.trial import Outcome, Phase, PhaseTiming, Proposal, SeedRun, Status
from recipelab.lineage import LineageStore, PastTrial, TrialRecord
from recipelab.lineage.trials import STREAMED
from tests.lineage.conftest import DATABASES, MakeDatabase
from tests.lineage.helpers import CAMPAIGN, OUTCOMES, PROPOSALS, outcome, propose, with_campaign

MEASURED = st.dictionaries(
    st.sampled_from(["wall_seconds", "device_seconds", "n_seeds", "score.loss"]),
    st.floats(0.0, 1e6),
)
"""What an imported run says of a whole trial, among others."""


@pytest.fixture(scope="module", params=DATABASES)
def shared(request: pytest.FixtureRequest, make_database: MakeDatabase) -> Iterator[LineageStore]:
    with with_campaign(make_database(request.param)) as store:
        propose(store)
        yield store


def figures(record: TrialRecord) -> PastTrial:
    """The figures of a trial, counted from its record."""
    came = record.outcome or Outcome(Status.ABORTED, "")
    timings = [timing for run in came.seed_runs for timing in run.timings]

    def measured(name: str) -> float | None:
        known = [run.measures[name] for run in came.seed_runs if name in run.measures]
        return sum(known) if known else None

    wall = sum(t.wall_seconds for t in timings) if timings else measured("wall_seconds")
    device, seeds = measured("device_seconds"), measured("n_seeds")
    return PastTrial(
        number=record.number,
        parents=record.parents,
        specialist=record.specialist,
        surface=record.surface,
        hypothesis=record.hypothesis,
        digest=record.digest,
        proposed_at=record.proposed_at,
        judged_at=record.judged_at,
        status=record.status,
        reason=came.reason,
        score=came.score,
        failure_kind=came.failure.kind if came.failure else None,
        failure_phase=came.failure.phase if came.failure else None,
        signature=came.failure.signature if came.failure else None,
        missed={gate.name: -gate.margin for gate in came.gates if not gate.passed},
        wall_seconds=wall,
        cpu_seconds=came.cpu_seconds if timings else None,
        device_seconds=wall if device is None else device,
        seed_runs=len(came.seed_runs) if seeds is None else round(seeds),
        standing=record.standing,
    )


@settings(max_examples=60, deadline=None)
@given(proposed=PROPOSALS, came=OUTCOMES, says=st.none() | MEASURED)
def test_figures_are_those_of_the_record(
    shared: LineageStore, proposed: Proposal, came: Outcome, says: dict[str, float] | None
) -> None:
    if says is not None:
        came = Outcome(came.status, came.reason, (SeedRun(0, (), says),), came.gates)
    rest = {"parents": (0,), "digest": "d", "diff": "", "round_number": None}
    number = shared.propose(CAMPAIGN, proposed, files={}, **rest)  # type: ignore[arg-type]
    for _ in range(2):
        past = next(shared.each_past_trial(CAMPAIGN, after=number - 1))
        assert past == figures(shared.trial(CAMPAIGN, number))
        if past.status is None:
            shared.record(CAMPAIGN, number, came)
    assert past.status is came.status


def test_a_phase_of_the_runs_counts_once(store: LineageStore) -> None:
    propose(store)
    runs = tuple(SeedRun(i, (PhaseTiming(Phase.TRAIN, 1.0, 2.0),) * 2) for i in range(3))
    store.record(CAMPAIGN, 0, Outcome(Status.BASELINE, "", runs, (), 1.0))
    (past,) = store.each_past_trial(CAMPAIGN)
    assert (past.wall_seconds, past.cpu_seconds, past.seed_runs) == (6.0, 12.0, 3)


def test_pages_join_without_a_gap(store: LineageStore) -> None:
    many = STREAMED + 2
    for number in range(many):
        propose(store, *([0] if number else []))
    store.record(CAMPAIGN, 0, outcome(Status.BASELINE))
    numbers = [past.number for past in store.each_past_trial(CAMPAIGN)]
    assert len(numbers) == many
    assert all(later == earlier + 1 for earlier, later in pairwise(numbers))
