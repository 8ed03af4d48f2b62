"""Keeps a conversation within a bound without parting a call from its result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

from autogen_core import Component
from autogen_core.model_context import ChatCompletionContext
from autogen_core.models import (
    AssistantMessage,
    FunctionExecutionResultMessage,
    LLMMessage,
    UserMessage,
)
from pydantic import BaseModel

from recipelab.agents.lineage_view import ViewContext, render_lineage_view
from recipelab.lineage import LineageStore, prior_campaigns
from recipelab.packs.load import load_pack

LEFT_OUT = "(earlier calls of this turn were left out, as they did not fit any more)"


def trimmed(messages: Sequence[LLMMessage], characters: int) -> list[LLMMessage]:
    """Drops the oldest exchanges until the rest fits.

    An exchange is a message of the assistant with the results of its calls. What others said stays,
    and so does the newest exchange, whatever its size.

    Args:
        messages: A conversation in which every result follows its call.
        characters: The bound, in characters of text and arguments.

    Returns:
        The messages that stay, in order; a note stands where something was left out.
    """
    size = sum(_size(message) for message in messages)
    if size <= characters:
        return list(messages)
    exchanges = _exchanges(messages)
    dropped: set[int] = set()
    for exchange in exchanges[:-1]:
        if size <= characters:
            break
        dropped.update(exchange)
        size -= sum(_size(messages[place]) for place in exchange)
    if not dropped:
        return list(messages)
    kept: list[LLMMessage] = []
    for place, message in enumerate(messages):
        if place == min(dropped):
            kept.append(UserMessage(content=LEFT_OUT, source="context"))
        if place not in dropped:
            kept.append(message)
    return kept


def _exchanges(messages: Sequence[LLMMessage]) -> list[list[int]]:
    """Places of the messages of each exchange."""
    found: list[list[int]] = []
    for place, message in enumerate(messages):
        if isinstance(message, AssistantMessage):
            found.append([place])
        elif isinstance(message, FunctionExecutionResultMessage) and found:
            found[-1].append(place)
    return found


def _size(message: LLMMessage) -> int:
    content = message.content
    if isinstance(content, str):
        return len(content)
    return sum(len(part) if isinstance(part, str) else _part(part) for part in content)


def _part(part: object) -> int:
    told = getattr(part, "arguments", None) or getattr(part, "content", "")
    return len(told) if isinstance(told, str) else 0


VIEW_SOURCE = "lineage"
"""Source of the message that carries the lineage view."""

CHARACTERS = 240_000
"""How much a turn's context holds by default; some 60,000 tokens."""


class TurnContext(ChatCompletionContext):
    """Holds the messages of one turn behind a lineage view rendered at its beginning.

    When a turn grows beyond its bound, the oldest calls go, each with its result, never one
    without the other.

    Args:
        view: Renders the lineage view for the specialist that owns this context; an empty text
            shows nothing.
        characters: How much it holds, in characters of text.
    """

    component_provider_override = "recipelab.agents.TurnContext"

    def __init__(self, view: Callable[[], str], *, characters: int = CHARACTERS) -> None:
        super().__init__()
        self._view = view
        self._characters = characters
        self._opening: UserMessage | None = None

    async def begin_turn(self) -> None:
        """Forgets the last turn and takes a new view."""
        await self.clear()
        text = self._view()
        self._opening = UserMessage(content=text, source=VIEW_SOURCE) if text else None

    async def get_messages(self) -> list[LLMMessage]:
        """The view, then what was said to the specialist, then what it did in this turn."""
        opening: Sequence[LLMMessage] = [self._opening] if self._opening else []
        return trimmed([*opening, *self._messages], self._characters)

    def _to_config(self) -> BaseModel:
        # The view reads a running campaign, which no JSON can carry.
        raise NotImplementedError("a turn's context lives inside a running campaign")


class LineageContextConfig(BaseModel):
    """Configuration of :class:`LineageContext`.

    Attributes:
        lineage: Path or URL of the lineage.
        campaign: Name of the campaign that is shown.
        specialist: Whose own trials are set apart from those of the others.
        surfaces: The surfaces that it owns.
        pack: Name or folder of the campaign's pack; ``None`` for the one it was started with.
        characters: How much the context holds, in characters.
    """

    lineage: str
    campaign: str
    specialist: str
    surfaces: tuple[str, ...]
    pack: str | None = None
    characters: int = CHARACTERS


class LineageContext(TurnContext, Component[LineageContextConfig]):
    """A model context for any AutoGen assistant that is to see the lineage view.

    A word from outside after the assistant has acted begins a new turn: what came before is
    forgotten, and the view is taken anew. So nothing grows, however long the chat.

    Args:
        store: An open lineage.
        campaign: Name of the campaign that is shown.
        specialist: Whose own trials are set apart from those of the others.
        surfaces: The surfaces that it owns.
        pack: Name or folder of the campaign's pack; ``None`` for the one it was started with.
        characters: How much the context holds, in characters.

    Raises:
        RecipelabError: There is no such campaign or pack.
    """

    component_config_schema = LineageContextConfig
    component_provider_override = "recipelab.agents.LineageContext"

    def __init__(
        self,
        store: LineageStore,
        campaign: str,
        specialist: str,
        surfaces: Sequence[str],
        *,
        pack: str | None = None,
        characters: int = CHARACTERS,
    ) -> None:
        record = store.campaign(campaign)
        frame = ViewContext(
            store,
            campaign,
            load_pack(pack or record.pack, record.profile),
            specialist,
            tuple(surfaces),
            priors=prior_campaigns(record),
        )
        super().__init__(lambda: render_lineage_view(frame), characters=characters)
        self._config = LineageContextConfig(
            lineage=store.url,
            campaign=campaign,
            specialist=specialist,
            surfaces=tuple(surfaces),
            pack=pack,
            characters=characters,
        )

    async def add_message(self, message: LLMMessage) -> None:
        """Adds a message; one from outside that follows a turn begins the next."""
        last = self._messages[-1] if self._messages else None
        if isinstance(message, UserMessage) and not isinstance(last, UserMessage):
            await self.begin_turn()
        await super().add_message(message)

    def _to_config(self) -> LineageContextConfig:
        return self._config

    @classmethod
    def _from_config(cls, config: LineageContextConfig) -> Self:
        return cls(
            LineageStore.open(config.lineage),
            config.campaign,
            config.specialist,
            config.surfaces,
            pack=config.pack,
            characters=config.characters,
        )
