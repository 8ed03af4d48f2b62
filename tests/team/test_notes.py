"""What a campaign tells people is in the stream of its team, and seen once everywhere else."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections import Counter
from pathlib import Path
from typing import Any, cast

import pytest
from autogen_agentchat.base import TaskResult, TerminationCondition
from autogen_agentchat.messages import (
    BaseAgentEvent,
    BaseChatMessage,
    MessageFactory,
    StopMessage,
    TextMessage,
)
from autogen_agentchat.teams import RoundRobinGroupChat
from rich.console import Console

from recipelab import ResearchGroupChat
from recipelab.cli.progress import Progress
from recipelab.core.errors import RecipelabError, SandboxUnavailable
from recipelab.core.logs import configure_logs
from recipelab.core.trial import Status
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.session import Overrides
from recipelab.lineage import LineageStore
from recipelab.models import wrappers
from recipelab.packs.load import load_pack
from recipelab.sandbox.slots import Slot, SlotPool
from recipelab.team import Listener
from recipelab.team.notes import INFO, NOTE, WARNING

from .fated import Fated, scored
from .helpers import Naming, Watched, team_of

SECONDS = 120
"""Longer than any of these campaigns takes: what hangs fails."""


class Hearing(Listener):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []

    def note(self, text: str) -> None:
        self.heard.append((INFO, text))

    def warning(self, text: str) -> None:
        self.heard.append((WARNING, text))


def quick_team(trials: int = 2, **more: Any) -> ResearchGroupChat:
    """A team whose trials are judged at once."""
    fated = Fated(load_pack("toy"), lambda recipe: scored(Status.DISCARDED, 1.1))
    overrides = Overrides(evaluator=cast(Evaluator, fated))
    return team_of(trials, overrides=overrides, **more)


async def ran(team: ResearchGroupChat) -> list[BaseAgentEvent | BaseChatMessage]:
    """Runs a team; gives its stream, of which the result has to hold all."""
    items: list[BaseAgentEvent | BaseChatMessage] = []
    async with asyncio.timeout(SECONDS):
        async for item in team.run_stream():
            if isinstance(item, TaskResult):
                assert sorted(m.id for m in item.messages) == sorted(m.id for m in items)
            else:
                items.append(item)
    return items


def notes(items: list[BaseAgentEvent | BaseChatMessage]) -> list[tuple[str, str]]:
    return [
        (item.metadata[NOTE], item.to_text())
        for item in items
        if isinstance(item, TextMessage) and NOTE in item.metadata
    ]


async def test_what_is_told_is_in_the_stream_as_a_listener_hears_it(project: Path) -> None:
    hearing = Hearing()
    team = quick_team(4, listener=hearing)
    items = await ran(team)
    told = notes(items)
    assert [text for _, text in told if text.startswith("50% of the trials are used")]
    assert [text for _, text in told if text.startswith("100% of the trials are used")]
    # The listener hears the baseline's noise too, which is a message of the chat in the stream.
    assert set(told) <= set(hearing.heard)
    assert len(told) == len(set(told))
    for item in items:
        again = MessageFactory().create(json.loads(json.dumps(item.dump())))
        assert again == item


async def test_what_is_told_is_kept_in_the_lineage_with_the_chat(project: Path) -> None:
    items = await ran(quick_team(4))
    with LineageStore.open(project / ".recipelab/lineage.db") as store:
        messages = list(store.each_message(store.campaigns()[0].name))
    kept = [
        (message.payload["metadata"][NOTE], message.payload["content"])
        for message in messages
        if NOTE in message.payload["metadata"]
    ]
    assert Counter(kept) == Counter(notes(items))
    assert len(messages) == len(items)


async def test_a_larger_team_takes_notes_as_it_takes_any_message(project: Path) -> None:
    outer = RoundRobinGroupChat([quick_team(1)], max_turns=1)
    result = await asyncio.wait_for(outer.run(task="Go."), SECONDS)
    assert notes(list(result.messages))
    json.dumps(await outer.save_state())


async def test_a_selector_that_fails_is_replaced_by_credit_and_told(project: Path) -> None:
    class Failing(Naming):
        async def create(self, *arguments: Any, **more: Any) -> Any:
            raise ConnectionAbortedError if False else ValueError("the key is wrong")

    team = quick_team(3, clients={"selector": Failing()}, speakers="model")
    told = notes(await ran(team))
    assert team.ended is not None
    assert team.ended.reason == "the budget of trials is spent"
    failed = [text for level, text in told if level == WARNING and "selector" in text]
    assert failed == ["the selector's model failed, so credit picks the speaker: the key is wrong"]


@pytest.mark.parametrize("good", [0, 3])
async def test_a_condition_that_fails_ends_a_run_with_a_clear_error(
    project: Path, good: int
) -> None:
    class Faulty(TerminationCondition):
        calls = 0
        terminated = False

        async def __call__(self, messages: Any) -> StopMessage | None:
            self.calls += 1
            if self.calls > good:
                raise KeyError("score")
            return None

        async def reset(self) -> None:
            """Keeps its count."""

    team = quick_team(3, termination_condition=Faulty())
    with pytest.raises(RecipelabError, match="termination condition Faulty failed: KeyError"):
        await ran(team)
    assert team.ended is not None
    assert not team.ended.finished
    assert "Faulty" in team.ended.reason


async def test_a_run_that_was_stopped_says_how_it_ended_and_what_it_left_behind(
    project: Path,
) -> None:
    asked = asyncio.Event()
    client = Watched(holds=asyncio.Event())
    team = team_of(3, {"": client}, name="c", slots=2, ahead=1)
    client.when_two_think(asked.set)
    running = asyncio.ensure_future(team.run())
    await asyncio.wait_for(asked.wait(), SECONDS)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, SECONDS)
    assert team.ended is not None
    assert (team.ended.finished, team.ended.reason) == (False, "stopped by hand")


@pytest.fixture
def no_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose local sandbox cannot isolate."""
    place = "recipelab.sandbox.local.sandbox.namespaces_fault"
    monkeypatch.setattr(place, lambda *arguments: "user namespaces are off")


