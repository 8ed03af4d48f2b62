"""Tokens that end what runs, one for each round."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import Any, TypedDict, TypeVar, Unpack, cast

from autogen_agentchat.base import ChatAgent, TaskResult, Team, TerminationCondition
from autogen_agentchat.messages import BaseAgentEvent, BaseChatMessage, StopMessage
from autogen_agentchat.teams import SelectorGroupChat
from autogen_agentchat.teams._group_chat._events import (
    GroupChatAgentResponse,
    GroupChatError,
    GroupChatTeamResponse,
    SerializableException,
)
from autogen_agentchat.teams._group_chat._selector_group_chat import SelectorGroupChatManager
from autogen_core import CancellationToken, MessageContext, event
from autogen_core.model_context import BufferedChatCompletionContext
from autogen_core.models import ChatCompletionClient

from recipelab.agents import EVALUATOR
from recipelab.core.logs import logger
from recipelab.team.scheduler import TurnScheduler
from recipelab.team.speakers import RoundRobin, SpeakerPolicy


class RoundTokens:
    """Gives each round a token of its own, which the token of the run cancels too.

    A token of AutoGen holds every future that was ever linked to it, finished ones with all that
    they hold. One token for a campaign would keep each message of it in memory.

    Args:
        run: The token of the whole run.
    """

    def __init__(self, run: CancellationToken) -> None:
        self._run = run
        self._round = CancellationToken()
        run.add_callback(self._cancel)

    def fresh(self) -> CancellationToken:
        """A token for the next round; cancelled at once if the run is."""
        self._round = CancellationToken()
        if self._run.is_cancelled():
            self._round.cancel()
        return self._round

    def _cancel(self) -> None:
        self._round.cancel()


T = TypeVar("T")

STOP_SECONDS = 5.0
"""How long a stream is given to end after it was cancelled."""

_END = object()


async def pumped(source: AsyncGenerator[T], token: CancellationToken) -> AsyncGenerator[T]:
    """Passes the items of a stream on.

    AutoGen ends a run cleanly only through its token: a task that is cancelled while it listens
    waits until every agent has come to its end, which may be hours. Here the token is cancelled
    when the listener is, or goes away, and what does not end then is given up.

    Args:
        source: The stream. It is at its end when this is.
        token: Ends it.

    Yields:
        Its items, in order.

    Raises:
        Exception: What the stream raised.
        asyncio.CancelledError: The listener or the token was cancelled.
    """
    queue: asyncio.Queue[object] = asyncio.Queue(maxsize=1)

    async def pump() -> None:
        try:
            async with aclosing(source):
                async for item in source:
                    if not alone:
                        await queue.put(item)
        finally:
            ending.append(_END)
            if queue.empty():
                queue.put_nowait(_END)

    ending: list[object] = []
    alone: list[bool] = []
    task = asyncio.ensure_future(pump())
    try:
        while not (ending and queue.empty()):
            item = await queue.get()
            if item is _END:
                break
            yield item  # type: ignore[misc]
        await task
    finally:
        if not task.done():
            token.cancel()
            alone.append(True)
            if not queue.empty():
                queue.get_nowait()  # It may be waiting for room.
            await _ended(task)


async def _ended(task: asyncio.Future[None]) -> None:
    """Waits for a cancelled stream; gives it up when it takes too long."""
    with suppress(asyncio.CancelledError, Exception):
        await asyncio.wait_for(asyncio.shield(task), STOP_SECONDS)
    task.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await task


_log = logger(__name__)


class ResearchManager(SelectorGroupChatManager):
    """Coordinates one round.

    AutoGen's manager waits until all who were selected have spoken. This one gives the floor anew
    as soon as one has, so that neither a slow specialist nor the evaluator's seat, which waits for
    trials, holds up the others. And it ends the round only when nobody has the floor.

    Args:
        floor: Says how many may have the floor.
        policy: Picks specialists.
        ask_model: Whether AutoGen's own selector picks, and the policy only if that fails.
        arguments: What AutoGen's manager takes.
    """

    def __init__(
        self, *, floor: TurnScheduler, policy: SpeakerPolicy, ask_model: bool, **arguments: Any
    ) -> None:
        super().__init__(**arguments)
        self._floor = floor
        self._policy = policy
        self._ask_model = ask_model
        self._stop: StopMessage | None = None

    @event
    async def handle_agent_response(  # type: ignore[override]
        self, message: GroupChatAgentResponse | GroupChatTeamResponse, ctx: MessageContext
    ) -> None:
        """Takes in what somebody said, and gives the floor to whoever may have it now."""
        try:
            await self._go_on(message, ctx)
        except Exception as error:
            # Nobody would end the round otherwise, and whoever listens would wait for ever.
            self._floor.closing.set()
            await self._signal_termination_with_error(SerializableException.from_exception(error))
            raise

    async def _go_on(
        self, message: GroupChatAgentResponse | GroupChatTeamResponse, ctx: MessageContext
    ) -> None:
        said: list[BaseAgentEvent | BaseChatMessage]
        if isinstance(message, GroupChatAgentResponse):
            said = [*(message.response.inner_messages or ()), message.response.chat_message]
        else:
            said = list(message.result.messages)
        await self.update_message_thread(said)
        self._active_speakers.remove(message.name)
        self._floor.back(message.name)
        self._stop = self._stop or await self._asked_to_stop(said)
        if self._stop is None and self._floor.only_waiting:
            self._stop = self._round_over()
        if self._stop is None:
            await self._transition_to_next_speakers(ctx.cancellation_token)
        if self._stop is not None:
            self._floor.closing.set()
            if not self._active_speakers:
                await self._signal_termination(self._stop)

    @event
    async def handle_group_chat_error(  # type: ignore[override]
        self, message: GroupChatError, ctx: MessageContext
    ) -> None:
        """Ends the round; the seat must not go on waiting for a chat that is dead."""
        self._floor.closing.set()
        await self._signal_termination_with_error(message.error)

    async def select_speaker(
        self, thread: Sequence[BaseAgentEvent | BaseChatMessage]
    ) -> list[str] | str:
        """Everybody who gets the floor now; nobody is a valid answer while somebody has it."""
        chosen = self._floor.guests()
        for name in chosen:
            self._floor.give(name)
        for _ in range(self._floor.openings()):
            name = await self._choose(self._floor.idle())
            self._floor.give(name)
            chosen.append(name)
        if self._floor.seat_is_due() or (not chosen and self._floor.empty):
            self._floor.give(EVALUATOR)
            chosen.append(EVALUATOR)
        return chosen

    async def reset(self) -> None:
        """Forgets the round."""
        await super().reset()
        self._stop = None

    def _round_over(self) -> StopMessage | None:
        why = self._floor.ended
        self._floor.round_over = why is not None
        return StopMessage(content=f"Round over: {why}.", source=self._name) if why else None

    async def _asked_to_stop(
        self, said: Sequence[BaseAgentEvent | BaseChatMessage]
    ) -> StopMessage | None:
        """What the user's own condition says, and the limit of turns."""
        condition = self._termination_condition
        stop = await condition(said) if condition else None
        if condition is not None and stop is not None:
            await condition.reset()
        self._current_turn += 1
        if stop is None and self._max_turns is not None and self._current_turn >= self._max_turns:
            stop = StopMessage(
                content=f"Maximum number of turns {self._max_turns} reached.", source=self._name
            )
        return stop

    async def _choose(self, candidates: Sequence[str]) -> str:
        fallback = self._policy.choose(candidates, self._floor.busy())
        if not self._ask_model or len(candidates) == 1:
            return fallback
        roles = "\n".join(
            re.sub(r"\s+", " ", f"{name}: {told}").strip()
            for name, told in zip(
                self._participant_names, self._participant_descriptions, strict=True
            )
            if name in candidates
        )
        chosen = await self._select_speaker(roles, list(candidates), self._max_selector_attempts)
        # AutoGen takes any participant's name, and after the last attempt the previous speaker.
        if chosen not in candidates:
            _log.info("selector", chosen=chosen, instead=fallback)
            return fallback
        self._previous_speaker = chosen
        return chosen


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

    _floor: TurnScheduler | None
    _policy: SpeakerPolicy
    _ask_model: bool

    def _assembled(
        self,
        participants: Sequence[ChatAgent | Team],
        selector: ChatCompletionClient,
        *,
        floor: TurnScheduler | None,
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
            floor=cast(TurnScheduler, self._floor),
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
