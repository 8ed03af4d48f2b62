"""Several turns of one specialist at the same time, where slots ask for them."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from autogen_agentchat.messages import BaseChatMessage, TextMessage
from autogen_core.models import CreateResult, LLMMessage

from recipelab.agents.lineage_view import IN_TURN, SUBMITTED
from recipelab.core.trial import Status
from recipelab.evaluation.pace import TurnPace
from recipelab.evaluation.queue import TrialQueue
from recipelab.lineage import LineageStore, TrialFilter
from recipelab.team.scheduler import TurnScheduler
from recipelab.team.turns import Silence, TurnOutcome, TurnReader, TurnResult

from .helpers import Watched, team_of

SECONDS = 120


class Thinkers(Watched):
    """Lets nobody answer before so many think at the same time."""

    def __init__(self, together: int) -> None:
        super().__init__(holds=asyncio.Event())
        self._together = together

    async def create(self, messages: Sequence[LLMMessage], **more: Any) -> CreateResult:
        assert self.holds is not None
        if self.at_once + 1 >= self._together:
            self.holds.set()
        return await super().create(messages, **more)


@pytest.mark.slow
async def test_one_specialist_thinks_for_three_slots(project: Path) -> None:
    model = Thinkers(3)
    team = team_of(6, {"": model}, slots=3, share_devices=True, ahead=None, specialists=("left",))
    said: list[BaseChatMessage] = []
    async with asyncio.timeout(SECONDS):
        async for item in team.run_stream(task="Prefer small changes."):
            if isinstance(item, BaseChatMessage):
                said.append(item)
    assert model.most_at_once >= 3
    with LineageStore.open(project / ".recipelab/lineage.db") as store:
        trials = store.query("toy-1", TrialFilter(order="oldest")).items
        turns = {turn.number: turn for turn in store.turns("toy-1")}
    own = [trial for trial in trials if trial.number]
    # They are one specialist: in the lineage, in the transcript, and for the ledger.
    assert {trial.specialist for trial in own} == {"left"}
    assert {turn.specialist for turn in turns.values()} == {"left"}
    words = [item for item in said if item.source == "left"]
    numbers = [int(item.metadata[IN_TURN]) for item in words]
    assert len(numbers) == len(set(numbers)) == len(turns)
    # What each said is of its own trials.
    for item, number in zip(words, numbers, strict=True):
        named = re.findall(rf"{SUBMITTED} (\d+):", item.to_text())
        assert set(map(int, named)) <= set(turns[number].trials)
    assert sorted(n for turn in turns.values() for n in turn.trials) == [t.number for t in own]
    # Each heard the task of the round, whoever was seated first.
    first = model.seen[:3]
    # Who has another turn knows it, so as not to have the same idea.
    shown = [" ".join(str(m.content) for m in seen) for seen in model.seen]
    assert any("other turns of yours at the same time" in text for text in shown)
    assert all(any("Prefer small changes." in str(m.content) for m in seen) for seen in first)


def test_turns_of_one_specialist_are_told_apart_by_their_numbers() -> None:
    reader = TurnReader(["left"])
    ends = [
        TextMessage(content="Submitted.", source="left", metadata={IN_TURN: str(number)})
        for number in (1, 2)
    ]
    found = [reader.read(message) for message in reversed(ends)]
    assert [turn.result for turn in found if turn] == [TurnResult.PASSED] * 2


async def test_nobody_has_two_turns_while_there_are_enough_specialists(desk: TrialQueue) -> None:
    pace = TurnPace()
    scheduler = TurnScheduler(desk, ["left", "right"], turns=9, ahead=3, turn_pace=pace)
    scheduler.start_turn("left")
    assert scheduler.candidates() == ["right"]
    scheduler.start_turn("right")
    assert scheduler.candidates() == []


async def test_turns_of_one_are_timed_each(desk: TrialQueue) -> None:
    clock = asyncio.get_running_loop().time
    desk.slots = 4
    scheduler = TurnScheduler(desk, ["left"], turns=9)
    began = clock()
    scheduler.start_turn("left")
    await asyncio.sleep(0.3)
    scheduler.start_turn("left")
    assert scheduler.busy() == Counter(left=2)
    # The second ends first.
    scheduler.turn_lasted("left", 0.1)
    scheduler.end_turn("left")
    assert scheduler.thinking == 1
    scheduler.turn_lasted("left", clock() - began)
    scheduler.end_turn("left")
    assert scheduler.nobody_active
    assert scheduler.turn_pace.lengths.high is not None
    assert scheduler.turn_pace.lengths.high >= 0.3


async def test_a_long_round_ends_when_turns_bring_no_trial(desk: TrialQueue) -> None:
    scheduler = TurnScheduler(desk, ["left", "right"], turns=100, most_barren=3)
    for _ in range(3):
        assert scheduler.openings()
        scheduler.start_turn("left")
        scheduler.learn(TurnOutcome("left", TurnResult.PASSED))
        scheduler.end_turn("left")
    assert not scheduler.openings()
    assert scheduler.end_reason == "3 turns in a row brought no trial"


def test_who_passes_twice_at_the_same_time_has_passed_once() -> None:
    silence = Silence({"left": ("left",), "right": ("right",)})
    passed = TurnOutcome("left", TurnResult.PASSED)
    for _ in range(2):
        silence.turn_began("left")
    for _ in range(2):
        silence.turn_ended(passed)
    silence.trial_judged(Status.KEPT, "right")
    assert silence.may_speak("left"), "one piece of news is enough after one pass"
