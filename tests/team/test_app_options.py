"""What AutoGen's teams take and apps rely on: message types, runtimes, contexts, streams, JSON."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Sequence
from inspect import signature
from pathlib import Path
from typing import Any, Literal, get_type_hints

import pytest
from autogen_agentchat.agents import AssistantAgent, BaseChatAgent
from autogen_agentchat.base import ChatAgent, Response, TaskResult, Team
from autogen_agentchat.messages import (
    BaseChatMessage,
    BaseTextChatMessage,
    ModelClientStreamingChunkEvent,
    StructuredMessage,
    TextMessage,
)
from autogen_agentchat.teams import BaseGroupChat, DiGraphBuilder, GraphFlow, RoundRobinGroupChat
from autogen_agentchat.ui import Console
from autogen_core import CancellationToken, DefaultInterventionHandler, SingleThreadedAgentRuntime
from autogen_core.model_context import (
    BufferedChatCompletionContext,
    HeadAndTailChatCompletionContext,
)
from autogen_core.models import CreateResult, LLMMessage, ModelInfo, UserMessage
from autogen_ext.models.replay import ReplayChatCompletionClient
from pydantic import BaseModel, ValidationError

from recipelab import (
    BudgetLimits,
    LineageStore,
    OfflineClient,
    Plan,
    ResearchGroupChat,
    research_team,
)
from recipelab.agents import TurnContext
from recipelab.core.errors import RecipelabError
from recipelab.team.factory import ChatOptions, LimitOptions, PlanOptions, TeamOptions

from .helpers import Watched, team_of

SECONDS = 180
SPENT = "the budget of trials is spent"
INFO = ModelInfo(
    vision=False, function_calling=True, json_output=True, family="unknown", structured_output=True
)


class Idea(BaseModel):
    """Structured output of a planner."""

    what: str


class Cue(BaseTextChatMessage):
    """A message type of an app."""

    type: Literal["Cue"] = "Cue"


class Prompter(BaseChatAgent):
    """A guest that speaks in a type of its own."""

    @property
    def produced_message_types(self) -> Sequence[type[BaseChatMessage]]:
        return (Cue,)

    async def on_messages(
        self, messages: Sequence[BaseChatMessage], cancellation_token: CancellationToken
    ) -> Response:
        return Response(chat_message=Cue(content="Mind the step.", source=self.name))

    async def on_reset(self, cancellation_token: CancellationToken) -> None: ...


def planner() -> AssistantAgent:
    """An assistant that answers with structured output, whenever it is asked."""
    client = ReplayChatCompletionClient(['{"what": "smaller steps"}'] * 9, model_info=INFO)
    return AssistantAgent("planner", client, output_content_type=Idea)


async def finished(team: Team, **more: Any) -> TaskResult:
    return await asyncio.wait_for(team.run(**more), SECONDS)


@pytest.mark.parametrize("first", [True, False])
async def test_structured_output_of_a_larger_team_is_heard(project: Path, first: bool) -> None:
    model = Watched()
    research = team_of(1, {"": model})
    members: list[ChatAgent | Team] = [planner(), research] if first else [research, planner()]
    outer = RoundRobinGroupChat(
        members, max_turns=3, custom_message_types=[StructuredMessage[Idea]]
    )
    result = await finished(outer, task="Go.")
    assert any(isinstance(message, StructuredMessage) for message in result.messages)
    assert research.ended is not None and research.ended.reason == SPENT
    if first:
        assert "smaller steps" in str(model.seen[0])


async def test_guests_may_say_what_they_like(project: Path) -> None:
    model = Watched()
    inner = RoundRobinGroupChat(
        [planner()], name="panel", max_turns=1, custom_message_types=[StructuredMessage[Idea], Cue]
    )
    team = team_of(1, {"": model}, participants=[planner(), Prompter("prompter", "."), inner])
    result = await finished(team, task=[Cue(content="Begin gently.", source="user")])
    assert result.stop_reason == SPENT
    assert {type(message) for message in result.messages} >= {Cue, StructuredMessage[Idea]}
    heard = str(model.seen[-1])
    assert "Begin gently." in heard
    with LineageStore.open(project / ".recipelab/lineage.db") as store:
        kinds = {message.type for message in store.messages("toy-1")}
    assert {"Cue", "StructuredMessage[Idea]"} <= kinds


async def test_json_holds_message_types_and_their_state(project: Path) -> None:
    types = [StructuredMessage[Idea], Cue]
    team = team_of(1, name="c", custom_message_types=types)
    await finished(
        team,
        task=[Cue(content="Gently.", source="user"), TextMessage(content="Go.", source="user")],
    )
    saved, state = team.dump_component().model_dump_json(), json.dumps(await team.save_state())
    again = ResearchGroupChat.load_component(json.loads(saved))
    await again.load_state(json.loads(state))
    assert [one.__name__ for one in again._custom_types] == ["StructuredMessage[Idea]", "Cue"]
    assert (await finished(again)).stop_reason == SPENT
    config = json.loads(saved)["config"]["custom_message_types"]
    assert config[0]["config"]["content_model_name"] == "Idea"
    assert config[1] == f"{__name__}:Cue"

    class Local(BaseTextChatMessage): ...

    with pytest.raises(RecipelabError, match="JSON can name Local only if it is defined in"):
        team_of(1, custom_message_types=[Local]).dump_component()
    with pytest.raises(RecipelabError, match="no class of messages; valid: subclasses of Base"):
        team_of(1, custom_message_types=[Idea])
    for wrong in ("os:getcwd", "no_such_module:X", f"{__name__}:Nobody", "x"):
        table = json.loads(saved)
        table["config"]["custom_message_types"] = [wrong]
        with pytest.raises(RecipelabError, match="custom_message_types: "):
            BaseGroupChat.load_component(table)


class Counting(DefaultInterventionHandler):
    """Counts what goes through a runtime."""

    def __init__(self) -> None:
        self.published = 0

    async def on_publish(self, message: Any, *, message_context: Any) -> Any:
        self.published += 1
        return message


@pytest.mark.filterwarnings("ignore:Intervention handler on_response returned None")
async def test_a_runtime_of_ones_own_is_used_and_left_running(project: Path) -> None:
    handler = Counting()
    runtime = SingleThreadedAgentRuntime(intervention_handlers=[handler])
    runtime.start()
    team = team_of(2, turns=1, runtime=runtime)
    assert (await finished(team)).stop_reason == SPENT
    seen = handler.published
    assert seen > 4
    other = RoundRobinGroupChat(
        [planner()], max_turns=1, runtime=runtime, custom_message_types=[StructuredMessage[Idea]]
    )
    await finished(other, task="Go.")
    assert handler.published > seen
    await runtime.stop_when_idle()


async def test_an_error_on_a_runtime_of_ones_own_ends_a_round_alone(project: Path) -> None:
    runtime = SingleThreadedAgentRuntime()
    runtime.start()

    class Failing(Prompter):
        failed = False

        async def on_messages(
            self, messages: Sequence[BaseChatMessage], cancellation_token: CancellationToken
        ) -> Response:
            if not self.failed:
                self.failed = True
                raise ValueError("I am out of order")
            return await super().on_messages(messages, cancellation_token)

    team = team_of(2, runtime=runtime, participants=[Failing("failing", ".")])
    result = await finished(team)
    assert result.stop_reason == SPENT
    assert "Mind the step." in [message.to_text() for message in result.messages]
    await runtime.stop()


async def test_a_model_context_chooses_what_a_turn_keeps(project: Path) -> None:
    model, kind = Watched(), UserMessage(content="Be kind.", source="user")
    context = BufferedChatCompletionContext(buffer_size=30, initial_messages=[kind])
    team = team_of(2, {"": model}, model_context=context)
    assert (await finished(team)).stop_reason == SPENT
    # Instructions, the lineage view, and what each turn begins with.
    for messages in model.seen:
        assert "Trials so far" in str(messages[3].content)
        assert messages[4] == kind
    assert await context.get_messages() == [kind]
    saved = team.dump_component()
    assert saved.config["model_context"]["config"]["buffer_size"] == 30
    assert ResearchGroupChat.load_component(saved).dump_component() == saved


async def test_a_turn_keeps_what_its_context_gives(project: Path) -> None:
    inner = HeadAndTailChatCompletionContext(head_size=1, tail_size=2)
    turn = TurnContext(lambda: ("the view",), inner=inner)
    for _ in range(2):
        await turn.begin_turn()
        for number in range(9):
            await turn.add_message(UserMessage(content=str(number), source="user"))
        kept = [str(message.content) for message in await turn.get_messages()]
        assert [kept[0], kept[1], kept[-2], kept[-1]] == ["the view", "0", "7", "8"]
        assert len(kept) == 5
    assert await inner.get_messages() == []


class Streaming(OfflineClient):
    """Says its answer word by word."""

    async def create_stream(
        self, messages: Sequence[LLMMessage], **options: Any
    ) -> AsyncGenerator[str | CreateResult, None]:
        for piece in ("Let me ", "look."):
            yield piece
        yield await self.create(messages, **options)


async def test_tokens_of_specialists_are_streamed(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    team = team_of(1, {"": Streaming()}, name="c", model_client_stream=True)
    pieces = []

    async def watched() -> AsyncGenerator[Any, None]:
        async for item in team.run_stream():
            if isinstance(item, ModelClientStreamingChunkEvent):
                pieces.append((item.source, item.content))
            yield item

    result = await asyncio.wait_for(Console(watched()), SECONDS)
    assert isinstance(result, TaskResult) and result.stop_reason == SPENT
    assert ("left", "Let me ") in pieces
    assert "Let me look." in capsys.readouterr().out
    assert not any(isinstance(m, ModelClientStreamingChunkEvent) for m in result.messages)
    with LineageStore.open(project / ".recipelab/lineage.db") as store:
        assert "ModelClientStreamingChunkEvent" not in {m.type for m in store.messages("c")}
    assert (
        ResearchGroupChat.load_component(
            research_team("toy", trials=1, model_client_stream=True).dump_component()
        )
        .dump_component()
        .config["model_client_stream"]
    )


async def test_two_research_teams_take_part_in_one_team(project: Path) -> None:
    given: dict[str, Any] = {"sandbox": "local", "trials": 1, "slots": 1}
    day = research_team("toy", team_name="day", name="c", **given)
    night = research_team(
        "toy", team_name="night", description="Works at night.", name="d", **given
    )
    outer = RoundRobinGroupChat([day, night], max_turns=2)
    result = await finished(outer, task="Go.")
    said = {message.source: message.to_text() for message in result.messages}
    assert "Campaign c: 1 trial" in said["day"]
    assert "Campaign d: 1 trial" in said["night"]
    assert night.description == "Works at night."


def test_every_argument_of_a_team_has_a_type() -> None:
    hints = get_type_hints(research_team)["options"]
    assert hints.__args__ == (TeamOptions,)
    assert set(LimitOptions.__annotations__) == set(BudgetLimits.model_fields)
    named = {*signature(research_team).parameters} - {"options"}
    # Trackers are fed by whoever runs a campaign as a whole; of a team's, by `recipelab track`.
    assert set(PlanOptions.__annotations__) | named >= set(Plan.model_fields) - {"track"}
    chat = {*signature(ResearchGroupChat).parameters} - {"plan", "overrides", "clients", "name"}
    assert set(ChatOptions.__annotations__) == chat - named


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"trails": 3}, "unknown argument of research_team 'trails'; valid: accept_self_reported"),
        ({"slots": "two"}, "slots: Input should be a valid integer"),
        (
            {"limits": BudgetLimits(trials=2), "hours": 1.0},
            r"limits and hours both say what may be spent: give limits=BudgetLimits\(hours=",
        ),
        ({"money": -1}, "money: Input should be greater than 0"),
    ],
)
def test_wrong_arguments_are_told(project: Path, given: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipelabError, match=told):
        research_team("toy", **given)


def test_json_of_a_team_is_not_tied_to_a_folder(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = project / "m.json"
    model.write_text(OfflineClient(seed=3).dump_component().model_dump_json())
    team = research_team(str(project / "task_packs/toy"), trials=1, model="m.json")
    saved = team.dump_component().model_dump_json()
    assert str(project) not in saved
    config = json.loads(saved)["config"]
    assert {"home", "lineage"}.isdisjoint(config)
    assert config["plan"]["pack"] == "toy"
    assert config["plan"]["model"]["config"] == {"seed": 3}
    given = research_team("toy", trials=1, home="runs", lineage="mine.db")
    assert given.dump_component().config["lineage"] == "mine.db"

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with pytest.raises(RecipelabError, match=r"the team's JSON names the pack 'toy': unknown task"):
        BaseGroupChat.load_component(json.loads(saved))
    assert os.listdir(elsewhere) == []
    (elsewhere / "task_packs").symlink_to(project / "task_packs")
    (elsewhere / "agents").symlink_to(project / "agents")
    assert (
        BaseGroupChat.load_component(json.loads(saved)).dump_component().model_dump_json() == saved
    )


async def test_a_state_of_another_team_is_refused(project: Path) -> None:
    team = team_of(1, name="c")
    own = dict(await team.save_state())
    round_robin = await RoundRobinGroupChat([planner()]).save_state()
    for foreign in ({}, {"a": 1}, round_robin, own | {"more": 1}, {**own, "agent_states": {}}):
        with pytest.raises(ValidationError):
            await team.load_state(foreign)
    with pytest.raises(ValueError, match="the state holds no left, right, evaluator"):
        await team.load_state({**round_robin, "campaign": "d"})
    assert team.plan.name == "c"
    await team.load_state(json.loads(json.dumps(own)))


@pytest.mark.parametrize("task", [5, [], ["Go."], {"a": 1}, [5]])
async def test_a_task_that_is_none_is_refused_as_autogen_does(project: Path, task: Any) -> None:
    team, stock = team_of(1), RoundRobinGroupChat([planner()])
    for one in (team, stock):
        with pytest.raises(ValueError, match=r"(?i)task"):
            await finished(one, task=task)
    assert not (project / ".recipelab").exists()


async def test_agents_of_a_campaign_take_part_in_a_graph(project: Path) -> None:
    research = research_team("toy", sandbox="local", trials=2, slots=1, name="c")
    async with research.agents() as agents:
        assert list(agents) == ["left", "right", "evaluator"]
        with pytest.raises(RecipelabError, match="unknown agent of the campaign 'up'; valid: eval"):
            agents["up"]
        builder = DiGraphBuilder()
        for name in ("left", "evaluator"):
            builder.add_node(agents[name])
        builder.add_edge(agents["left"], agents["evaluator"])
        members: list[ChatAgent] = [agents["left"], agents["evaluator"]]
        result = await finished(GraphFlow(members, builder.build()), task="Go.")
        assert any("Trial 1 (" in message.to_text() for message in result.messages)
        with LineageStore.open(project / ".recipelab/lineage.db") as store:
            assert store.trial("c", 1).specialist == "left"
            assert store.campaign("c").state == "running"
        chat = RoundRobinGroupChat([agents["right"], agents["evaluator"]], max_turns=2)
        await finished(chat, task="Go.")
    with LineageStore.open(project / ".recipelab/lineage.db") as store:
        campaign = store.campaign("c")
        assert (campaign.state, campaign.stop_reason) == ("finished", SPENT)
        assert store.trial_count("c") == 3
    assert (
        await finished(research_team("toy", sandbox="local", trials=2, name="c"))
    ).stop_reason == SPENT


async def test_a_campaign_left_by_its_agents_can_go_on(project: Path) -> None:
    research = research_team("toy", sandbox="local", trials=1, slots=1, name="c")
    with pytest.raises(ValueError, match="out of luck"):
        async with research.agents() as agents:
            await finished(RoundRobinGroupChat([agents["left"]], max_turns=1), task="Go.")
            raise ValueError("out of luck")
    with LineageStore.open(project / ".recipelab/lineage.db") as store:
        campaign = store.campaign("c")
        assert (campaign.state, campaign.stop_reason) == ("stopped", "out of luck")
    assert (await finished(research)).stop_reason == SPENT


@pytest.mark.parametrize("shown", [True, False])
async def test_the_task_is_in_the_result_or_not(project: Path, shown: bool) -> None:
    task = [TextMessage(content=text, source="user") for text in ("Be bold.", "Be brief.")]
    team = team_of(1)
    result = await finished(team, task=task, output_task_messages=shown)
    said = [message.to_text() for message in result.messages]
    assert said.count("Be bold.") == said.count("Be brief.") == shown
    model = Watched()
    await finished(team_of(1, {"": model}, name="d"), task=task, output_task_messages=shown)
    assert "Be bold." in str(model.seen[0]) and "Be brief." in str(model.seen[0])


def house(trials: int) -> RoundRobinGroupChat:
    """A team in which the research team is a member of a member."""
    known: dict[str, Any] = {"custom_message_types": [Cue]}
    inner = RoundRobinGroupChat([team_of(trials, name="c")], name="inner", max_turns=1, **known)
    return RoundRobinGroupChat([inner, Prompter("prompter", ".")], max_turns=2, **known)


@pytest.mark.slow
async def test_a_larger_team_is_saved_with_the_research_team_in_it(project: Path) -> None:
    state: dict[str, Any] = dict(await house(1).save_state())
    for trials in (1, 2):
        team = house(trials)
        await team.load_state(json.loads(json.dumps(state)))
        result = await finished(team, task="Go.")
        said = str([message.to_text() for message in result.messages])
        assert f"Campaign c: {trials} trials" in said
        state = dict(await team.save_state())
    loaded = RoundRobinGroupChat.load_component(
        RoundRobinGroupChat([team_of(2, name="c")], max_turns=1).dump_component()
    )
    assert SPENT in str((await finished(loaded, task="Go.")).messages[-1].to_text())
