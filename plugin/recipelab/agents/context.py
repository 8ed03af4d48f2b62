"""A model context that is fresh for every turn and begins with what the lineage says now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

from autogen_core import Component
from autogen_core.model_context import ChatCompletionContext
from autogen_core.models import LLMMessage, UserMessage
from pydantic import BaseModel

from recipelab.agents.trimming import trimmed
from recipelab.lineage import LineageStore, prior_campaigns
from recipelab.packs import load_pack
from recipelab.view import Frame, render_view

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
        frame = Frame(
            store,
            campaign,
            load_pack(pack or record.pack, record.profile),
            specialist,
            tuple(surfaces),
            priors=prior_campaigns(record),
        )
        super().__init__(lambda: render_view(frame), characters=characters)
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