@pytest.mark.usefixtures("no_namespaces")
async def test_lost_isolation_is_a_warning_in_the_stream_and_in_the_log(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    team = team_of(1)
    told = [text for level, text in notes(await ran(team)) if level == WARNING]
    assert [text for text in told if "does not isolate here (user namespaces are off)" in text]
    logged = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert [r for r in logged if "user namespaces are off" in r.getMessage()]


@pytest.mark.usefixtures("no_namespaces")
@pytest.mark.parametrize("given", ["plan", "client", "charter"])
async def test_a_real_model_does_not_begin_where_isolation_is_lost(
    project: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    from autogen_ext.models.replay import ReplayChatCompletionClient

    monkeypatch.setenv("OPENAI_API_KEY", "no-key")
    more: dict[str, Any] = {}
    if given == "plan":
        more["model"] = "openai:gpt-4o"
    elif given == "client":
        more["clients"] = {"": ReplayChatCompletionClient(["Hi."])}
    else:
        charter = project / "agents/left.md"
        charter.write_text(charter.read_text().replace("---\n", "---\nmodel: openai:gpt-4o\n", 1))
    team = team_of(1, **more)
    with pytest.raises(SandboxUnavailable, match="code that nobody has read"):
        await ran(team)
    assert team.ended is None or not team.ended.finished


async def test_a_wait_for_slots_of_another_campaign_is_in_the_stream(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recipelab.sandbox.slots.TELL_SECONDS", 0.1)
    slot = Slot("cpu-test")
    folder = project / "leases"
    monkeypatch.setattr(
        "recipelab.places.local.machine_pool",
        lambda **sizes: SlotPool([slot], folder=folder),
    )
    team = team_of(1)
    told: list[str] = []
    async with asyncio.timeout(SECONDS), SlotPool([slot], folder=folder).lease():
        async for item in team.run_stream():
            assert isinstance(item, TextMessage)
            if item.metadata.get(NOTE) == WARNING:
                told.append(item.content)
                break
    assert "waiting for a slot that another campaign holds, cpu-test" in told[0]


def closed_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def test_a_wrong_address_of_the_model_is_in_the_stream_soon(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://127.0.0.1:{closed_port()}/v1"
    # The first failure will do: tests/models has the real times.
    monkeypatch.setattr(wrappers, "TOLD_OUTAGE", 0.5)
    team = quick_team(1, model="openai:small", base_url=url)
    async with asyncio.timeout(SECONDS):
        async for item in team.run_stream():
            if isinstance(item, TextMessage) and item.metadata.get(NOTE) == WARNING:
                break
    expected = f"openai:small at {url} does not answer (APIConnectionError): waiting for it"
    assert item.to_text() == expected
    await team.close()


def test_the_command_line_shows_a_warning_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    configure_logs(level="warning")
    progress = Progress(Console(width=200))
    progress.warning("the model does not answer")
    shown = capsys.readouterr()
    assert (shown.out + shown.err).count("the model does not answer") == 1
