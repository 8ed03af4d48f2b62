"""The model context of a specialist: one turn behind a lineage view, within a bound."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
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

VIEW_SOURCE = "lineage"
"""Source of the messages with which a turn begins."""

CHARACTERS = 96_000
"""The characters that a context holds by default; some 24,000 tokens."""

LEAST_RESULT = 4_000
"""Characters that stay of every result, however little fits."""

CUT = " ... cut here: {more:,} more characters do not fit; ask for less at once"

LEFT_OUT = "(earlier calls of this turn were left out, as they no longer fit)"


def trimmed(messages: Sequence[LLMMessage], characters: int) -> list[LLMMessage]:
    """Return the messages without their oldest exchanges, so that the rest fits.

    An exchange is a message of the assistant with the results of its calls. Messages of others
    stay, and so does the newest exchange; its longest results are cut if it does not fit alone.

    Args:
        messages: A conversation in which every result follows its call.
        characters: The bound, in characters of text and arguments.

    Returns:
        The messages that stay, in order; a note stands where something was left out.
    """
    exchanges: list[list[int]] = []  # the positions of the messages of each
    for position, message in enumerate(messages):
        if isinstance(message, AssistantMessage):
            exchanges.append([position])
        elif isinstance(message, FunctionExecutionResultMessage) and exchanges:
            exchanges[-1].append(position)
    size = sum(_size(message) for message in messages)
    dropped: set[int] = set()
    for exchange in exchanges[:-1]:
        if size <= characters:
            break
        dropped.update(exchange)
        size -= sum(_size(messages[position]) for position in exchange)
    kept: list[LLMMessage] = []
    for position, message in enumerate(messages):
        if position not in dropped:
            kept.append(message)
        elif position == min(dropped):
            kept.append(UserMessage(content=LEFT_OUT, source="context"))
    newest = kept[-1] if kept else None
    if size > characters and isinstance(newest, FunctionExecutionResultMessage):
        kept[-1] = _cut(newest, characters - (size - _size(newest)))
    return kept


def _cut(message: FunctionExecutionResultMessage, room: int) -> FunctionExecutionResultMessage:
    """Return results of which the longest are cut, so that all of them fit into the room."""
    left, most = room, LEAST_RESULT
    for waiting, size in enumerate(sorted(len(one.content) for one in message.content)):
        most = max(LEAST_RESULT, left // (len(message.content) - waiting))
        if size > most:
            break
        left -= size
    results = [
        one
        if len(one.content) <= most
        else one.model_copy(
            update={
                "content": one.content[: most - len(CUT)]
                + CUT.format(more=len(one.content) - most + len(CUT))
            }
        )
        for one in message.content
    ]
    return FunctionExecutionResultMessage(content=results)


def _size(message: LLMMessage) -> int:
    """Return the characters of a message; pictures count as none."""
    if isinstance(message.content, str):
        return len(message.content)
    size = 0
    for part in message.content:
        text = part if isinstance(part, str) else getattr(part, "arguments", None)
        text = text or getattr(part, "content", "")
        size += len(text) if isinstance(text, str) else 0
    return size


def _copy_of(context: ChatCompletionContext) -> ChatCompletionContext:
    """Return a context with the same messages and a list of its own; a client in it is shared."""
    twin = copy(context)
    twin._messages = list(context._messages)
    return twin


class TurnContext(ChatCompletionContext):
    """Holds the messages of a turn behind its opening, which is rendered when they are first read.

    That is when the model is first called in the turn, so what it sees is of that moment. When a
    turn grows beyond its bound, the oldest calls go, each with its result, never one without the
    other.

    Args:
        opening: Renders the messages with which a turn begins, the lineage view last; an empty
            text adds none.
        characters: The bound, in characters of text.
        inner: Chooses what is kept of a turn, before the bound is applied; each turn begins with a
            copy of it. ``None`` keeps all.
    """

    component_provider_override = "recipelab.agents.TurnContext"

    def __init__(
        self,
        opening: Callable[[], Sequence[str]],
        *,
        characters: int = CHARACTERS,
        inner: ChatCompletionContext | None = None,
    ) -> None:
        super().__init__()
        self._render = opening
        self._characters = characters
        self._given = inner
        self._inner = inner and _copy_of(inner)
        self._opening: list[LLMMessage] = []
        self._is_new = False

    async def begin_turn(self) -> None:
        """Forget the last turn; a new opening is rendered for the first call of the model."""
        await self.clear()
        self._opening, self._is_new = [], True

    async def clear(self) -> None:
        """Forget all messages."""
        await super().clear()
        self._inner = self._given and _copy_of(self._given)

    async def add_message(self, message: LLMMessage) -> None:
        """Add a message of this turn."""
        await super().add_message(message)
        if self._inner is not None:
            await self._inner.add_message(message)

    async def get_messages(self) -> list[LLMMessage]:
        """Return the opening, the messages to the specialist, and its calls in this turn."""
        if self._is_new:
            self._is_new = False
            texts = filter(None, self._render())
            self._opening = [UserMessage(content=text, source=VIEW_SOURCE) for text in texts]
        turn = self._messages if self._inner is None else await self._inner.get_messages()
        return trimmed([*self._opening, *turn], self._characters)

    def _to_config(self) -> BaseModel:
        # The view reads a running campaign, which JSON cannot hold.
        raise NotImplementedError("a turn's context lives inside a running campaign")


class LineageContextConfig(BaseModel):
    """Configuration of :class:`LineageContext`.

    Attributes:
        lineage: Path or URL of the lineage.
        campaign: Name of the campaign to view.
        specialist: The specialist whose own trials are set apart from those of the others.
        surfaces: The surfaces that it owns.
        pack: Name or folder of the campaign's pack; ``None`` for the one it was started with.
        characters: The bound of the context, in characters of text.
    """

    lineage: str
    campaign: str
    specialist: str
    surfaces: tuple[str, ...]
    pack: str | None = None
    characters: int = CHARACTERS


def view_context(
    store: LineageStore,
    campaign: str,
    specialist: str,
    surfaces: Sequence[str],
    *,
    pack: str | None = None,
) -> ViewContext:
    """Return the context of the lineage view for an agent of any app.

    Args:
        store: An open lineage.
        campaign: Name of the campaign to view.
        specialist: The specialist whose own trials are set apart from those of the others.
        surfaces: The surfaces that it owns.
        pack: Name or folder of the campaign's pack; ``None`` for the one it was started with.

    Raises:
        RecipelabError: There is no such campaign or pack.
    """
    record = store.campaign(campaign)
    return ViewContext(
        store,
        campaign,
        load_pack(pack or record.pack, record.profile),
        specialist,
        tuple(surfaces),
        priors=prior_campaigns(record),
    )


class LineageContext(TurnContext, Component[LineageContextConfig]):
    """A model context that shows the lineage view to any AutoGen assistant.

    A message from outside after the assistant has acted begins a new turn: everything before it is
    forgotten, and the view is rendered anew. So the context does not grow with the chat.

    Args:
        store: An open lineage.
        campaign: Name of the campaign to view.
        specialist: The specialist whose own trials are set apart from those of the others.
        surfaces: The surfaces that it owns.
        pack: Name or folder of the campaign's pack; ``None`` for the one it was started with.
        characters: The bound of the context, in characters of text.

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
        context = view_context(store, campaign, specialist, surfaces, pack=pack)
        super().__init__(lambda: (render_lineage_view(context),), characters=characters)
        self._config = LineageContextConfig(
            lineage=store.url,
            campaign=campaign,
            specialist=specialist,
            surfaces=tuple(surfaces),
            pack=pack,
            characters=characters,
        )

    async def add_message(self, message: LLMMessage) -> None:
        """Add a message; one from outside that follows a turn begins the next."""
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
