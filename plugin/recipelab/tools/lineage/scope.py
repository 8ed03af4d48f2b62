"""Which campaigns a lineage tool may tell of, and what all lineage tools share."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from recipelab.errors import LineageError, unknown_name
from recipelab.lineage import LineageStore
from recipelab.lineage.priors import prior_note
from recipelab.pack_measures import Goal
from recipelab.tools.answers import to_json
from recipelab.tools.base import TextTool
from recipelab.tools.lineage.arguments import ScopeArguments

ScopeT = TypeVar("ScopeT", bound=ScopeArguments)


@dataclass(frozen=True)
class Scope:
    """What may be asked about.

    Attributes:
        store: An open lineage.
        campaign: Name of the campaign.
        goal: Which way its metric is better.
        priors: Names of other campaigns that serve as prior knowledge.
    """

    store: LineageStore
    campaign: str
    goal: Goal = Goal.MINIMIZE
    priors: tuple[str, ...] = ()

    def chosen(self, name: str | None) -> str:
        """The campaign that a call is about.

        Raises:
            LineageError: It is none of those in scope; the message lists them.
        """
        if name is None or name == self.campaign:
            return self.campaign
        if name not in self.priors:
            raise LineageError(unknown_name("campaign", name, (self.campaign, *self.priors)))
        return name

    def mark(self, campaign: str) -> dict[str, Any]:
        """How an answer says that it is not about this campaign; nothing if it is."""
        if campaign == self.campaign:
            return {}
        own, prior = self.store.campaign(self.campaign), self.store.campaign(campaign)
        return {"prior_campaign": campaign, "note": prior_note(own, prior)}


class LineageTool(TextTool[ScopeT], Generic[ScopeT]):
    """A tool that only reads the lineage.

    Args:
        arguments: The type of its arguments.
        name: Its name.
        description: What it does, for the model.
        scope: What it may tell of.
    """

    def __init__(self, arguments: type[ScopeT], name: str, description: str, scope: Scope) -> None:
        super().__init__(arguments, name, description)
        self._scope = scope

    @property
    def _store(self) -> LineageStore:
        return self._scope.store

    @abstractmethod
    def look_up(self, campaign: str, args: ScopeT) -> Mapping[str, Any]:
        """Looks up the answer, as plain data."""

    async def answer(self, args: ScopeT) -> str:
        """Answers with JSON, size-capped.

        Raises:
            LineageError: There is no such campaign or trial; the message says which there are.
        """
        # A thread of its own, so that a locked database holds up nobody and can be cancelled.
        return await asyncio.to_thread(self._told, args)

    def _told(self, args: ScopeT) -> str:
        campaign = self._scope.chosen(args.campaign)
        return to_json({**self._scope.mark(campaign), **self.look_up(campaign, args)})
