"""The group chat of one round, put together anew for each."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from typing import Any, TypedDict, Unpack, cast

from autogen_agentchat.base import ChatAgent, TaskResult, Team, TerminationCondition
from autogen_agentchat.messages import BaseAgentEvent, BaseChatMessage
from autogen_agentchat.teams import SelectorGroupChat
from autogen_core import CancellationToken
from autogen_core.model_context import BufferedChatCompletionContext
from autogen_core.models import ChatCompletionClient

from recipelab.team.floor import Floor
from recipelab.team.manager import ResearchManager
from recipelab.team.speakers import RoundRobin, SpeakerPolicy

HISTORY = 40
"""Newest messages that a selector by model is shown."""

SELECTOR_PROMPT = """\
You lead a team that improves a training recipe. Who should propose the next trial?

These may speak now, one a line with what they own:
{roles}

What was said last:
{history}

Prefer whoever's surface has brought gains lately or has hardly been tried. After a failure that
somebody can repair, choose that one. A surface that was tried often without gain can wait.
Answer with one name out of {participants} and nothing else.
"""

Item = BaseAgentEvent | BaseChatMessage | TaskResult


class Shown(TypedDict):
    """How a team shows itself to others."""

    name: str
    description: str
    emit_team_events: bool


class RoundChat(SelectorGroupChat):
    """A selector group chat that can be put together again.

    AutoGen's team is dead after an error or a cancellation, and what its agents have heard grows
    without end. So this one is assembled for every round: the same object, with fresh agents, a
    fresh manager and a fresh runtime.
    """

    _floor: Floor | None
    _policy: SpeakerPolicy
    _ask_model: bool

    def _assembled(
        self,
        participants: Sequence[ChatAgent | Team],
        selector: ChatCompletionClient,
        *,
        floor: Floor | None,
        policy: SpeakerPolicy | None = None,
        ask_model: bool = False,
        termination_condition: TerminationCondition | None,
        max_turns: int | None,
        **shown: Unpack[Shown],
    ) -> None:
        SelectorGroupChat.__init__(
            self,
            list(participants),
            selector,
            termination_condition=termination_condition,
            max_turns=max_turns,
            **shown,
            selector_prompt=SELECTOR_PROMPT,
            # Who may speak is decided by the floor; a specialist may well speak twice.
            allow_repeated_speaker=True,
            model_context=BufferedChatCompletionContext(buffer_size=HISTORY),
        )
        self._base_group_chat_manager_class = ResearchManager
        self._floor = floor
        self._policy = policy or RoundRobin()
        self._ask_model = ask_model

    def _create_group_chat_manager_factory(
        self, *args: Any, **kwargs: Any
    ) -> Callable[[], ResearchManager]:
        names = (
            "name",
            "group_topic_type",
            "output_topic_type",
            "participant_topic_types",
            "participant_names",
            "participant_descriptions",
            "output_message_queue",
            "termination_condition",
            "max_turns",
            "message_factory",
        )
        return partial(
            ResearchManager,
            floor=cast(Floor, self._floor),
            policy=self._policy,
            ask_model=self._ask_model,
            model_client=self._model_client,
            selector_prompt=self._selector_prompt,
            allow_repeated_speaker=self._allow_repeated_speaker,
            selector_func=None,
            max_selector_attempts=self._max_selector_attempts,
            candidate_func=None,
            emit_team_events=self._emit_team_events,
            model_context=self._model_context,
            model_client_streaming=False,
            **dict(zip(names, args, strict=False)),
            **kwargs,
        )

    def _round_stream(
        self, task: list[BaseChatMessage], token: CancellationToken, *, show: bool
    ) -> AsyncGenerator[Item, None]:
        """Runs the round that was assembled last."""
        return SelectorGroupChat.run_stream(
            self, task=task, cancellation_token=token, output_task_messages=show
        )
