"""The manager of a round: gives the floor to several at once, and to nobody who may not have it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from autogen_agentchat.messages import BaseAgentEvent, BaseChatMessage, StopMessage
from autogen_agentchat.teams._group_chat._events import (
    GroupChatAgentResponse,
    GroupChatError,
    GroupChatTeamResponse,
    SerializableException,
)
from autogen_agentchat.teams._group_chat._selector_group_chat import SelectorGroupChatManager
from autogen_core import MessageContext, event

from recipelab.agents import SEAT
from recipelab.log import logger
from recipelab.team.floor import Floor
from recipelab.team.speakers import SpeakerPolicy

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
        self, *, floor: Floor, policy: SpeakerPolicy, ask_model: bool, **arguments: Any
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
            self._floor.give(SEAT)
            chosen.append(SEAT)
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
