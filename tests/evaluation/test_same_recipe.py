"""The same recipe is no discovery: refused, or judged by what was measured before."""

from __future__ import annotations

from recipelab.core.trial import Edit, Proposal, Status
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.queue import TrialQueue
from recipelab.lineage import LineageStore, TrialRecord

CAMPAIGN = "c"


def proposal(replacement: str) -> Proposal:
    edit = Edit("recipe/train.py", "X = 1.0", replacement)
    return Proposal("left", "left", 0, "It helps.", -1.0, (edit,))


async def judged(desk: TrialQueue) -> TrialRecord:
    (record,) = await desk.next_ended()
    return record


async def test_a_recipe_that_was_kept_is_no_second_gain(
    store: LineageStore, evaluator: Evaluator
) -> None:
    desk = TrialQueue(store, CAMPAIGN, evaluator, repeats=True)
    desk.propose_baseline()
    assert (await judged(desk)).status is Status.BASELINE
    desk.submit(proposal("X = 2.0"), round_number=1)
    first = await judged(desk)
    assert first.status is Status.KEPT and first.outcome is not None
    desk.submit(proposal("X = 2.0  # again, with other words"), round_number=1)
    twin = await judged(desk)
    assert twin.status is Status.DISCARDED and twin.outcome is not None
    assert "no new gain" in twin.outcome.reason
    assert twin.outcome.evidence is not None and twin.outcome.evidence.same_as == first.number
    assert twin.outcome.score == first.outcome.score
    assert twin.outcome.seed_runs == (), "it took no time again"
    assert store.best(CAMPAIGN).number == first.number


async def test_a_recipe_that_failed_fails_as_it_did(
    store: LineageStore, evaluator: Evaluator
) -> None:
    desk = TrialQueue(store, CAMPAIGN, evaluator, repeats=True)
    desk.propose_baseline()
    await judged(desk)
    desk.submit(proposal("X = 1 / 0"), round_number=1)
    first = await judged(desk)
    desk.submit(proposal("X = 1 / 0  # by other means"), round_number=1)
    twin = await judged(desk)
    assert first.outcome is not None and twin.outcome is not None
    assert (first.status, twin.status) == (Status.CRASHED, Status.CRASHED)
    assert twin.outcome.failure == first.outcome.failure


async def test_where_nothing_may_be_repeated_it_is_refused_at_once(
    store: LineageStore, evaluator: Evaluator
) -> None:
    desk = TrialQueue(store, CAMPAIGN, evaluator)
    desk.propose_baseline()
    await judged(desk)
    desk.submit(proposal("X = 0.5"), round_number=1)
    await judged(desk)
    told = desk.submit(proposal("X = 0.5  # in other words"), round_number=1)
    assert told.rejection is not None
    assert "trial 1" in told.rejection.reason
    assert "comments and layout alone" in told.rejection.reason
    assert desk.running == ()
