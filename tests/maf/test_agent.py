"""A whole campaign as one agent of Microsoft Agent Framework."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from recipelab import Campaign, LineageStore, TrialFilter, research_team
from recipelab.core.errors import RecipelabError

from ..team.helpers import Watched
from .framework import Agent, AgentSession, ScriptedClient, WorkflowBuilder, call, campaign_agent

pytestmark = [pytest.mark.maf, pytest.mark.campaign, pytest.mark.slow]

LINEAGE = ".recipelab/lineage.db"


def toy_agent(trials: int = 1, **options: Any) -> Any:
    return campaign_agent("toy", sandbox="local", slots=1, trials=trials, **options)


def trials_of(campaign: str) -> dict[int, str | None]:
    with Campaign.open(campaign) as opened:
        return {
            one.number: None if one.outcome is None else str(one.outcome.status)
            for one in opened.store.query(campaign, TrialFilter(limit=100)).items
        }


async def test_a_run_streams_what_the_team_says_and_responds_with_the_outcome(
    project: Path,
) -> None:
    model = Watched()
    agent = toy_agent(model=model, name="night")
    async with agent.run("Prefer small changes.", stream=True) as updates:
        told = [update async for update in updates]
        response = await updates.get_final_response()

    assert any("Prefer small changes." in str(message.content) for message in model.seen[0])
    assert {update.author_name for update in told} >= {"evaluator", "recipelab"}
    kinds = {content.type for update in told for content in update.contents}
    assert kinds == {"text", "function_call", "function_result"}
    calls = [one for update in told for one in update.contents if one.type == "function_call"]
    assert all(one.informational_only for one in calls)
    assert "Prefer small changes." not in [update.text for update in told]

    (message,) = response.messages
    assert message.text.startswith("Campaign night: 1 trials, best ")
    assert "It ends: the budget of trials is spent. Trial " in response.text
    outcome = response.additional_properties["outcome"]
    assert (outcome["campaign"], outcome["finished"], outcome["trials"]) == ("night", True, 1)
    with Campaign.open("night") as campaign:
        assert outcome["best"] == campaign.best.number
        assert outcome["certified"] == campaign.certified.number
        assert (campaign.folder / "transcript.md").is_file()
    json.dumps(response.to_dict())


async def test_a_stored_session_goes_on_with_its_campaign(project: Path) -> None:
    session = toy_agent().create_session()
    first = await toy_agent().run(session=session)
    assert session.state == {"recipelab": {"campaign": "toy-1"}}

    stored = json.dumps(session.to_dict())
    other = AgentSession.from_dict(json.loads(stored))
    second = await toy_agent(trials=2).run("Go on.", session=other)
    assert [one.additional_properties["outcome"]["trials"] for one in (first, second)] == [1, 2]
    assert sorted(trials_of("toy-1")) == [0, 1, 2]

    third = await toy_agent().run()
    assert third.additional_properties["outcome"]["campaign"] == "toy-2"


async def test_a_campaign_goes_from_autogen_to_the_framework_and_back(project: Path) -> None:
    def team(trials: int) -> Any:
        return research_team("toy", name="moved", sandbox="local", slots=1, trials=trials)

    await team(1).run()
    response = await toy_agent(2, name="moved").run("Go on.")
    assert response.additional_properties["outcome"]["trials"] == 2
    back = await team(3).run()
    assert "Campaign moved: 3 trials" in back.messages[-1].to_text()
    assert sorted(trials_of("moved")) == [0, 1, 2, 3]


async def test_a_run_that_is_cancelled_can_be_gone_on_with(project: Path) -> None:
    held, thinking = Watched(holds=asyncio.Event()), asyncio.Event()
    session = toy_agent().create_session()

    class Thinking(Watched):
        async def create(self, *words: Any, **more: Any) -> Any:
            thinking.set()
            return await held.create(*words, **more)

    running = asyncio.create_task(toy_agent(model=Thinking()).run(session=session))
    await asyncio.wait_for(thinking.wait(), 60)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    name = session.state["recipelab"]["campaign"]
    with Campaign.open(name) as campaign:
        assert (campaign.record.state, campaign.is_running) == ("stopped", False)
    response = await toy_agent().run(session=session)
    assert response.additional_properties["outcome"]["finished"]
    assert sorted(trials_of(name)) == [0, 1]


async def test_a_stream_that_is_closed_leaves_its_trial_for_the_next_run(project: Path) -> None:
    agent = toy_agent(name="left")
    async with agent.run(stream=True) as updates:
        async for update in updates:
            if update.text.startswith("Submitted trial 1"):
                break
    with LineageStore.open(LINEAGE) as store:
        assert store.campaign("left").state == "stopped"
    response = await agent.run()
    assert response.additional_properties["outcome"]["trials"] == 1
    ended = trials_of("left")
    assert sorted(ended) == [0, 1]
    assert ended[1] is not None


async def test_agents_run_side_by_side_with_a_campaign_each(project: Path) -> None:
    responses = await asyncio.gather(toy_agent().run(), toy_agent().run())
    names = {one.additional_properties["outcome"]["campaign"] for one in responses}
    assert names == {"toy-1", "toy-2"}


async def test_a_model_uses_the_campaign_as_a_tool(project: Path) -> None:
    client = ScriptedClient(call("recipelab", task="Be brief."), "It was worth it.")
    lead = Agent(client, tools=[toy_agent(name="night").as_tool()])
    response = await lead.run("Improve the recipe.")
    assert response.text == "It was worth it."
    (told,) = client.results
    assert told.startswith("Campaign night: 1 trials, best ")


async def test_the_next_agent_of_a_workflow_is_handed_the_outcome(project: Path) -> None:
    client = ScriptedClient("I have read it.")
    reviewer = Agent(client, name="reviewer")
    research = toy_agent(name="night", team_name="research")
    workflow = (
        WorkflowBuilder(start_executor=research, output_from=[reviewer])
        .add_edge(research, reviewer)
        .build()
    )
    result = await workflow.run("Improve the recipe.")
    assert [one.text for one in result.get_outputs()] == ["I have read it."]
    texts = [message.text for message in client.seen[0]]
    assert texts[0] == "Improve the recipe."
    assert texts[-1].startswith("Campaign night: 1 trials, best ")


async def test_what_cannot_be_is_told_in_words(project: Path) -> None:
    with pytest.raises(RecipelabError, match=r"argument of research_team.*trials"):
        campaign_agent("toy", trails=3)
    with pytest.raises(RecipelabError, match="a campaign needs a budget"):
        await campaign_agent("toy", sandbox="local").run()
    with pytest.raises(RecipelabError, match="toy"):
        await campaign_agent("toys", trials=1).run()
