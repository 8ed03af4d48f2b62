"""The messages of a research team: its tasks, the types that it knows, and its saved state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Self

from autogen_agentchat.base import ChatAgent, Team
from autogen_agentchat.messages import (
    BaseAgentEvent,
    BaseChatMessage,
    MessageFactory,
    StructuredMessage,
    StructuredMessageFactory,
    TextMessage,
)
from autogen_agentchat.state import TeamState
from autogen_core import ComponentModel
from pydantic import BaseModel, ConfigDict, model_validator

from recipelab.core.errors import RecipelabError

Message = BaseAgentEvent | BaseChatMessage
MessageType = type[BaseAgentEvent | BaseChatMessage]

Task = str | BaseChatMessage | Sequence[BaseChatMessage] | None
"""The task of a run, as AutoGen's teams take it."""

SavedType = ComponentModel | str
"""A message type in JSON: a component for structured ones, ``module:name`` for others."""


class OpenMessageFactory(MessageFactory):
    """Knows every type of message that it meets.

    AutoGen's own refuses a message whose type nobody has announced, although it has the message in
    hand: structured output of a guest, or of a member of the team around this one. Only for
    messages from JSON, as in a saved state, must types be known beforehand.

    Args:
        custom: Types besides AutoGen's own.
        participants: Agents whose structured output is known, too.
    """

    def __init__(
        self, custom: Sequence[MessageType] = (), participants: Sequence[ChatAgent | Team] = ()
    ) -> None:
        super().__init__()
        for message_type in custom:
            self.register(message_type)
        for participant in participants:
            content = getattr(participant, "_output_content_type", None)
            if content is not None:
                self.is_registered(StructuredMessage[content])  # type: ignore[valid-type]

    def is_registered(self, message_type: MessageType) -> bool:
        """Return whether it is a type of message, and know it from now on."""
        if not super().is_registered(message_type):
            self._message_types[message_type.__name__] = message_type
        return True

    def register(self, message_type: MessageType) -> None:
        """Know a type from now on.

        Raises:
            RecipelabError: It is no type of message.
        """
        if not isinstance(message_type, type) or not issubclass(message_type, Message):
            raise RecipelabError(
                f"custom_message_types: {message_type!r} is no class of messages; valid: "
                "subclasses of BaseChatMessage and BaseAgentEvent, as StructuredMessage[MyModel]"
            )
        self.is_registered(message_type)


def saved_type(message_type: MessageType) -> SavedType:
    """Return a message type as JSON holds it.

    Raises:
        RecipelabError: It is defined where no import finds it.
    """
    if issubclass(message_type, StructuredMessage):
        content = message_type.model_fields["content"].annotation
        if isinstance(content, type) and issubclass(content, BaseModel):
            return StructuredMessageFactory(input_model=content).dump_component()
    place = f"{message_type.__module__}:{message_type.__qualname__}"
    if message_type.__module__ == "__main__" or "<locals>" in place:
        raise RecipelabError(
            f"custom_message_types: JSON can name {message_type.__name__} only if it is defined in "
            "a module, outside of functions"
        )
    return place


def loaded_type(saved: SavedType) -> MessageType:
    """Return a message type that JSON holds.

    Raises:
        RecipelabError: It cannot be imported, or is no type of message.
    """
    if isinstance(saved, ComponentModel):
        return StructuredMessageFactory.load_component(saved).StructuredMessage
    module, _, name = saved.partition(":")
    try:
        found: Any = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise RecipelabError(f"custom_message_types: {saved!r} is not here: {error}") from None
    OpenMessageFactory([found])
    return found  # type: ignore[no-any-return]


def task_messages(task: Task, *, nested: bool = False) -> list[BaseChatMessage] | None:
    """Return a task as messages; ``None`` if there is none.

    Args:
        task: The task.
        nested: Whether it is of a team around this one, which hands on what was said since this
            team's last turn, and that may be nothing.

    Raises:
        ValueError: It is neither text nor chat messages, or an empty list.
    """
    if task is None or task == "":
        return None
    if isinstance(task, str):
        return [TextMessage(content=task, source="user")]
    if isinstance(task, BaseChatMessage):
        return [task]
    messages = [m for m in task if isinstance(m, BaseChatMessage)] if _is_list(task) else None
    if messages is None or len(messages) < len(task):
        raise ValueError("Task must be a string, a BaseChatMessage, or a list of BaseChatMessage.")
    if not messages and not nested:
        raise ValueError("Task list cannot be empty.")
    return messages or None


def _is_list(task: object) -> bool:
    return isinstance(task, Sequence)


class ResearchState(TeamState):
    """The saved state of a research team.

    Attributes:
        campaign: Name of its campaign; ``None`` before it has begun.
    """

    model_config = ConfigDict(extra="forbid")

    agent_states: Mapping[str, Any]
    campaign: str | None

    @model_validator(mode="after")
    def _is_of_a_chat(self) -> Self:
        states = [state for state in self.agent_states.values() if isinstance(state, Mapping)]
        if not any("message_thread" in state for state in states):
            raise ValueError("agent_states: there is no state of a group chat's manager")
        return self
