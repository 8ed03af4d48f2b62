"""A model context that is fresh for every turn and begins with what the lineage says now."""

from __future__ import annotations

from collections.abc import Callable

from autogen_core.model_context import ChatCompletionContext
from autogen_core.models import LLMMessage, UserMessage
from pydantic import BaseModel

VIEW_SOURCE = "lineage"
"""Source of the message that carries the lineage view."""


class TurnContext(ChatCompletionContext):
    """Holds the messages of one turn behind a lineage view rendered at its beginning.

    A turn is bounded by the agent's limit of tool calls, so nothing needs to be trimmed inside it,
    and no call is ever parted from its result.

    Args:
        view: Renders the lineage view for the specialist that owns this context.
    """

    component_provider_override = "recipelab.agents.TurnContext"

    def __init__(self, view: Callable[[], str]) -> None:
        super().__init__()
        self._view = view
        self._opening: UserMessage | None = None

    async def begin_turn(self) -> None:
        """Forgets the last turn and takes a new view."""
        await self.clear()
        self._opening = UserMessage(content=self._view(), source=VIEW_SOURCE)

    async def get_messages(self) -> list[LLMMessage]:
        """The view, then what was said to the specialist, then what it did in this turn."""
        return [*([self._opening] if self._opening else []), *self._messages]

    def _to_config(self) -> BaseModel:
        # The view reads a running campaign, which no JSON can carry.
        raise NotImplementedError("a turn's context lives inside a running campaign")
