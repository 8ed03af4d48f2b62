"""The model of each participant of a campaign."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from autogen_core.models import ChatCompletionClient

from recipelab.agents import Charter
from recipelab.errors import ModelError, unknown_name
from recipelab.lab import Lab
from recipelab.models import (
    MeteredClient,
    PatientClient,
    Prices,
    TidyClient,
    loaded_model,
    open_model,
    saved_model,
)
from recipelab.plan import Plan, SavedModel, model_name

SELECTOR = "selector"
"""Whom calls of the selector are booked for, and the name under which it can have a model."""


class Cast:
    """Opens the models of a plan; participants with the same model share a client.

    Each call waits out what passes (see :class:`recipelab.models.PatientClient`), and is reserved
    and booked in the ledger of the run.

    Args:
        lab: Says which models, and has the ledger.
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
        self._lab = lab
        self._given = dict(given)
        self._opened: dict[str, ChatCompletionClient] = {}
        self._prices = Prices.read(Path(lab.plan.prices) if lab.plan.prices else None)
        own = {charter.name: charter for charter in charters}
        _check_names([*own, SELECTOR], [*lab.plan.models, *given])
        self._clients = {name: self._client(name, own.get(name)) for name in (*own, SELECTOR)}

    def client(self, name: str) -> ChatCompletionClient:
        """The model of a participant."""
        return self._clients[name]

    def saved_plan(self) -> Plan:
        """The plan with models that JSON can carry.

        Raises:
            ModelError: A model of the caller's own cannot be saved.
        """
        plan = self._lab.plan
        saved: dict[str, SavedModel] = {
            name: saved_model(client) for name, client in self._given.items()
        }
        default = saved.pop("", plan.model)
        return plan.model_copy(update={"model": default, "models": {**plan.models, **saved}})

    async def close(self) -> None:
        """Closes the clients that were opened here."""
        for client in self._opened.values():
            await client.close()

    def _client(self, name: str, charter: Charter | None) -> ChatCompletionClient:
        client, model = self._chosen(name, charter)
        return MeteredClient(
            PatientClient(TidyClient(client), say=self._lab.say),
            lambda: self._lab.desk.ledger if self._lab.desk else None,
            specialist=name,
            model=model,
            prices=self._prices,
        )

    def _chosen(self, name: str, charter: Charter | None) -> tuple[ChatCompletionClient, str]:
        """The client of a participant, and what its model is called."""
        plan = self._lab.plan
        mine: SavedModel | None = plan.models.get(name)
        given = self._given.get(name) or (None if mine else self._given.get(""))
        if given is not None:
            return given, type(given).__name__
        model = mine or (charter and charter.model) or plan.model
        temperature = charter.temperature if charter else None
        return self._open(model, temperature), model_name(model)

    def _open(self, model: SavedModel, temperature: float | None) -> ChatCompletionClient:
        key = f"{model}/{temperature}"
        if key not in self._opened:
            plan = self._lab.plan
            self._opened[key] = (
                open_model(model, seed=plan.seed, base_url=plan.base_url, temperature=temperature)
                if isinstance(model, str)
                else loaded_model(model)
            )
        return self._opened[key]


def _check_names(there: Sequence[str], named: Sequence[str]) -> None:
    for name in named:
        if name and name not in there:
            raise ModelError(unknown_name("participant with a model", name, there))
