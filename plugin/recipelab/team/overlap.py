"""Several turns of one specialist at the same time, where there are more slots than specialists.

A container of AutoGen takes one request after the other, and holds one agent. The one here seats
another agent with the same charter where all that it has are in a turn. To the chat they are one
participant: one name, one model, one credit. Messages say in their metadata to which turn they
belong, and each turn has a context, tools and a view of its own, as it has anyway.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import Any

from autogen_agentchat.base import Response
from autogen_agentchat.messages import BaseChatMessage, MessageFactory
from autogen_agentchat.teams._group_chat._chat_agent_container import ChatAgentContainer
from autogen_agentchat.teams._group_chat._events import (
    GroupChatAgentResponse,
    GroupChatError,
    GroupChatRequestPublish,
    GroupChatStart,
    SerializableException,
)
from autogen_core import (
    CancellationToken,
    DefaultTopicId,
    MessageContext,
    event,
    trace_invoke_agent_span,
)

from recipelab.agents import Specialist


class OverlappingTurns(ChatAgentContainer):
    """Holds a specialist, and as many more with its charter as have a turn at the same time.

    The first turn of each begins with the task of the round. Beside that, a turn hears what was
    said since the last one of its charter began.

    Args:
        parent_topic_type: As in AutoGen's container.
        output_topic_type: As in AutoGen's container.
        agent: The specialist.
        message_factory: As in AutoGen's container.
        lasted: Called with its name and the seconds of each turn, before the chat hears of its end.
    """

    def __init__(
        self,
        parent_topic_type: str,
        output_topic_type: str,
        agent: Specialist,
        message_factory: MessageFactory,
        lasted: Callable[[str, float], None],
    ) -> None:
        super().__init__(parent_topic_type, output_topic_type, agent, message_factory)
        sequential = self._sequential_message_types
        self._sequential_message_types = [t for t in sequential if t is not GroupChatRequestPublish]
        self._first = agent
        self._lasted = lasted
        self._task: tuple[BaseChatMessage, ...] = ()
        self._free: list[Specialist] = [agent]
        self._greeted: set[int] = {id(agent)}

    @event
    async def handle_start(  # type: ignore[override]
        self, message: GroupChatStart, ctx: MessageContext
    ) -> None:
        """Keep the task of the round for those who are seated later."""
        self._task = tuple(message.messages or ())
        for said in self._task:
            self._buffer_message(said)

    @event
    async def handle_request(  # type: ignore[override]
        self, message: GroupChatRequestPublish, ctx: MessageContext
    ) -> None:
        """Take a turn, beside those that go on."""
        clock = asyncio.get_running_loop().time
        began, seat = clock(), self._free.pop(0) if self._free else self._first.another()
        heard, self._message_buffer = self._message_buffer, []
        if id(seat) not in self._greeted:
            self._greeted.add(id(seat))
            heard = [*self._task, *(one for one in heard if one not in self._task)]
        try:
            response = await self._turn(seat, heard, _of_turn(ctx.cancellation_token))
        except Exception as error:
            failed = GroupChatError(error=SerializableException.from_exception(error))
            await self._publish(failed, ctx)
            raise
        self._free.append(seat)
        self._lasted(self._first.name, clock() - began)
        await self._publish(GroupChatAgentResponse(response=response, name=self._first.name), ctx)

    async def _turn(
        self, seat: Specialist, heard: list[BaseChatMessage], token: CancellationToken
    ) -> Response:
        response: Response | None = None
        with trace_invoke_agent_span(
            agent_name=seat.name, agent_description=seat.description, agent_id=str(self.id)
        ):
            async for said in seat.on_messages_stream(heard, token):
                if isinstance(said, Response):
                    response = said
                    await self._log_message(said.chat_message)
                else:
                    await self._log_message(said)
        if response is None:
            raise RuntimeError(f"{seat.name} ended its turn without a word")
        return response

    async def _publish(self, message: Any, ctx: MessageContext) -> None:
        topic = DefaultTopicId(type=self._parent_topic_type)
        await self.publish_message(
            message, topic_id=topic, cancellation_token=ctx.cancellation_token
        )


def _of_turn(round_token: CancellationToken) -> CancellationToken:
    """Return a token of one turn, which the round's cancels, too.

    A token holds all that was ever linked to it: with one for a long round, all that was said in it
    would stay in memory.
    """
    token = CancellationToken()
    held = weakref.ref(token)

    def cancel() -> None:
        if (known := held()) is not None:
            known.cancel()

    round_token.add_callback(cancel)
    return token
