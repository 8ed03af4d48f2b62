"""A campaign without a group chat: a script submits proposals and has them judged."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from recipelab import BudgetLimits, Campaign, Edit, Proposal
from recipelab.campaign.submitting import Pickup
from recipelab.core.errors import BudgetSpent, EditError, RecipelabError
from recipelab.core.recipe import Recipe
from recipelab.core.trial import FailureKind, Status
from recipelab.evaluation.queue import TrialQueue

from .conftest import TRAIN, Make, set_x, toy_plan


def move(campaign: Campaign, value: float) -> Proposal:
    """A proposal that sets the first coordinate of the baseline."""
    return campaign.proposal("Nearer.", edits=[set_x(value)], parent=0, surface="left")


async def judged(campaign: Campaign, number: int) -> None:
    """Waits until a trial that another object runs has its outcome."""
    async with asyncio.timeout(60):
        while campaign.trial(number).in_flight:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_proposals_are_judged_and_the_best_is_kept(make: Make) -> None:
    campaign = make(5)
    async with campaign.opened() as opened:
        assert opened is campaign and campaign.is_running
        assert campaign.best.number == 0
        first = await campaign.evaluate(move(campaign, 3.3))
        assert (first.status, first.specialist, first.round) == (Status.KEPT, "person", None)
        assert campaign.best == first
        edits = [set_x(3.4, old=3.3)]
        second = await campaign.evaluate(
            campaign.proposal("Nearer.", edits=edits, surface="left", proposer="sweep")
        )
        assert (second.parents, second.specialist) == ((1,), "sweep")
    assert campaign.record.state == "stopped"
    assert campaign.record.stop_reason == "the script that ran it has ended"
    assert "+X = 3.3" in campaign.patch(1)
    assert (campaign.folder / "best.patch").is_file()


async def test_who_runs_a_line_reads_what_its_test_found(project: Path) -> None:
    said: list[str] = []
    campaign = Campaign.create(toy_plan(profile="line"), say=said.append)
    async with campaign.opened():
        await campaign.evaluate(move(campaign, 3.3))
    (told,) = (text for text in said if text.startswith("Checkpoint: "))
    assert "the line up to trial 1 against trial 0 holds. Trial 1 is certified." in told
    assert "loss" in told and "points" in told


async def test_a_rejected_proposal_is_a_trial_and_costs_nothing(make: Make) -> None:
    campaign = make(2)
    async with campaign.opened():
        await campaign.evaluate(move(campaign, 3.3))
        again = await campaign.evaluate(move(campaign, 3.3))
        assert again.status is Status.REJECTED
        assert again.outcome is not None and again.outcome.failure is not None
        assert again.outcome.failure.kind is FailureKind.DUPLICATE
        submission = campaign.submit(move(campaign, 3.3))
        assert submission.rejection is not None and submission.pickup is None
        assert campaign.budget.remaining == 1


@pytest.mark.slow
async def test_several_wait_at_the_same_time(make: Make) -> None:
    campaign = make(6, slots=2, share_devices=True)
    async with campaign.opened():
        values = (3.1, 3.2, 3.3)
        records = await asyncio.gather(*(campaign.evaluate(move(campaign, x)) for x in values))
        assert [record.edits[0].replace for record in records] == [f"X = {x}" for x in values]
        numbers = {campaign.submit(move(campaign, x)).number for x in (3.4, 3.6)}
        assert {record.number async for record in campaign.judged()} == numbers
        assert [record async for record in campaign.judged()] == []


async def test_the_budget_bounds_a_script_too(make: Make) -> None:
    campaign = make(1)
    async with campaign.opened():
        campaign.submit(move(campaign, 3.3))
        with pytest.raises(BudgetSpent, match="takes no more trials"):
            campaign.submit(move(campaign, 3.2))
        _ = [record async for record in campaign.judged()]
        with pytest.raises(BudgetSpent, match="the budget of trials is spent"):
            await campaign.evaluate(move(campaign, 3.2))
    assert (campaign.record.state, campaign.record.trials) == ("finished", 1)
    campaign.extend(BudgetLimits(trials=2))
    async with campaign.opened():
        assert (await campaign.evaluate(move(campaign, 3.2))).number == 2


async def test_what_was_in_flight_runs_when_it_is_opened_again(make: Make) -> None:
    campaign = make(2)
    async with campaign.opened():
        number = campaign.submit(move(campaign, 3.3)).number
    assert campaign.trial(number).in_flight
    async with campaign.opened():
        assert [record.number async for record in campaign.judged()] == [number]


async def test_the_group_chat_goes_on_where_a_script_has_ended(make: Make) -> None:
    campaign = make(2)
    async with campaign.opened():
        await campaign.evaluate(move(campaign, 3.3))
    assert (await campaign.run()).finished
    assert campaign.budget.spent.trials == 2


async def test_an_error_of_the_script_ends_the_run(make: Make) -> None:
    campaign = make(2)
    with pytest.raises(ValueError, match="my own"):
        async with campaign.opened():
            raise ValueError("my own")
    assert (campaign.record.state, campaign.record.stop_reason) == ("stopped", "my own")
    assert not campaign.is_running


async def test_a_fault_reaches_those_who_wait(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = make(2)
    async with campaign.opened():

        async def broken(self: TrialQueue, number: int) -> None:
            raise RuntimeError("a fault")

        monkeypatch.setattr(TrialQueue, "_run", broken)
        with pytest.raises(RuntimeError, match="a fault"):
            await campaign.evaluate(move(campaign, 3.3))
        with pytest.raises(RuntimeError, match="a fault"):
            _ = [record async for record in campaign.judged()]


async def test_a_baseline_that_fails_its_gates_opens_nothing(make: Make, project: Path) -> None:
    file = project / "task_packs/toy/pack.toml"
    file.write_text(file.read_text().replace("at_least = 0.2", "at_least = 0.99"))
    campaign = make(1)
    with pytest.raises(RecipelabError, match=r"the baseline of toy fails: .*0\.99"):
        async with campaign.opened():
            pass
    assert campaign.record.state == "stopped"


async def test_it_is_open_once_and_only_then_takes_trials(make: Make) -> None:
    campaign = make(1)
    with pytest.raises(RecipelabError, match="not open here"):
        campaign.judged()
    async with campaign.opened():
        with pytest.raises(RecipelabError, match="is open already"):
            async with campaign.opened():
                pass
        other = Campaign.open(campaign.name)
        with pytest.raises(RecipelabError, match="is running already"):
            async with other.opened():
                pass
        assert campaign.budget.remaining == 1


async def test_another_process_submits_pauses_and_lets_go_on(make: Make) -> None:
    campaign = make(3)
    async with campaign.opened():
        outside = Campaign.open(campaign.name)
        submission = outside.submit(move(outside, 3.3))
        assert submission.pickup is Pickup.NOW
        await judged(outside, submission.number)
        outside.pause()
        assert campaign.is_paused
        waiting = outside.submit(move(outside, 3.2))
        assert waiting.pickup is Pickup.UNPAUSED
        await asyncio.sleep(1.5)
        assert outside.trial(waiting.number).in_flight
        assert outside.unpause() and not outside.unpause()
        await judged(outside, waiting.number)
    assert outside.submit(move(outside, 3.4)).pickup is Pickup.RESUMED
    with pytest.raises(RecipelabError, match="no process runs campaign toy-1"):
        outside.pause()


async def test_a_person_may_be_asked(make: Make) -> None:
    async def refuse(record: object) -> str:
        return "too dear"

    campaign = make(1)
    async with campaign.opened(approve=refuse):
        record = await campaign.evaluate(move(campaign, 3.3))
    assert record.outcome is not None
    assert record.outcome.reason == "a person declined it: too dear"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"hypothesis": " "}, "hypothesis: 1 characters are not valid"),
        ({"hypothesis": "x" * 4_001}, "hypothesis: 4,001 characters"),
        ({"surface": "up"}, "unknown surface 'up'; valid: left, right"),
        ({"surface": None}, "give a surface; valid: left, right"),
        ({"parent": 7}, "has no trial 7"),
        ({"expected_delta": float("nan")}, "valid: a finite number"),
        ({"proposer": "left"}, "'left' is not the name of a person"),
        ({"proposer": "a b"}, "'a b' is not the name of a person"),
        ({"patch": b"", "edits": ()}, "the patch is empty"),
        ({"patch": b"x"}, "edits or a patch, not both"),
    ],
)
async def test_a_proposal_says_what_is_valid(
    make: Make, wrong: dict[str, object], words: str
) -> None:
    campaign = make(1)
    given: dict[str, object] = {"hypothesis": "Near.", "edits": [set_x(3.3)], "surface": "left"}
    async with campaign.opened():
        with pytest.raises(RecipelabError, match=words):
            campaign.submit(campaign.proposal(**(given | wrong)))  # type: ignore[arg-type]
        assert len(campaign.newest_trials(10)) == 1, "nothing was recorded"


async def test_a_patch_becomes_edits_of_its_parent(make: Make) -> None:
    campaign = make(1)
    async with campaign.opened():
        text = campaign.files(0)[TRAIN]
        patch = Recipe({TRAIN: text}).diff(Recipe({TRAIN: text.replace("X = 1.0", "X = 3.3")}))
        proposal = campaign.proposal("Near.", patch=patch.encode(), surface="left")
        assert proposal.edits == (Edit(TRAIN, None, text.replace("X = 1.0", "X = 3.3")),)
        with pytest.raises(EditError):
            campaign.proposal("Near.", patch=b"--- a/x\n+++ b/x\n", surface="left")
