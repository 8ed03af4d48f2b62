"""The model of each participant of a campaign."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autogen_core.models import ChatCompletionClient

from recipelab.agents import Charter
from recipelab.errors import ModelError, unknown_name
from recipelab.lab import Lab
from recipelab.models import open_model
from recipelab.plan import Plan

SELECTOR = "selector"
"""Whom calls of the selector are booked for, and the name under which it can have a model."""


class Cast:
    """Opens the models of a plan, one client for each specification.

    Args:
        lab: Says which models.
        charters: The specialists.
        given: Clients that the caller brings along, by name of the participant; the empty name
            stands for all that have none of their own. They are not closed.

    Raises:
        ModelError: A model cannot be opened, or is for somebody who takes no part.
    """

    def __init__(
        self,
        lab: Lab,
        charters: Sequence[Charter],
        given: Mapping[str, ChatCompletionClient],
    ) -> None:
        plan = lab.plan
        self._lab = lab
        names = [*(charter.name for charter in charters), SELECTOR]
        for name in (*plan.models, *(name for name in given if name)):
            if name not in names:
                raise ModelError(unknown_name("participant with a model", name, names))
        shared = given.get("") or open_model(str(plan.model), seed=plan.seed)
        self._clients = {name: given.get(name, shared) for name in names}

    def client(self, name: str) -> ChatCompletionClient:
        """The model of a participant."""
        return self._clients[name]

    def saved_plan(self) -> Plan:
        """The plan with models that JSON can carry."""
        return self._lab.plan

    async def close(self) -> None:
        """Closes the clients that were opened here."""
