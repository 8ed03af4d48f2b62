"""The private names of AutoGen that ``recipelab.team`` relies on, each alone.

When one of these tests fails after an upgrade of AutoGen, the name in its title has moved: adapt
``plugin/recipelab/team``, and then ``AUTOGEN_VERSIONS`` in ``runtime.py``.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

import pytest
from autogen_agentchat.agents import AssistantAgent, UserProxyAgent
from autogen_agentchat.messages import MessageFactory
from autogen_agentchat.teams import BaseGroupChat, SelectorGroupChat
from autogen_agentchat.teams._group_chat import _events
from autogen_agentchat.teams._group_chat._base_group_chat_manager import BaseGroupChatManager
from autogen_agentchat.teams._group_chat._chat_agent_container import ChatAgentContainer
from autogen_agentchat.teams._group_chat._selector_group_chat import SelectorGroupChatManager
from autogen_core import (
    EVENT_LOGGER_NAME,
    AgentId,
    AgentInstantiationContext,
    SingleThreadedAgentRuntime,
)
from autogen_core.logging import MessageEvent
from pydantic import BaseModel

from recipelab.agents import EVALUATOR, EvaluatorAgent
from recipelab.models import OfflineClient
from recipelab.team.round import RoundGroupChat, RoundManager, TeamLabel
from recipelab.team.runtime import AUTOGEN_VERSIONS, QuietRuntime, check_autogen_version

from .helpers import team_of


class Answer(BaseModel):
    """Structured output."""


def assembled() -> RoundGroupChat:
    team = RoundGroupChat.__new__(RoundGroupChat)
    team._assemble(
        TeamLabel("team", "A team."),
        [EvaluatorAgent(None), UserProxyAgent("me")],
        OfflineClient(),
        scheduler=object(),  # type: ignore[arg-type]
        policy=object(),  # type: ignore[arg-type]
        termination_condition=None,
        max_turns=3,
    )
    return team


def manager_arguments() -> dict[str, Any]:
    """The arguments that AutoGen's team gives its factory of managers, by name."""
    names = inspect.signature(BaseGroupChat._create_group_chat_manager_factory).parameters
    values: dict[str, Any] = dict.fromkeys(names)
    del values["self"]
    return values | {
        "name": "manager",
        "group_topic_type": "group",
        "output_topic_type": "output",
        "participant_topic_types": ["evaluator_1"],
        "participant_names": [EVALUATOR],
        "participant_descriptions": ["Reports."],
        "output_message_queue": asyncio.Queue(),
        "max_turns": 3,
    }


@pytest.mark.parametrize(
    "name",
    [
        "_model_client",
        "_selector_prompt",
        "_allow_repeated_speaker",
        "_max_selector_attempts",
        "_emit_team_events",
        "_model_context",
        "_runtime",
        "_embedded_runtime",
        "_message_factory",
        "_base_group_chat_manager_class",
    ],
)
def test_a_team_has_the_attribute(name: str) -> None:
    team = SelectorGroupChat([EvaluatorAgent(None), UserProxyAgent("me")], OfflineClient())
    assert hasattr(team, name), f"SelectorGroupChat.{name} has moved"


@pytest.mark.parametrize(
    "name",
    [
        "_name",
        "_active_speakers",
        "_message_thread",
        "_model_context",
        "_termination_condition",
        "_current_turn",
        "_max_turns",
        "_participant_names",
        "_participant_descriptions",
        "_previous_speaker",
        "_max_selector_attempts",
    ],
)
def test_a_manager_has_the_attribute(name: str) -> None:
    make = assembled()._create_group_chat_manager_factory(**manager_arguments())
    runtime, own_id = SingleThreadedAgentRuntime(), AgentId("manager", "default")
    with AgentInstantiationContext.populate_context((runtime, own_id)):
        manager = make()
    assert isinstance(manager, RoundManager)
    assert hasattr(manager, name), f"SelectorGroupChatManager.{name} has moved"


def test_a_container_has_what_overlapping_turns_need() -> None:
    runtime, own_id = SingleThreadedAgentRuntime(), AgentId("left", "default")
    with AgentInstantiationContext.populate_context((runtime, own_id)):
        container = ChatAgentContainer("parent", "output", EvaluatorAgent(None), MessageFactory())
    names = ("_sequential_message_types", "_message_buffer", "_buffer_message", "_log_message")
    for name in (*names, "_parent_topic_type", "handle_start", "handle_request"):
        assert hasattr(container, name), f"ChatAgentContainer.{name} has moved"
    assert _events.GroupChatRequestPublish in container._sequential_message_types
    assert list(inspect.signature(BaseGroupChat._create_participant_factory).parameters) == [
        "self",
        "parent_topic_type",
        "output_topic_type",
        "agent",
        "message_factory",
    ]


