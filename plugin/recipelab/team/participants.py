"""Who works on a campaign, by the arm of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from autogen_agentchat.base import ChatAgent, Team
from autogen_core.models import ChatCompletionClient

from recipelab.agents import Charter, EvaluatorAgent, Specialist, load_charter
from recipelab.agents.context import CHARACTERS
from recipelab.core.errors import ModelError, unknown_name
from recipelab.evaluation.queue import TrialQueue
from recipelab.evaluation.session import CampaignSession
from recipelab.models import (
    GuidedClient,
    JsonRepairClient,
    MeteredClient,
    Prices,
    RetryingClient,
    loaded_model,
    open_model,
    saved_model,
)
from recipelab.packs.load import load_playbook
from recipelab.packs.pack import Pack
from recipelab.plan import Arm, Plan, SavedModel, Speakers, model_name
from recipelab.team.scheduler import TurnScheduler

GENERALIST = "generalist"
"""The charter of agents that own every surface."""


def roster(pack: Pack, arm: Arm, names: Sequence[str] = ()) -> tuple[Charter, ...]:
    """The charters of a campaign's agents, with the surfaces that they own in the pack.

    The arms differ in nothing but who proposes: ``generic`` has as many agents as the pack has
    specialists, each free to change anything, ``single`` has one.

    Args:
        pack: The campaign's pack.
        arm: The arm.
        names: Charters to work with; none for those that the pack names.

    Raises:
        RecipelabError: A charter is missing or cannot be read, or owns no surface of the pack.
    """
    if arm in (Arm.SPECIALISTS, Arm.NO_LINEAGE):
        wanted = names or pack.specialists
        return tuple(load_charter(name).on(pack.surface_names) for name in wanted)
    general = load_charter(GENERALIST).on(pack.surface_names)
    if arm is Arm.SINGLE:
        return (general,)
    return tuple(
        general.model_copy(update={"name": f"generic_{number}"})
        for number in range(1, len(pack.specialists) + 1)
    )


SELECTOR = "selector"
"""Whom calls of the selector are booked for, and the name under which it can have a model."""


class ModelClients:
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
        lab: CampaignSession,
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
        client = JsonRepairClient(client)
        if charter and charter.guided:
            client = GuidedClient(client, charter.tools or ())
        return MeteredClient(
            RetryingClient(client, say=self._lab.say),
            lambda: self._lab.queue.ledger if self._lab.queue else None,
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


ROUNDS_OF_TURNS = 2
"""Turns that each specialist has in a round, on average."""


class Participants:
    """Makes the participants of each round.

    Args:
        lab: Where the campaign is run.
        clients: Model clients of the caller's own, by name of the participant.
        guests: Participants besides the specialists.

    Raises:
        RecipelabError: A charter or a model cannot be had.
    """

    def __init__(
        self,
        lab: CampaignSession,
        clients: Mapping[str, ChatCompletionClient],
        guests: Sequence[ChatAgent | Team],
    ) -> None:
        self.guests = tuple(guests)
        self.charters = roster(lab.pack, lab.plan.arm, lab.plan.specialists)
        self._lab = lab
        self._plays = load_playbook(lab.pack)
        self._cast = ModelClients(lab, self.charters, clients)
        self._turn_seconds: float | None = None

    @property
    def selector(self) -> ChatCompletionClient:
        """The model that picks speakers, if one does."""
        return self._cast.client(SELECTOR)

    @property
    def asks_model(self) -> bool:
        """Whether a model picks speakers."""
        return self._lab.plan.speakers is Speakers.MODEL

    def floor(self, desk: TrialQueue) -> TurnScheduler:
        """The floor of the next round."""
        plan = self._lab.plan
        many = max(ROUNDS_OF_TURNS * len(self.charters), ROUNDS_OF_TURNS * desk.slots)
        return TurnScheduler(
            desk,
            [charter.name for charter in self.charters],
            guests=[guest.name for guest in self.guests],
            turns=plan.turns or many,
            ahead=plan.ahead,
            turn_seconds=self._turn_seconds,
        )

    def learn(self, floor: TurnScheduler | None) -> None:
        """Keeps what a round has shown: how long a turn takes."""
        if floor is not None:
            self._turn_seconds = floor.turn_seconds

    def participants(
        self, desk: TrialQueue | None, number: int | None, floor: TurnScheduler | None
    ) -> list[ChatAgent | Team]:
        """Fresh participants; without a desk they can be looked at, and cannot act."""
        plan = self._lab.plan
        specialists = [
            Specialist(
                charter,
                self._cast.client(charter.name),
                self._lab.pack,
                desk,
                plays=self._plays,
                round_number=number,
                blind=plan.blind,
                characters=plan.characters or CHARACTERS,
            )
            for charter in self.charters
        ]
        seat = EvaluatorAgent(desk, floor.closing if floor else None, blind=plan.blind)
        return [*specialists, seat, *self.guests]

    def saved_plan(self) -> Plan:
        """The plan with models that JSON can carry.

        Raises:
            ModelError: A model of the caller's own cannot be saved.
        """
        return self._cast.saved_plan()

    async def close(self) -> None:
        """Closes the models that were opened here."""
        await self._cast.close()
