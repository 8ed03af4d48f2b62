"""The AutoGen group chat of one round, and what touches AutoGen's private names.

A round is a selector group chat that is assembled anew on the same object, with a manager, a
runtime and a cancellation token of its own:

- :class:`RoundGroupChat` replaces AutoGen's ``__init__`` by :meth:`RoundGroupChat._assemble`,
- :class:`RoundManager` replaces the way in which AutoGen's manager waits for speakers,
- :class:`~recipelab.team.runtime.QuietRuntime` replaces the serialization of every message for a
  log that is off,
- :class:`~recipelab.team.overlap.OverlappingTurns` replaces the container of a specialist,
- :class:`~recipelab.team.runtime.RoundTokens` and :func:`~recipelab.team.runtime.relay` end a
  round cleanly.

``tests/team/test_autogen_contract.py`` lists each private name.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from autogen_agentchat.base import ChatAgent, TaskResult, Team, TerminationCondition
from autogen_agentchat.messages import (
    BaseAgentEvent,
    BaseChatMessage,
    MessageFactory,
    StopMessage,
)
from autogen_agentchat.teams import SelectorGroupChat
from autogen_agentchat.teams._group_chat._chat_agent_container import ChatAgentContainer
from autogen_agentchat.teams._group_chat._events import (
    GroupChatAgentResponse,
    GroupChatError,
    GroupChatTeamResponse,
    SerializableException,
)
from autogen_agentchat.teams._group_chat._selector_group_chat import SelectorGroupChatManager
from autogen_core import AgentRuntime, CancellationToken, MessageContext, event
from autogen_core.model_context import BufferedChatCompletionContext
from autogen_core.models import ChatCompletionClient

from recipelab.agents import EVALUATOR, Specialist
from recipelab.core.logs import logger
from recipelab.team.overlap import OverlappingTurns
from recipelab.team.runtime import QuietRuntime
from recipelab.team.scheduler import TurnScheduler
from recipelab.team.speakers import ModelSpeaker, SpeakerPolicy
from recipelab.team.turns import TurnReader

HISTORY = 40
"""Newest messages that a model which picks speakers is shown."""

MOST_SAID = 2000
"""Newest messages of a round that its manager keeps at least."""

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

_log = logger(__name__)


class RoundManager(SelectorGroupChatManager):
    """Gives out the turns of one round.

    AutoGen's manager selects speakers, waits until all of them have spoken, and selects again.
    This one selects again as soon as one of them has spoken: neither a slow specialist nor the
    evaluator, which waits for trials, holds up the others. A round goes like this:

    1. AutoGen's ``handle_start`` hands the task to every participant and asks
       :meth:`select_speaker` for the first turns: every guest, as many specialists as the
       :class:`recipelab.team.scheduler.TurnScheduler` has openings for, and the evaluator if a
       trial is in flight.
    2. Each speaker that has finished comes back to :meth:`handle_agent_response`. Its turn ends,
       the condition of the user and the limit of turns are asked, and the next turns are given
       out, which may be none.
    3. Where a slot will soon be free, the next turn begins early enough for it, by a clock.
    4. When nobody but the evaluator has a turn, and the scheduler gives a reason for the end, the
       round stops: the scheduler's event ``closing`` tells the evaluator to wait no longer, and
       the last speaker to finish ends the stream.
    5. An exception in an agent or in this manager sets ``closing`` too, and ends the stream with
       an error. The next round is assembled anew, and does not know of it.

    Args:
        scheduler: Says how many may speak.
        policy: Picks specialists.
        warn: Called with what a person should not miss.
        arguments: The arguments of AutoGen's manager.
    """

    def __init__(
        self,
        *,
        scheduler: TurnScheduler,
        policy: SpeakerPolicy,
        warn: Callable[[str], None],
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self._scheduler = scheduler
        self._warn = warn
        self._policy = policy
        self._stop: StopMessage | None = None
        self._in_turn = asyncio.Lock()
        self._looking: asyncio.Task[None] | None = None

    @event
    async def handle_agent_response(  # type: ignore[override]
        self, message: GroupChatAgentResponse | GroupChatTeamResponse, ctx: MessageContext
    ) -> None:
        """End the turn of a speaker, and give out the turns that are free now."""
        async with self._in_turn, self._ending_with_errors():
            await self._end_turn(message, ctx.cancellation_token)

    @asynccontextmanager
    async def _ending_with_errors(self) -> AsyncIterator[None]:
        """End the round with an error of the context, or its consumer would wait for ever."""
        try:
            yield
        except Exception as error:
            self._scheduler.closing.set()
            await self._signal_termination_with_error(SerializableException.from_exception(error))
            raise

    async def _transition_to_next_speakers(self, cancellation_token: CancellationToken) -> None:
        """Give out turns, and look again when a slot is soon likely to be free."""
        await super()._transition_to_next_speakers(cancellation_token)
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        wait = self._scheduler.next_look()
        if wait is not None:
            self._looking = asyncio.create_task(self._look(wait, cancellation_token))
            cancellation_token.link_future(self._looking)

    async def _look(self, wait: float, token: CancellationToken) -> None:
        """Give out turns after a while, unless the round is over by then."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._scheduler.closing.wait(), wait)
            return
        async with self._in_turn:
            self._looking = None  # From here on it is no longer to be cancelled.
            if not self._scheduler.closing.is_set():
                with suppress(Exception):  # The end of the round tells of it.
                    async with self._ending_with_errors():
                        await self._transition_to_next_speakers(token)

    async def _end_turn(
        self, message: GroupChatAgentResponse | GroupChatTeamResponse, token: CancellationToken
    ) -> None:
        messages: list[BaseAgentEvent | BaseChatMessage]
        if isinstance(message, GroupChatAgentResponse):
            messages = [*(message.response.inner_messages or ()), message.response.chat_message]
        else:
            messages = list(message.result.messages)
        await self.update_message_thread(messages)
        self._active_speakers.remove(message.name)
        self._learn(message.name, messages)
        self._scheduler.end_turn(message.name)
        self._stop = self._stop or await self._stop_of_user(messages)
        if self._stop is None and self._scheduler.only_evaluator_active:
            reason = self._scheduler.end_reason
            if reason is not None:
                self._scheduler.round_over = True
                self._stop = StopMessage(content=f"Round over: {reason}.", source=self._name)
        if self._stop is None:
            await self._transition_to_next_speakers(token)
        if self._stop is not None:
            self._scheduler.closing.set()
            if not self._active_speakers:
                await self._signal_termination(self._stop)

    def _learn(self, name: str, messages: Sequence[BaseAgentEvent | BaseChatMessage]) -> None:
        """Tell policy and scheduler of a specialist's turn, before they pick the next speaker.

        Whoever reads the stream of the round may be late.
        """
        reader = TurnReader(self._scheduler.specialists)
        for turn in filter(None, map(reader.read, messages)):
            if turn.specialist == name:
                self._policy.turn_ended(turn)
                self._scheduler.learn(turn)

    @event
    async def handle_group_chat_error(  # type: ignore[override]
        self, message: GroupChatError, ctx: MessageContext
    ) -> None:
        """End the round; the evaluator must not go on waiting in a chat that is dead."""
        self._scheduler.closing.set()
        await self._signal_termination_with_error(message.error)

    async def select_speaker(
        self, thread: Sequence[BaseAgentEvent | BaseChatMessage]
    ) -> list[str] | str:
        """Return everybody whose turn begins now; none is a valid answer while somebody speaks."""
        chosen = self._scheduler.next_guests()
        for name in chosen:
            self._scheduler.start_turn(name)
        for _ in range(self._scheduler.openings()):
            candidates = self._scheduler.candidates()
            if not candidates:
                break  # All are silent, and one of them has just been asked once more.
            name = await self._pick(candidates)
            self._scheduler.start_turn(name)
            chosen.append(name)
        nothing_goes_on = not chosen and self._scheduler.nobody_active
        if self._scheduler.evaluator_is_due() or nothing_goes_on:
            self._scheduler.start_turn(EVALUATOR)
            chosen.append(EVALUATOR)
        return chosen

    async def update_message_thread(
        self, messages: Sequence[BaseAgentEvent | BaseChatMessage]
    ) -> None:
        """Keep what was said; of a long round the newest alone."""
        await super().update_message_thread(messages)
        if len(self._message_thread) > 2 * MOST_SAID:
            del self._message_thread[:-MOST_SAID]
            newest = (await self._model_context.get_messages())[-HISTORY:]
            await self._model_context.clear()
            for said in newest:
                await self._model_context.add_message(said)

    async def reset(self) -> None:
        """Forget the round."""
        await super().reset()
        self._stop = None
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    async def _stop_of_user(
        self, messages: Sequence[BaseAgentEvent | BaseChatMessage]
    ) -> StopMessage | None:
        """Return why the user's condition or the limit of turns ends the run, if one does."""
        condition = self._termination_condition
        stop = await condition(messages) if condition else None
        if condition is not None and stop is not None:
            await condition.reset()
        self._current_turn += 1
        if stop is None and self._max_turns is not None and self._current_turn >= self._max_turns:
            stop = StopMessage(
                content=f"Maximum number of turns {self._max_turns} reached.", source=self._name
            )
        return stop

    async def _pick(self, candidates: Sequence[str]) -> str:
        """Return the specialist that speaks next, by the policy or by the selector's model."""
        choice = self._policy.choose(candidates, self._scheduler.busy())
        if not isinstance(self._policy, ModelSpeaker) or len(candidates) == 1:
            return choice
        descriptions = zip(self._participant_names, self._participant_descriptions, strict=True)
        roles = "\n".join(
            " ".join(f"{name}: {description}".split())
            for name, description in descriptions
            if name in candidates
        )
        try:
            answer = await self._select_speaker(
                roles, list(candidates), self._max_selector_attempts
            )
        except Exception as error:
            # The choice is not worth a round: whoever speaks may do well.
            self._warn(f"the selector's model failed, so credit picks the speaker: {error}")
            return choice
        # AutoGen takes any participant's name, and after the last attempt the previous speaker.
        if answer not in candidates:
            _log.info("selector", chosen=answer, instead=choice)
            return choice
        self._previous_speaker = answer
        return answer