@pytest.mark.parametrize(
    ("owner", "name", "parameters"),
    [
        (BaseGroupChatManager, "handle_agent_response", ["self", "message", "ctx"]),
        (BaseGroupChatManager, "handle_group_chat_error", ["self", "message", "ctx"]),
        (BaseGroupChatManager, "_transition_to_next_speakers", ["self", "cancellation_token"]),
        (BaseGroupChatManager, "_signal_termination", ["self", "message"]),
        (BaseGroupChatManager, "_signal_termination_with_error", ["self", "error"]),
        (SelectorGroupChatManager, "update_message_thread", ["self", "messages"]),
        (SelectorGroupChatManager, "select_speaker", ["self", "thread"]),
        (
            SelectorGroupChatManager,
            "_select_speaker",
            ["self", "roles", "participants", "max_attempts"],
        ),
        (SingleThreadedAgentRuntime, "_try_serialize", ["self", "message"]),
        (
            SingleThreadedAgentRuntime,
            "_create_otel_attributes",
            ["self", "sender_agent_id", "recipient_agent_id", "message_context", "message"],
        ),
    ],
)
def test_a_method_takes_what_it_took(owner: type, name: str, parameters: list[str]) -> None:
    method = getattr(owner, name, None)
    assert method is not None, f"{owner.__name__}.{name} has moved"
    method = getattr(method, "__wrapped__", method)
    assert list(inspect.signature(method).parameters) == parameters


def test_a_managers_factory_is_given_what_its_class_takes() -> None:
    given = set(manager_arguments())
    taken = set(inspect.signature(SelectorGroupChatManager.__init__).parameters) - {"self"}
    ours = {
        "model_client",
        "selector_prompt",
        "allow_repeated_speaker",
        "selector_func",
        "max_selector_attempts",
        "candidate_func",
        "emit_team_events",
        "model_context",
        "model_client_streaming",
    }
    assert given | ours == taken


@pytest.mark.parametrize(
    "name",
    ["GroupChatAgentResponse", "GroupChatError", "GroupChatTeamResponse", "SerializableException"],
)
def test_an_event_is_where_it_was(name: str) -> None:
    assert hasattr(_events, name), f"_group_chat._events.{name} has moved"


def test_the_helper_for_spans_has_the_names_that_are_replaced() -> None:
    helper = SingleThreadedAgentRuntime()._tracer_helper
    assert callable(helper.trace_block)
    assert helper.tracer_provider is not None


def test_the_runtime_of_a_round_is_ours_and_is_stopped_by_autogen() -> None:
    team = assembled()
    assert isinstance(team._runtime, QuietRuntime)
    assert team._embedded_runtime


@pytest.mark.parametrize("found", ["0.7.5", "0.7.6", "0.7.12", "0.7.99"])
def test_a_known_version_passes(found: str) -> None:
    check_autogen_version("autogen-core", found)


@pytest.mark.parametrize("found", ["0.7.4", "0.6.9", "0.8", "0.8.0", "1.0.0"])
def test_an_unknown_version_is_refused_with_the_range(found: str) -> None:
    with pytest.raises(ImportError, match=rf"autogen-core>=0\.7\.5,<0\.8, and {found} is"):
        check_autogen_version("autogen-core", found)


def test_the_range_is_that_of_the_packages_metadata() -> None:
    try:
        wanted = requires("recipelab") or []
    except PackageNotFoundError:
        pytest.skip("recipelab is not installed")
    first, end = (".".join(map(str, numbers)) for numbers in AUTOGEN_VERSIONS)
    for package in ("autogen-agentchat", "autogen-core"):
        (line,) = (line for line in wanted if line.startswith(package) and "extra" not in line)
        assert f">={first}" in line
        assert f"<{end}" in line


async def test_a_round_serializes_messages_only_for_a_log_that_is_on(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def payloads() -> list[str]:
        events = (record.msg for record in caplog.records if record.name == EVENT_LOGGER_NAME)
        return [event.kwargs["payload"] for event in events if isinstance(event, MessageEvent)]

    await asyncio.wait_for(team_of(1).run(), 180)
    assert payloads() == []
    with caplog.at_level(logging.INFO, EVENT_LOGGER_NAME):
        await asyncio.wait_for(team_of(1).run(), 180)
    assert any("Trial 1" in payload for payload in payloads())


def test_types_of_messages_can_be_added_as_they_come() -> None:
    assert "TextMessage" in MessageFactory()._message_types
    assistant = AssistantAgent("a", OfflineClient(), output_content_type=Answer)
    assert assistant._output_content_type is Answer
