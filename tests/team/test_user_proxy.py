"""A person as a participant of the team, by AutoGen's own agent for that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from autogen_agentchat.agents import UserProxyAgent
from autogen_agentchat.base import TaskResult
from autogen_agentchat.messages import BaseChatMessage
from autogen_core import CancellationToken
from autogen_core.models import CreateResult, LLMMessage

from recipelab import ResearchGroupChat, research_team
from recipelab.budget import BudgetLimits
from recipelab.core.content import Home
from recipelab.core.errors import RecipelabError
from recipelab.core.trial import Status
from recipelab.lineage import LineageStore, TrialFilter, TrialRecord
from recipelab.models import OfflineClient
from recipelab.plan import Plan

WORDS = "Leave the padding alone."


class Hearing(OfflineClient):
    """The offline model, which keeps what specialists hear."""

    def __init__(self) -> None:
        super().__init__(seed=1)
        self.heard: list[str] = []

    async def create(self, messages: Sequence[LLMMessage], **more: Any) -> CreateResult:
        self.heard.append("\n".join(str(message.content) for message in messages))
        return await super().create(messages, **more)


async def test_a_person_has_a_turn_in_each_round_and_is_heard_in_it(project: Path) -> None:
    asked: list[str] = []

    async def person(prompt: str, token: CancellationToken | None = None) -> str:
        asked.append(prompt)
        return f"{WORDS} ({len(asked)})"

    client = Hearing()
    team = research_team(
        "toy",
        sandbox="local",
        model=client,
        trials=4,
        turns=2,
        slots=1,
        participants=[UserProxyAgent("me", input_func=person)],
    )
    said: list[BaseChatMessage] = []
    async for item in team.run_stream():
        if isinstance(item, BaseChatMessage):
            said.append(item)
        elif isinstance(item, TaskResult):
            assert item.stop_reason == "the budget of trials is spent"
    rounds = sum(message.source == "user" for message in said)
    words = [message.to_text() for message in said if message.source == "me"]
    assert rounds >= 2
    assert words == [f"{WORDS} ({number})" for number in range(1, rounds + 1)]
    for number in (1, 2):
        # In a context that begins with this round's words, not those of the round before.
        assert any(
            f"({number})" in text and f"({number + 1})" not in text for text in client.heard
        ), f"nobody heard what was said in round {number}"
    assert not any("(1)" in text and "(2)" in text for text in client.heard)


async def test_an_app_is_asked_before_each_trial_but_the_baseline(project: Path) -> None:
    asked: list[int] = []

    async def approve(record: TrialRecord) -> str | None:
        asked.append(record.number)
        return "not this one" if len(asked) == 1 else None

    team = research_team("toy", sandbox="local", trials=2, slots=1, name="c", approve=approve)
    await team.run()
    with LineageStore.open(Home.find().lineage) as store:
        records = store.query("c", TrialFilter(order="oldest")).items
    assert asked == [record.number for record in records[1:]]
    outcome = records[1].outcome
    assert outcome is not None
    assert (outcome.status, outcome.reason) == (
        Status.REJECTED,
        "a person declined it: not this one",
    )


async def test_a_campaign_that_is_to_ask_does_not_run_without_anybody(project: Path) -> None:
    plan = Plan(pack="toy", sandbox="local", limits=BudgetLimits(trials=1), approve=True)
    with pytest.raises(RecipelabError, match="nobody is there to ask"):
        await ResearchGroupChat(plan).run()