@dataclass(frozen=True)
class TeamLabel:
    """The way in which a team presents itself.

    Attributes:
        name: Name of the team.
        description: The description that the selector of a larger team is shown.
        emit_team_events: Whether the stream says who was selected.
    """

    name: str
    description: str
    emit_team_events: bool = False


class RoundGroupChat(SelectorGroupChat):
    """A selector group chat that is assembled anew for every round.

    AutoGen's team is dead after an error or a cancellation, and its agents keep all that they
    heard. So each round has fresh agents, a fresh manager and a fresh runtime, on the same object.
    """

    _scheduler: TurnScheduler | None
    _policy: SpeakerPolicy | None
    _warn: Callable[[str], None]
    _given_runtime: AgentRuntime | None = None
    _known_messages: MessageFactory | None = None

    def _assemble(
        self,
        label: TeamLabel,
        participants: Sequence[ChatAgent | Team],
        selector: ChatCompletionClient,
        *,
        scheduler: TurnScheduler | None = None,
        policy: SpeakerPolicy | None = None,
        warn: Callable[[str], None] = lambda text: None,
        termination_condition: TerminationCondition | None,
        max_turns: int | None,
    ) -> None:
        """Make the group chat of the next round; without scheduler and policy it cannot run."""
        SelectorGroupChat.__init__(
            self,
            list(participants),
            selector,
            name=label.name,
            description=label.description,
            termination_condition=termination_condition,
            max_turns=max_turns,
            selector_prompt=SELECTOR_PROMPT,
            # The scheduler decides who may speak; a specialist may well speak twice in a row.
            allow_repeated_speaker=True,
            emit_team_events=label.emit_team_events,
            model_context=BufferedChatCompletionContext(buffer_size=HISTORY),
            runtime=self._given_runtime,
        )
        if self._given_runtime is None:
            # Not as an argument: AutoGen starts and stops only a runtime of its own making.
            self._runtime = QuietRuntime()
        if self._known_messages is not None:
            self._message_factory = self._known_messages
        # AutoGen's own can be saved before the first round, and does not run.
        self._base_group_chat_manager_class = (
            RoundManager if scheduler else SelectorGroupChatManager
        )
        self._scheduler = scheduler
        self._policy = policy
        self._warn = warn

    def _create_group_chat_manager_factory(  # type: ignore[override]
        self, **arguments: Any
    ) -> Callable[[], SelectorGroupChatManager]:
        if self._scheduler is None or self._policy is None:
            manager: Callable[..., SelectorGroupChatManager] = SelectorGroupChatManager
        else:
            manager = partial(
                RoundManager,
                scheduler=self._scheduler,
                policy=self._policy,
                warn=self._warn,
            )
        return lambda: manager(
            model_client=self._model_client,
            selector_prompt=self._selector_prompt,
            allow_repeated_speaker=self._allow_repeated_speaker,
            selector_func=None,
            max_selector_attempts=self._max_selector_attempts,
            candidate_func=None,
            emit_team_events=self._emit_team_events,
            model_context=self._model_context,
            model_client_streaming=False,
            **arguments,
        )

    def _create_participant_factory(
        self,
        parent_topic_type: str,
        output_topic_type: str,
        agent: ChatAgent | Team,
        message_factory: MessageFactory,
    ) -> Callable[[], ChatAgentContainer]:
        if not isinstance(agent, Specialist) or self._scheduler is None:
            return super()._create_participant_factory(
                parent_topic_type, output_topic_type, agent, message_factory
            )
        return partial(
            OverlappingTurns,
            parent_topic_type,
            output_topic_type,
            agent=agent,
            message_factory=message_factory,
            lasted=self._scheduler.turn_lasted,
        )

    def _round_stream(
        self, task: list[BaseChatMessage], token: CancellationToken, *, show_task: bool
    ) -> AsyncGenerator[Item, None]:
        """Run the round that was assembled last."""
        return SelectorGroupChat.run_stream(
            self, task=task, cancellation_token=token, output_task_messages=show_task
        )
