"""The research team as AutoGen users have teams: consoles, nesting, own objects, leaving."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from pathlib import Path

import pytest
from autogen_agentchat.agents import SocietyOfMindAgent
from autogen_agentchat.base import TaskResult
from autogen_agentchat.conditions import ExternalTermination, TextMentionTermination
from autogen_agentchat.messages import TextMessage
from autogen_agentchat.teams import RoundRobinGroupChat
from autogen_agentchat.ui import Console
from autogen_core import CancellationToken
from autogen_core.models import UserMessage
from autogen_ext.ui import RichConsole

from recipelab import LineageStore, OfflineClient, research_team
from recipelab.agents import LineageContext
from recipelab.budget import BudgetLimits
from recipelab.core.errors import ModelError, RecipelabError
from recipelab.models import RetryingClient
from recipelab.sandbox import LocalSandbox
from recipelab.team import BudgetTermination, ResearchGroupChat

SECONDS = 180
SPENT = "the budget of trials is spent"


def small(trials: int = 1, **more: object) -> ResearchGroupChat:
    given = {"sandbox": "local", "slots": 1, **more}
    return research_team("toy", trials=trials, **given)  # type: ignore[arg-type]


async def test_consoles_show_a_run(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = await Console(small().run_stream(task="Go."))
    assert isinstance(result, TaskResult)
    assert result.stop_reason == SPENT
    shown = capsys.readouterr().out
    await RichConsole(small().run_stream(task="Go."))
    for text in (shown, capsys.readouterr().out):
        assert "evaluator" in text
        assert "Trial 1" in text


@pytest.mark.slow
async def test_it_takes_part_in_teams_of_others(project: Path) -> None:
    team = RoundRobinGroupChat(
        [small(2, name="c"), SocietyOfMindAgent("mind", small(), OfflineClient())],
        termination_condition=TextMentionTermination("It ends", sources=["recipelab"]),
    )
    result = await asyncio.wait_for(team.run(task="Go."), SECONDS)
    assert "Text 'It ends' mentioned" in str(result.stop_reason)
    assert any(message.source == "evaluator" for message in result.messages)
    condition = BudgetTermination(BudgetLimits(trials=3))
    inner = RoundRobinGroupChat([small(3, name="d")], termination_condition=condition)
    result = await asyncio.wait_for(inner.run(task="Go."), SECONDS)
    assert result.stop_reason == SPENT
    assert not condition.terminated


async def test_objects_of_ones_own_are_used_and_left_open(project: Path) -> None:
    model = OfflineClient(seed=5)
    with LineageStore.open(project / "mine.db", create=True) as store:
        async with LocalSandbox() as sandbox:
            team = research_team(
                "toy", trials=1, slots=1, model=model, lineage=store, sandbox=sandbox, name="c"
            )
            await asyncio.wait_for(team.run(), SECONDS)
            assert sandbox.started
        assert store.trial_count("c") == 2
        saved = json.loads(team.dump_component().model_dump_json())["config"]
        assert saved["lineage"] == store.url
        assert saved["plan"]["model"]["config"] == {"seed": 5}
        context = LineageContext(store, "c", "left", ["left"])
        await context.add_message(UserMessage(content="Go.", source="user"))
        loaded = LineageContext.load_component(context.dump_component())
        await loaded.add_message(UserMessage(content="Go.", source="user"))
        assert "Trials so far: baseline 1" in str((await loaded.get_messages())[0].content)


async def test_whoever_leaves_early_can_come_back(project: Path) -> None:
    team = small(2, name="c")
    async with aclosing(team.run_stream()) as stream:
        async for _ in stream:
            break
    stop = ExternalTermination()
    again = small(
        2, name="c", termination_condition=stop | BudgetTermination(BudgetLimits(plateau=50))
    )
    async for item in again.run_stream():
        if isinstance(item, TextMessage) and item.source == "evaluator":
            stop.set()
    assert again.ended is not None
    assert not again.ended.finished
    token = CancellationToken()
    token.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(team.run(cancellation_token=token), SECONDS)
    result = await asyncio.wait_for(small(2, name="c").run(), SECONDS)
    assert result.stop_reason == SPENT


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"trials": 0}, "trials: Input should be greater than or equal to 1"),
        (
            {"speakers": "nobody"},
            "speakers: unknown speaker policy 'nobody'; valid: credit, model, round-robin",
        ),
        ({"model": "gpt"}, "unknown model 'gpt'; valid: offline"),
        ({"models": {"up": "offline"}}, "unknown participant with a model 'up'; valid: left"),
    ],
)
def test_bad_arguments_are_told(project: Path, given: dict[str, object], message: str) -> None:
    with pytest.raises(RecipelabError) as error:
        research_team("toy", **{"trials": 1, **given})  # type: ignore[arg-type]
    assert message in str(error.value)


def test_a_model_that_json_cannot_hold_is_told(project: Path) -> None:
    team = small(model=RetryingClient(OfflineClient()))
    with pytest.raises(ModelError, match="RetryingClient cannot be saved"):
        team.dump_component()
