"""A campaign as an object: made, opened, run by a group chat, gone on with, looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from recipelab import BudgetLimits, Campaign, LineageStore, Plan, TrialFilter
from recipelab.campaign.planning import IfExists
from recipelab.core.errors import RecipelabError
from recipelab.core.trial import Status, Trust
from recipelab.lineage.campaigns import trust_of

from .conftest import Make, toy_plan


@pytest.mark.slow
async def test_it_runs_and_leaves_its_papers(make: Make, project: Path) -> None:
    said: list[str] = []
    with Campaign.create(toy_plan(), say=said.append) as campaign:
        ended = await campaign.run(task="Prefer small changes.")
        assert (ended.finished, ended) == (True, campaign.ended)
        assert campaign.name == "toy-1"
        assert campaign.record.state == "finished"
        assert [record.number for record in campaign.each_trial()] == [0, 1, 2, 3]
        assert campaign.folder == project / ".recipelab/campaigns/toy-1"
        assert "Prefer small changes." in (campaign.folder / "transcript.md").read_text()
        assert not campaign.is_running
        assert trust_of(campaign.record) is Trust.ISOLATED
    assert "Campaign toy-1: toy, model offline, sandbox local" in said
    assert any(line.startswith("trust: isolated, as score has answers") for line in said)


async def test_its_messages_can_be_streamed(make: Make) -> None:
    campaign = make(1)
    sources = {message.source async for message in campaign.stream()}
    assert {"user", "evaluator", "recipelab"} <= sources
    assert campaign.ended is not None and campaign.ended.finished


async def test_a_larger_app_has_it_as_a_team(make: Make) -> None:
    team = make(1).team(max_turns=2)
    result = await team.run()
    await team.close()
    assert result.messages[-1].source == "recipelab"


async def test_more_may_be_spent_later(make: Make) -> None:
    make(1).close()
    with Campaign.create(toy_plan(1)) as campaign:
        await campaign.run()
        assert campaign.budget.over == "the budget of trials is spent"
    with Campaign.open("toy-1") as campaign:
        before = campaign.trial(1)
        assert campaign.budget.limits == BudgetLimits(trials=1)
        await campaign.resume(BudgetLimits(trials=2))
        budget = campaign.budget
        assert (budget.limits.trials, budget.spent.trials, budget.remaining) == (2, 2, 0)
        assert campaign.trial(1) == before
    with Campaign.open() as campaign:
        assert campaign.plan.limits.trials == 2, "the lineage keeps the new limit"


async def test_trials_are_filtered_and_paged(ended: Campaign) -> None:
    best = ended.trials(TrialFilter(order="best", limit=1)).items[0]
    assert best.number == ended.best.number > 0
    kept = ended.trials(TrialFilter(statuses=(Status.KEPT,))).items
    assert {record.status for record in kept} == {Status.KEPT}
    assert [record.number for record in ended.newest_trials(3)] == [6, 7, 8]
    assert len(ended.newest_trials(500)) == 9
    assert ended.metric.unit == "points"
    assert ended.stats()["trials"] == 8


async def test_an_open_lineage_stays_open(project: Path) -> None:
    with LineageStore.open(project / "own.db", create=True) as store:
        with Campaign.create(toy_plan(1, name="mine"), lineage=store) as campaign:
            await campaign.run()
        assert store.campaign("mine").state == "finished"
    with Campaign.open("mine", lineage=project / "own.db") as campaign:
        assert campaign.best.outcome is not None


def test_an_unknown_campaign_lists_those_there_are(project: Path, store: LineageStore) -> None:
    with pytest.raises(RecipelabError, match=r"unknown campaign 'night'; valid: c"):
        Campaign.open("night", lineage=store)
    assert Campaign.open(lineage=store).name == "c"
    with pytest.raises(RecipelabError, match=r"no lineage at .*lineage\.db"):
        Campaign.open(home=project / "nowhere")
    LineageStore.open(project / "empty.db", create=True).close()
    with pytest.raises(RecipelabError, match="no campaign in this lineage"):
        Campaign.open(lineage=project / "empty.db")
    with pytest.raises(RecipelabError, match="its settings hold no plan"):
        _ = Campaign.open("c", lineage=store).plan


async def test_a_name_is_taken_once_unless_it_may_continue(make: Make) -> None:
    with make(1, name="night") as campaign:
        await campaign.run()
    with pytest.raises(RecipelabError, match="there is a campaign night already"):
        make(1, name="night")
    said: list[str] = []
    plan = toy_plan(1, name="night")
    following = Campaign.create(plan, if_exists=IfExists.CONTINUE, say=said.append)
    assert following.name == "night-1"
    assert said == ["Campaign night is finished: starting night-1."]


def test_a_pack_is_read_before_anything_begins(project: Path) -> None:
    with pytest.raises(RecipelabError, match="unknown task pack 'tony'; valid: "):
        Campaign.create(Plan(pack="tony"))


async def test_it_is_estimated_without_a_lineage(make: Make, project: Path) -> None:
    estimate = Campaign.estimate(toy_plan(5))
    assert (estimate.past_trials, estimate.device_hours_expected) == (0, None)
    assert estimate.device_hours_at_most is not None
    assert not (project / ".recipelab").exists()
    await make(1).run()
    estimate = Campaign.estimate(toy_plan(5))
    assert estimate.past_trials == 2
    assert estimate.specialists == ("left", "right")
    assert 0 < (estimate.device_hours_expected or 0) < (estimate.device_hours_at_most or 0)
