"""The research group chat: rounds, who speaks when, and the traps of AutoGen that must not bite."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from autogen_agentchat.base import TaskResult
from autogen_agentchat.conditions import MaxMessageTermination
from autogen_agentchat.messages import BaseChatMessage, TextMessage
from autogen_agentchat.teams import BaseGroupChat, SelectorGroupChat
from autogen_core import CancellationToken
from autogen_core.models import CreateResult, LLMMessage, RequestUsage

from recipelab import LineageStore, ResearchGroupChat
from recipelab.agents import EVALUATOR
from recipelab.agents.context import VIEW_SOURCE
from recipelab.agents.specialist import FAULT
from recipelab.campaign.reader import CampaignReader
from recipelab.core.trial import Edit, Proposal, Status
from recipelab.evaluation.pace import TurnPace
from recipelab.evaluation.queue import TrialQueue
from recipelab.lineage import NewMessage, TrialFilter
from recipelab.team.loop import CampaignLoop, opening_message
from recipelab.team.notes import NOTE, Listener, Notes
from recipelab.team.scheduler import TurnScheduler
from recipelab.team.speakers import RoundRobin, SpeakerContext
from recipelab.team.turns import Silence

from .fated import scored
from .helpers import Naming, Watched, team_of

SECONDS = 180
"""Longer than any of these campaigns takes: what hangs fails."""


def said(result: TaskResult) -> list[BaseChatMessage]:
    chat = [message for message in result.messages if isinstance(message, BaseChatMessage)]
    return [message for message in chat if NOTE not in message.metadata]


def lineage(project: Path) -> LineageStore:
    return LineageStore.open(project / ".recipelab/lineage.db")


async def finished(team: ResearchGroupChat, **more: object) -> TaskResult:
    return await asyncio.wait_for(team.run(**more), SECONDS)  # type: ignore[arg-type]


async def test_specialists_take_turns_and_the_evaluator_reports_each_outcome(project: Path) -> None:
    result = await finished(team_of(4), task="Improve it.")
    sources = [message.source for message in said(result)]
    assert sources == [
        EVALUATOR,
        "recipelab",
        "user",
        *("left", EVALUATOR, "right", EVALUATOR) * 2,
        "recipelab",
    ]
    reports = [message for message in said(result) if message.source == EVALUATOR]
    assert [message.metadata["trials"] for message in reports] == ["0", "1", "2", "3", "4"]
    assert result.stop_reason == "the budget of trials is spent"
    assert "4 trials" in said(result)[-1].to_text()


async def test_a_round_names_what_is_trained_and_not_the_pack_alone(desk: TrialQueue) -> None:
    told = opening_message(desk, 3).to_text()
    assert told == "Round 3: improve loss of A parabola in pure Python (toy, profile mini)."


async def test_the_lineage_keeps_what_each_turn_was_shown(project: Path) -> None:
    """What the model is sent at its first call, with the trial and the messages that came of it."""
    models = {"left": Watched(), "right": Watched()}
    await finished(team_of(4, dict(models), slots=2))
    with lineage(project) as store:
        (campaign,) = store.campaigns()
        turns = store.turns(campaign.name)
        assert sorted(n for turn in turns for n in turn.trials) == [1, 2, 3, 4]
        for name, model in models.items():
            opened = [
                [str(m.content) for m in seen if getattr(m, "source", "") == VIEW_SOURCE]
                for seen in model.seen
            ]
            assert all(own.startswith("# Your surfaces") for _, own, _ in opened)
            openings = [f"{common}\n\n{past}" for common, _, past in opened]
            own = [turn for turn in turns if turn.specialist == name]
            texts = [store.view_text(turn.view) for turn in own if turn.view]
            assert all(opening.startswith("## The recipe of trial ") for opening in openings)
            assert texts == list(dict.fromkeys(openings))
        messages = store.messages(campaign.name)
        for turn in turns:
            positions = store.turn_messages(campaign.name, turn.number)
            said_here = [messages[position] for position in positions]
            assert {message.source for message in said_here} == {turn.specialist}
            assert said_here[-1].type in ("TextMessage", "ToolCallSummaryMessage")
            about = {m.trial for m in said_here if m.trial is not None}
            assert about == set(turn.trials)
            assert turn.began_at <= said_here[0].created_at


async def test_it_is_a_selector_group_chat_that_json_holds_whole(project: Path) -> None:
    condition = MaxMessageTermination(1000)
    team = team_of(2, speakers="credit", exploration=0.7, ahead=1, termination_condition=condition)
    assert isinstance(team, SelectorGroupChat)
    text = team.dump_component().model_dump_json()
    again = BaseGroupChat.load_component(json.loads(text))
    assert isinstance(again, ResearchGroupChat)
    assert again.plan == team.plan
    assert again.dump_component() == team.dump_component()
    result = await finished(again)
    assert result.stop_reason == "the budget of trials is spent"
    # The name was the first free one; who loads the team now goes on with its campaign.
    assert json.loads(again.dump_component().model_dump_json())["config"]["plan"]["name"] == "toy-1"


async def test_a_run_of_a_campaign_that_is_spent_says_so_and_ends(project: Path) -> None:
    await finished(team_of(2, name="c"))
    result = await finished(team_of(2, name="c"))
    (last,) = said(result)
    assert "the budget of trials is spent" in last.to_text()
    with lineage(project) as store:
        assert store.trial_count("c") == 3


async def test_trials_run_while_specialists_think_and_nobody_waits_for_the_slowest(
    project: Path,
) -> None:
    held = asyncio.Event()
    quick, slow = Watched(), Watched(holds=held)
    team = team_of(6, {"": quick, "left": slow}, slots=2, share_devices=True, ahead=2)

    async def listen() -> int:
        reported = 0
        async for item in team.run_stream():
            if isinstance(item, BaseChatMessage) and item.source == EVALUATOR:
                reported += (
                    len(item.metadata["trials"].split(",")) if "trials" in item.metadata else 0
                )
            # The other specialist has proposed, and its trial has ended, while this one thinks.
            if reported >= 2 and not held.is_set():
                assert slow.at_once
                held.set()
        return reported

    assert await asyncio.wait_for(listen(), SECONDS) == 7
    assert quick.calls > 4


async def test_specialists_think_at_the_same_time_and_see_what_is_in_flight(project: Path) -> None:
    held = asyncio.Event()
    client = Watched(holds=held)
    team = team_of(4, {"": client}, slots=2, share_devices=True)

    client.when_two_think(held.set)
    result = await finished(team)
    assert client.most_at_once == 2
    with lineage(project) as store:
        records = store.query("toy-1", TrialFilter(order="oldest")).items
    assert len({record.digest for record in records if record.digest}) == len(records)
    shown = [str(message.content) for seen in client.seen for message in seen]
    assert any("in flight" in text for text in shown)
    assert isinstance(result, TaskResult)


async def test_a_cancelled_tool_call_does_not_hang_the_team(project: Path) -> None:
    team = team_of(4)
    token = CancellationToken()

    async def listen() -> None:
        async for item in team.run_stream(cancellation_token=token):
            # The request for a tool has been made, and the tool is being called now.
            if type(item).__name__ == "ToolCallRequestEvent":
                token.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(listen(), SECONDS)
    result = await finished(team)
    assert result.stop_reason == "the budget of trials is spent"


async def test_a_cancelled_task_ends_soon_and_the_campaign_goes_on_later(project: Path) -> None:
    team = team_of(3, name="c")

    async def listen() -> None:
        async for item in team.run_stream():
            if isinstance(item, BaseChatMessage) and item.source == "left":
                waiting.set()

    waiting = asyncio.Event()
    task = asyncio.create_task(listen())
    await asyncio.wait_for(waiting.wait(), SECONDS)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, SECONDS)
    with lineage(project) as store:
        assert store.campaign("c").state == "stopped"
        assert [record.number for record in store.in_flight("c")] == [1]
    await finished(team_of(3, name="c"))
    with lineage(project) as store:
        assert None not in store.counts("c")
        assert store.campaign("c").state == "finished"


async def test_a_team_lives_on_after_the_model_has_failed(project: Path) -> None:
    client = Watched(fails=2)
    result = await finished(team_of(2, {"": client}))
    excuses = [message for message in said(result) if "could not finish" in message.to_text()]
    assert [message.metadata["fault"] for message in excuses] == ["ValueError"] * 2
    assert result.stop_reason == "the budget of trials is spent"


async def test_a_model_that_never_submits_is_stopped_with_a_report(project: Path) -> None:
    team = team_of(4, {"": Naming(*["I would rather not."] * 1000)})
    result = await finished(team)
    assert result.stop_reason is not None
    expected = r"3 rounds in a row brought no trial: (\d+) turns, \1 of them without"
    assert re.match(expected, result.stop_reason)
    assert team.ended is not None
    assert not team.ended.finished


@pytest.mark.parametrize("answer", ["nobody that I know", "evaluator", "left or right", EVALUATOR])
async def test_a_selector_that_names_nobody_valid_does_not_stall_the_team(
    project: Path, answer: str
) -> None:
    selector = Naming(*[answer] * 1000)
    team = team_of(3, {"selector": selector}, speakers="model")
    result = await finished(team)
    speakers = [message.source for message in said(result) if message.source in ("left", "right")]
    assert len(speakers) == 3
    assert result.stop_reason == "the budget of trials is spent"


async def test_a_selector_that_names_a_specialist_is_heard(project: Path) -> None:
    selector = Naming(*["right"] * 100)
    result = await finished(team_of(3, {"selector": selector}, speakers="model"))
    speakers = [message.source for message in said(result) if message.source in ("left", "right")]
    assert speakers == ["right"] * 3
    # Only specialists are offered, and the outcomes so far are told.
    assert "evaluator:" not in selector.prompts[0].split("What was said last")[0]
    assert "Trial 1 (right by right)" in selector.prompts[1]


async def test_a_loaded_state_is_gone_on_with_and_told_once(project: Path) -> None:
    first = team_of(4, name="c", termination_condition=MaxMessageTermination(4))
    await finished(first)
    state = json.loads(json.dumps(await first.save_state()))
    selector = Naming(*["right"] * 100)
    second = team_of(4, {"selector": selector}, speakers="model")
    await second.load_state(state)
    result = await finished(second)
    assert second.plan.name == "c"
    assert result.stop_reason == "the budget of trials is spent"
    history = selector.prompts[0].split("What was said last:")[1]
    assert history.count("Round 1: improve") == 1


@pytest.mark.slow
async def test_memory_does_not_grow_with_rounds(project: Path) -> None:
    team = team_of(12, turns=2, profile="two")
    rounds: list[int] = []
    tasks: list[int] = []
    async for item in team.run_stream():
        if isinstance(item, BaseChatMessage) and item.source == "user":
            # A token of AutoGen holds each task that it was linked to, and what came of it.
            gc.collect()
            # Of the type alone: `isinstance` asks each object for its class, and PyTorch has some
            # that answer with a warning.
            tasks.append(sum(issubclass(type(held), asyncio.Task) for held in gc.get_objects()))
            rounds.append(len((await team.save_state())["agent_states"]))
            state = await team.save_state()
            buffered = [
                len(one["message_buffer"])
                for one in state["agent_states"].values()
                if "message_buffer" in one
            ]
            assert max(buffered) <= 2
    assert len(rounds) >= 6
    assert max(tasks[2:]) < tasks[1] + 10


async def test_a_users_condition_ends_a_run_and_the_next_goes_on(project: Path) -> None:
    team = team_of(3, name="c", termination_condition=MaxMessageTermination(4))
    async with team:
        first = await finished(team)
        assert "Maximum number of messages 4 reached" in str(first.stop_reason)
        assert team.ended is not None
        assert not team.ended.finished
        for _ in range(4):
            last = await finished(team)
        assert last.stop_reason == "the budget of trials is spent"
    with lineage(project) as store:
        counts = store.counts("c")
    assert sum(n for status, n in counts.items() if status and status.counts) == 3
    assert Status.ABORTED not in counts


async def test_a_running_team_cannot_be_run_twice(project: Path) -> None:
    team = team_of(1)
    async for _ in team.run_stream():
        with pytest.raises(ValueError, match="already running"):
            await team.run()
        with pytest.raises(RuntimeError, match="currently running"):
            await team.reset()
        break


@pytest.mark.slow
async def test_who_can_do_nothing_does_not_have_the_floor_all_the_time(project: Path) -> None:
    # The second specialist of the pack has neither knobs nor plays, and the offline model invents
    # none.
    train = project / "task_packs/toy/recipe/train.py"
    train.write_text(re.sub(r"(?m)  # knob right:.*$", "", train.read_text()))
    (project / "task_packs/toy/playbook.toml").unlink()
    result = await finished(team_of(6, speakers="credit"))
    turns = Counter(message.source for message in said(result))
    with lineage(project) as store:
        counts = store.counts(store.campaigns()[0].name)
    assert result.stop_reason == "the budget of trials is spent"
    assert turns["left"] >= 6
    # Once at the start, and once after each kept trial at most.
    assert 1 <= turns["right"] <= 1 + counts.get(Status.KEPT, 0)


class Passing(Watched):
    """A model that looks at the recipe and passes with a reason, every time."""

    async def create(self, messages: Sequence[LLMMessage], **more: Any) -> CreateResult:
        self.seen.append(list(messages))
        usage = RequestUsage(prompt_tokens=0, completion_tokens=0)
        words = "I pass: nothing on my surface can gain what two seeds would show."
        return CreateResult(finish_reason="stop", content=words, usage=usage, cached=False)


async def test_who_has_the_floor_and_who_passed_is_told(project: Path) -> None:
    holds = asyncio.Event()
    clients = {"left": Watched(holds=holds), "right": Passing()}
    team = team_of(2, dict(clients), slots=2, ahead=1)
    running = asyncio.create_task(finished(team))
    async with asyncio.timeout(SECONDS):
        while clients["left"].at_once == 0:
            assert not running.done(), running.result()
            await asyncio.sleep(0.02)
        with CampaignReader.open(home=project / ".recipelab") as reader:
            while True:
                now = reader.now()
                if now.floor and now.passes:
                    break
                await asyncio.sleep(0.02)
    (floor,), (passed,) = now.floor, now.passes
    assert (floor.specialist, floor.doing) == ("left", "thinking")
    assert passed.specialist == "right"
    assert passed.reason == "I pass: nothing on my surface can gain what two seeds would show."
    assert floor.since <= floor.call_since <= time.time()
    holds.set()
    await running


async def test_who_passes_is_not_asked_again_until_something_has_changed(project: Path) -> None:
    passing = Passing()
    team = team_of(4, {"left": passing, "right": Watched()}, speakers="credit", slots=2, ahead=1)
    result = await finished(team)
    assert result.stop_reason == "the budget of trials is spent"
    sources = [message.source for message in said(result)]
    with lineage(project) as store:
        kept = sum(store.trial("toy-1", n).status is Status.KEPT for n in range(1, 5))
    assert len(passing.seen) == sources.count("left") <= 1 + kept
    assert sources.count("right") == 4


async def test_where_all_pass_the_campaign_ends_after_one_more_ask_a_round(project: Path) -> None:
    clients = {"left": Passing(), "right": Passing()}
    result = await finished(team_of(4, clients, speakers="credit"))
    assert result.stop_reason is not None
    assert result.stop_reason.startswith("3 rounds in a row brought no trial: 5 turns")
    assert sum(len(client.seen) for client in clients.values()) == 2 + 3


async def test_who_has_passed_is_known_to_the_next_run(desk: TrialQueue) -> None:
    def heard(*said: TextMessage) -> None:
        kept = [NewMessage(one.source, "TextMessage", one.dump(), None) for one in said]
        desk.store.add_messages("c", kept, round_number=None)

    def may_speak() -> list[str]:
        surfaces = {"left": ("left",), "right": ("right",)}
        notes = Notes("c", Listener, lambda message: None)
        context = SpeakerContext(surfaces, desk.pack.metric.goal)
        loop = CampaignLoop(desk, Listener(), notes, RoundRobin(context), surfaces)
        loop.start_round()
        return loop.silence.among(surfaces, nothing_goes_on=False)

    assert may_speak() == ["left", "right"]
    heard(TextMessage(content="Nothing beats the noise.", source="left"))
    heard(TextMessage(content="The model failed.", source="right", metadata={FAULT: "ValueError"}))
    assert may_speak() == ["right"]
    edit = Edit("recipe/train.py", "X = 1.0", "X = 3.0")
    number = desk.submit(Proposal("left", "left", 0, "nearer", -1.0, (edit,)), round_number=None)
    await desk.stop()
    desk.store.record("c", number.number, scored(Status.KEPT, 0.5))
    report = TextMessage(content="Trial 1: kept.", source=EVALUATOR, metadata={"trials": "1"})
    heard(report)
    assert may_speak() == ["left", "right"]
    heard(TextMessage(content="Still nothing.", source="left"))
    assert may_speak() == ["right"]
    desk.store.add_note("c", "Look at the width.")
    assert may_speak() == ["left", "right"]


async def test_who_waits_for_a_trial_takes_no_turn_from_others(desk: TrialQueue) -> None:
    scheduler = TurnScheduler(desk, ["left", "right"], turns=9, ahead=1)
    edit = Edit("recipe/train.py", "X = 1.0", "X = 3.0")
    desk.submit(Proposal("left", "left", 0, "nearer", -1.0, (edit,)), round_number=None)
    scheduler.start_turn("left")
    assert scheduler.openings() == 0
    waiting = asyncio.create_task(desk.wait_for(1, seconds=60))
    await asyncio.sleep(0)
    assert scheduler.openings() == 1
    await waiting
    assert desk.store.brief("c", 1).status is not None


async def test_no_more_are_asked_than_there_are_slots_before_the_first_outcome(
    desk: TrialQueue,
) -> None:
    silence, pace = Silence({"left": ("left",), "right": ("right",)}), TurnPace()
    pace.add(200.0, brought=False)
    desk.pace.lengths.add(10.0)
    scheduler = TurnScheduler(desk, ["left", "right"], turns=9, turn_pace=pace, silence=silence)
    scheduler.start_turn("left")
    assert (desk.slots, scheduler.openings()) == (1, 0)
    silence.trial_judged(Status.BASELINE, "baseline")
    assert scheduler.openings() == 0
    silence.trial_judged(Status.DISCARDED, "left")
    assert scheduler.openings() == 1, "a turn that is long beside a trial begins ahead of it"
    new = Silence({"left": ("left",), "right": ("right",)})
    desk.slots = 2
    many = TurnScheduler(desk, ["left", "right"], turns=9, turn_pace=pace, silence=new)
    many.start_turn("left")
    assert many._most_ahead() == 3, "with a slot for each, slots must not wait"
