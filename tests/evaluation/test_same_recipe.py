"""The same recipe is no discovery: refused, or judged by what was measured before."""

from __future__ import annotations

import pytest

from recipelab.core.errors import LineageError
from recipelab.core.trial import Edit, FailureKind, Outcome, Proposal, Status
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.metric import recipe_bytes
from recipelab.evaluation.proposals import ProposalChecker
from recipelab.evaluation.queue import TrialQueue
from recipelab.evaluation.seeds import AGAIN
from recipelab.lineage import LineageStore, TrialRecord
from recipelab.packs.judging_sections import Gate
from recipelab.packs.pack import Pack

CAMPAIGN = "c"


def proposal(replacement: str) -> Proposal:
    edit = Edit("recipe/train.py", "X = 1.0", replacement)
    return Proposal("left", "left", 0, "It helps.", -1.0, (edit,))


def with_gate(pack: Pack, gate: Gate) -> Pack:
    return pack.model_copy(update={"gates": (*pack.gates, gate)})


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


async def test_where_bytes_count_a_repair_that_deletes_comments_is_tried(
    store: LineageStore, evaluator: Evaluator, toy: Pack
) -> None:
    most = recipe_bytes(toy.baseline()) + 60
    gate = Gate(name="code", measure="recipe.bytes", at_most=most, failure=Status.OVERSIZE)
    desk = TrialQueue(store, CAMPAIGN, evaluator.with_pack(with_gate(toy, gate)))
    desk.propose_baseline()
    await judged(desk)
    told = desk.submit(proposal("X = 3.0" + "  # a long way to the right" * 4), round_number=1)
    assert told.rejection is None
    assert (await judged(desk)).status is Status.OVERSIZE
    # Word for word it is the same still.
    again = desk.submit(proposal("X = 3.0" + "  # a long way to the right" * 4), round_number=1)
    assert again.rejection is not None
    assert desk.submit(proposal("X = 3.0"), round_number=1).rejection is None
    assert (await judged(desk)).status is Status.KEPT
    # What was measured within the limit is not measured again for its comments.
    for words in ("X = 3.0  # right", "X = 3.0  # a"):
        told = desk.submit(proposal(words), round_number=1)
        assert told.rejection is not None and "comments and layout alone" in told.rejection.reason


async def test_where_bytes_are_the_score_fewer_comments_are_a_gain(
    store: LineageStore, evaluator: Evaluator, toy: Pack
) -> None:
    metric = toy.metric.model_copy(update={"measure": "recipe.bytes"})
    desk = TrialQueue(
        store, CAMPAIGN, evaluator.with_pack(toy.model_copy(update={"metric": metric}))
    )
    desk.propose_baseline()
    await judged(desk)
    shorter = Edit("recipe/train.py", "  # knob left: 0.0 .. 8.0", "")
    found = desk.submit(Proposal("left", "left", 0, "It helps.", -1.0, (shorter,)), round_number=1)
    assert found.rejection is None
    record = await judged(desk)
    assert record.outcome is not None and record.outcome.delta == -25.0


async def test_a_recipe_that_only_the_machine_failed_may_be_tried_again(
    store: LineageStore, evaluator: Evaluator
) -> None:
    desk = TrialQueue(store, CAMPAIGN, evaluator)
    desk.propose_baseline()
    await judged(desk)
    watchdog = "raise RuntimeError('NCCL communicator was aborted on rank 3. Original reason for "
    watchdog += "failure was: watchdog timeout')\\nX = 2.0".replace("\\n", "\n")
    for _ in range(2):
        told = desk.submit(proposal(watchdog), round_number=1)
        assert told.rejection is None
        record = await judged(desk)
        assert record.status is Status.ABORTED and record.outcome is not None
        assert record.outcome.failure is not None
        assert record.outcome.failure.kind is FailureKind.INFRASTRUCTURE


async def test_more_seeds_tell_better_what_a_trial_is_worth(
    store: LineageStore, evaluator: Evaluator
) -> None:
    desk = TrialQueue(store, CAMPAIGN, evaluator)
    desk.propose_baseline()
    await judged(desk)
    desk.submit(proposal("X = 0.9"), round_number=1)
    first = await judged(desk)
    assert first.outcome is not None and first.status is Status.DISCARDED
    number = desk.submit_again(1, "right", "Is it really worse?", round_number=1)
    again = await judged(desk)
    assert again.number == number and again.outcome is not None
    assert again.digest == first.digest and again.parents == first.parents
    assert (again.specialist, again.surface) == ("right", "left")
    assert again.outcome.reason.startswith("trial 1 again, on fresh seeds: ")
    known = {run.seed for run in first.outcome.seed_runs} | set(evaluator.pack.seeds)
    seeds = {run.seed for run in again.outcome.seed_runs}
    assert len(seeds) == AGAIN and not seeds & known, "no run is left out, and all are fresh"
    assert again.status is Status.DISCARDED


async def test_a_trial_that_was_unlucky_can_still_be_kept(
    store: LineageStore, evaluator: Evaluator
) -> None:
    desk = TrialQueue(store, CAMPAIGN, evaluator)
    desk.propose_baseline()
    await judged(desk)
    checker = ProposalChecker(store, CAMPAIGN, evaluator.pack)
    number, _ = checker.take(proposal("X = 2.0"), round_number=1)
    store.record(CAMPAIGN, number, Outcome(Status.DISCARDED, "bad luck", score=50.0, delta=0.1))
    desk.submit_again(number, "left", "It was near.", round_number=1)
    again = await judged(desk)
    assert again.status is Status.KEPT
    assert desk.best().number == again.number


async def test_what_more_seeds_could_not_mend_is_not_measured_again(
    store: LineageStore, evaluator: Evaluator
) -> None:
    desk = TrialQueue(store, CAMPAIGN, evaluator)

    def refusal(trial: int) -> str:
        with pytest.raises(LineageError) as refused:
            desk.submit_again(trial, "left", "Who knows?", round_number=1)
        return str(refused.value)

    desk.propose_baseline()
    assert "has not ended" in refusal(0)
    await judged(desk)
    assert "what others are held against" in refusal(0)
    desk.submit(proposal("X = 1 / 0"), round_number=1)
    await judged(desk)
    assert "crashed and has no score" in refusal(1)
    desk.submit(proposal("X = 0.9"), round_number=1)
    await judged(desk)
    desk.submit_again(2, "left", "Is it really worse?", round_number=1)
    await judged(desk)
    assert "at most 20% may" in refusal(2)
    assert "no trial 9" in refusal(9)
    assert len(store.counts(CAMPAIGN)) == 3 and store.trial_count(CAMPAIGN) == 4
