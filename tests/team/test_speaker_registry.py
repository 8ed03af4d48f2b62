"""Speaker policies by name: those that ship, and one that another distribution brings."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from autogen_agentchat.base import TaskResult
from autogen_agentchat.teams import BaseGroupChat
from pydantic import ValidationError

from recipelab.core.errors import RecipelabError
from recipelab.plan import SPEAKERS, Plan
from recipelab.team.speakers import ModelSpeaker, RoundRobin, UCBSpeaker

from .helpers import team_of

POLICY = """
from recipelab.team import SpeakerPolicy, TurnResult

HEARD = []


class LastFirst(SpeakerPolicy):
    def __init__(self, context):
        self.order = list(context.surfaces)
        HEARD.append(("context", context.goal.value, len(context.past)))

    def choose(self, candidates, busy):
        return max(candidates, key=self.order.index)

    def turn_ended(self, turn):
        HEARD.append((turn.specialist, turn.result, turn.trials))

    def trial_judged(self, trial):
        HEARD.append((trial.specialist, trial.number, trial.status.value))
"""


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another distribution on the path, with policies of its own."""
    folder = tmp_path / "site"
    info = folder / "other_speakers-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-speakers\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[recipelab.speakers]\n"
        "last-first = other_speakers:LastFirst\n"
        "broken = other_speakers:Missing\n"
        "credit = other_speakers:LastFirst\n"
    )
    (folder / "other_speakers.py").write_text(POLICY)
    monkeypatch.syspath_prepend(str(folder))


async def test_a_policy_of_another_distribution_runs_a_campaign(project: Path, other: None) -> None:
    team = team_of(3, speakers="last-first")
    saved = json.loads(team.dump_component().model_dump_json())
    loaded = BaseGroupChat.load_component(saved)
    result = await asyncio.wait_for(loaded.run(), 180)
    assert isinstance(result, TaskResult)
    assert result.stop_reason == "the budget of trials is spent"
    sources = [message.source for message in result.messages]
    assert "right" in sources
    assert "left" not in sources

    import other_speakers  # type: ignore[import-not-found]

    heard = other_speakers.HEARD
    assert heard[0][:2] == ("context", "minimize")
    turns = [entry for entry in heard if entry[1] == "submitted"]
    assert turns == [("right", "submitted", (number,)) for number in (1, 2, 3)]
    judged = [entry[:2] for entry in heard if entry[0] == "right" and entry not in turns]
    assert judged == [("right", number) for number in (1, 2, 3)]


def test_the_names_that_ship_come_first_and_cannot_be_replaced(other: None) -> None:
    assert SPEAKERS.names() == ("credit", "round-robin", "model", "broken", "last-first")
    kinds = [SPEAKERS.get(name) for name in ("credit", "round-robin", "model")]
    assert kinds == [UCBSpeaker, RoundRobin, ModelSpeaker]


def test_an_unknown_name_is_told_with_the_valid_ones(other: None) -> None:
    with pytest.raises(ValidationError) as error:
        Plan(pack="toy", speakers="nobody")
    valid = "valid: broken, credit, last-first, model, round-robin"
    assert f"unknown speaker policy 'nobody'; {valid}" in str(error.value)


async def test_a_policy_that_cannot_be_loaded_is_told(project: Path, other: None) -> None:
    with pytest.raises(RecipelabError, match=r"speaker policy 'broken' of .* cannot be loaded"):
        await asyncio.wait_for(team_of(1, speakers="broken").run(), 180)
