"""The group chat of a round: who speaks when, and the traps of AutoGen that must not bite."""

from __future__ import annotations

import asyncio

import pytest
from autogen_agentchat.base import TaskResult
from autogen_agentchat.messages import BaseChatMessage
from autogen_agentchat.teams import SelectorGroupChat
from autogen_core import CancellationToken

from recipelab.agents import SEAT, load_charter
from recipelab.evaluation.desk import TrialDesk
from recipelab.evaluation.evaluator import Evaluator
from recipelab.models import OfflineClient
from recipelab.playbook import load_playbook
from recipelab.team import RoundRobin, build_team

NAMES = ("left", "right")


def team_of(desk: TrialDesk, turns: int) -> SelectorGroupChat:
    client = OfflineClient(seed=1)
    return build_team(
        desk,
        [load_charter(name) for name in NAMES],
        dict.fromkeys(NAMES, client),
        RoundRobin(NAMES),
        plays=load_playbook(desk.pack),
        round_number=1,
        turns=turns,
    )


async def test_specialists_take_turns_and_the_seat_reports_each_outcome(desk: TrialDesk) -> None:
    result = await team_of(desk, turns=4).run(task="Improve it.")
    said = [m for m in result.messages if isinstance(m, BaseChatMessage)]
    assert [m.source for m in said] == ["user", *("left", SEAT, "right", SEAT) * 2]
    reports = [m for m in said if m.source == SEAT]
    assert [m.metadata["trials"] for m in reports] == ["1", "2", "3", "4"]
    assert result.stop_reason is not None
    assert "every turn of the round is taken" in result.stop_reason
    assert desk.running == ()


async def test_a_round_ends_when_the_budget_is_spent(evaluator: Evaluator, desk: TrialDesk) -> None:
    small = TrialDesk(desk.store, "c", evaluator, budget=1)
    result = await team_of(small, turns=6).run(task="Improve it.")
    assert result.stop_reason is not None
    assert "budget of trials is spent" in result.stop_reason
    assert small.remaining == 0


async def test_cancelling_while_a_trial_runs_ends_the_team_and_keeps_the_proposal(
    desk: TrialDesk,
) -> None:
    token = CancellationToken()
    stream = team_of(desk, turns=4).run_stream(task="Improve it.", cancellation_token=token)

    async def listen() -> None:
        async for item in stream:
            if not isinstance(item, TaskResult) and item.source == "left" and desk.running:
                token.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(listen(), 20)
    await desk.stop()
    assert [record.number for record in desk.store.in_flight("c")] == [1]
    desk.retry(1)
    (record,) = await desk.next_ended()
    assert record.outcome is not None


async def test_a_specialist_sees_the_lineage_afresh_each_turn(desk: TrialDesk) -> None:
    team = team_of(desk, turns=4)
    await team.run(task="Improve it.")
    state = await team.save_state()
    for name in NAMES:
        context = state["agent_states"][name]["agent_state"]["llm_context"]["messages"]
        asked = [m for m in context if m["type"] == "FunctionExecutionResultMessage"]
        # Four calls in the last turn; those of the turn before are gone.
        assert len(asked) == 4
