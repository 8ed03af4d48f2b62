"""The agents of a campaign's group chat, by the campaign's arm, and their models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from autogen_agentchat.base import ChatAgent, Team
from autogen_core.model_context import ChatCompletionContext
from autogen_core.models import ChatCompletionClient

from recipelab.agents import Charter, EvaluatorAgent, Specialist, load_charter
from recipelab.agents.context import CHARACTERS
from recipelab.agents.literature import LiteratureWorkbench, open_literature
from recipelab.core.errors import ModelError, RecipelabError, unknown_name
from recipelab.evaluation.pace import TurnPace
from recipelab.evaluation.queue import TrialQueue
from recipelab.evaluation.session import CampaignSession
from recipelab.lineage import TrialRecord
from recipelab.models import (
    GuidedClient,
    HandedOnClient,
    JsonRepairClient,
    MeteredClient,
    Patience,
    Prices,
    RetryingClient,
    Sampling,
    ThinkingClient,
    WholeAnswerClient,
    described_model,
    loaded_model,
    open_model,
    saved_model,
)
from recipelab.models.open import PROVIDERS
from recipelab.packs.load import load_pack, load_playbook, portable_name
from recipelab.packs.pack import Pack
from recipelab.plan import MODEL, OFFLINE, Arm, Plan, SavedModel, model_name
from recipelab.team.scheduler import TurnScheduler
from recipelab.team.turns import Silence
from recipelab.tools.names import TOOLS

GENERALIST = "generalist"
"""The charter of agents that own every surface."""

SELECTOR = "selector"
"""The name that calls of the selector are booked for, and under which it can have a model."""

TURNS_EACH = 2
"""Turns of each specialist in a round, on average, unless the plan says otherwise; with several
slots, turns for each slot or specialist after which a round ends that brought no trial."""

TURNS_A_SLOT = 64
"""Turns for each slot in a round, where there are several: at the end of a round all wait for the
last turn, so that slots run dry."""


def charters_for(pack: Pack, arm: Arm, names: Sequence[str] = ()) -> tuple[Charter, ...]:
    """Return the charters of a campaign's agents, with the surfaces that they own in the pack.

    The arms differ in nothing but who proposes: ``generic`` has as many agents as the pack has
    specialists, each free to change anything; ``single`` has one.

    Args:
        pack: The campaign's pack.
        arm: The arm.
        names: Names of the charters; empty for those that the pack names.

    Raises:
        RecipelabError: A charter is missing or cannot be read, or owns no surface of the pack.
    """
    if arm in (Arm.SPECIALISTS, Arm.NO_LINEAGE):
        wanted = names or pack.specialists
        return tuple(load_charter(name).on(pack.surface_names) for name in wanted)
    generalist = load_charter(GENERALIST).on(pack.surface_names)
    if arm is Arm.SINGLE:
        return (generalist,)
    return tuple(
        generalist.model_copy(update={"name": f"generic_{number}"})
        for number in range(1, len(pack.specialists) + 1)
    )


def check_pack(plan: Plan) -> None:
    """Check that the pack of a team from JSON is here.

    Raises:
        RecipelabError: It is not; the message says where it is looked for.
    """
    try:
        load_pack(plan.pack, plan.profile)
    except RecipelabError as error:
        raise RecipelabError(
            f"the team's JSON names the pack {plan.pack!r}: {error}. A pack is looked for in "
            "task_packs/ of the working directory, among those that ship with recipelab, and in "
            "installed packages that bring some (entry points of recipelab.task_packs)"
        ) from None


class ModelClients:
    """The model clients of a campaign's participants; those with the same model share one inside.

    Each client sets thinking apart, repairs malformed tool calls, retries what passes by itself
    (see :class:`recipelab.models.RetryingClient`), and reserves and books every call in the ledger
    of the run. A specialist's answer that was cut off is an error that says so.

    Args:
        session: The campaign; its plan names the models.
        charters: The specialists.
        given: Clients of the caller, by name of the participant; the empty name stands for every
            participant without one. They are not closed.

    Raises:
        ModelError: A model cannot be opened, or is for a name that is no participant, or money is
            limited and the price of a model unknown.
    """

    def __init__(
        self,
        session: CampaignSession,
        charters: Sequence[Charter],
        given: Mapping[str, ChatCompletionClient],
    ) -> None:
        self._session = session
        self._given = dict(given)
        self._opened: dict[str, ChatCompletionClient] = {}
        plan = session.plan
        self._prices = Prices.read(Path(plan.prices) if plan.prices else None)
        owners: dict[str, Charter | None] = {charter.name: charter for charter in charters}
        owners[SELECTOR] = None
        for name in (*plan.models, *given):
            if name and name not in owners:
                raise ModelError(unknown_name("participant with a model", name, owners))
        self._names: dict[str, str] = {}
        self._patiences: dict[str, Patience] = {}
        self._clients = {name: self._client(name, charter) for name, charter in owners.items()}
        if plan.limits.money is not None:
            silent = {SELECTOR} if plan.speakers != MODEL else set()
            self._prices.check(one for name, one in self._names.items() if name not in silent)

    def client(self, name: str) -> ChatCompletionClient:
        """Return the client of a participant."""
        return self._clients[name]

    @property
    def has_real_model(self) -> bool:
        """Whether a language model proposes, wherever it was named: in the plan or a charter."""
        return any(name != OFFLINE for who, name in self._names.items() if who != SELECTOR)

    def recorded_plan(self) -> Plan:
        """Return the plan as the lineage records it, with the caller's clients by their models."""
        return self._plan_with(
            {name: described_model(client) for name, client in self._given.items()}
        )

    def saved_plan(self) -> Plan:
        """Return the plan as JSON holds it, for other folders and machines, too.

        Clients and files of components become components without keys, and the folder of a pack
        its name, if the name finds it.

        Raises:
            ModelError: A client cannot be saved.
        """
        plan = self._plan_with({name: saved_model(client) for name, client in self._given.items()})
        changes = {
            "model": self._without_file(plan.model),
            "models": {name: self._without_file(model) for name, model in plan.models.items()},
            "pack": portable_name(plan.pack),
        }
        return plan.model_copy(update=changes)

    def _plan_with(self, saved: dict[str, dict[str, Any]]) -> Plan:
        plan = self._session.plan
        models: dict[str, SavedModel] = {"": plan.model, **plan.models, **saved}
        default = models.pop("")
        return plan.model_copy(update={"model": default, "models": models})

    def _without_file(self, model: SavedModel) -> SavedModel:
        """Return the component that a file of a model holds; another model as it is."""
        if not isinstance(model, str) or not model.endswith(".json"):
            return model
        for key, client in self._opened.items():
            if key.startswith(f"{model}/"):
                return saved_model(client)
        return model  # No participant has it.

    async def close(self) -> None:
        """Close the clients that were opened here."""
        for client in self._opened.values():
            await client.close()

    def _client(self, name: str, charter: Charter | None) -> ChatCompletionClient:
        plan = self._session.plan
        own: SavedModel | None = plan.models.get(name)
        given = self._given.get(name) or (None if own else self._given.get(""))
        if given is not None:
            client, model = given, model_name(described_model(given))
        else:
            wanted = own or (charter and charter.model) or plan.model
            client = self._open(wanted, charter)
            model = model_name(wanted)
        self._names[name] = model
        client = JsonRepairClient(ThinkingClient(HandedOnClient(client)))
        if charter and charter.guided:
            client = GuidedClient(client, charter.tools or ())
        client = MeteredClient(
            RetryingClient(client, patience=self._patience(model)),
            lambda: queue.ledger if (queue := self._session.queue) else None,
            specialist=name,
            model=model,
            prices=self._prices,
        )
        return WholeAnswerClient(client, self._sampling(charter).max_tokens) if charter else client

    def _patience(self, model: str) -> Patience:
        """Return what all participants with a model share, so that an outage is told once."""
        if model not in self._patiences:
            plan = self._session.plan
            named = plan.base_url and model.partition(":")[0] in PROVIDERS
            name = f"{model} at {plan.base_url}" if named else model
            self._patiences[model] = Patience(name, self._session.warn or self._session.say)
        return self._patiences[model]

    def _sampling(self, charter: Charter | None) -> Sampling:
        """Return how a participant's model writes: by its charter, and else by the plan."""
        most = self._session.plan.max_tokens
        if charter is None:
            return Sampling(max_tokens=most)
        return Sampling(charter.temperature, charter.max_tokens or most, charter.reasoning_effort)

    def _open(self, model: SavedModel, charter: Charter | None) -> ChatCompletionClient:
        plan = self._session.plan
        sampling = self._sampling(charter)
        key = f"{model}/{sampling}"
        if key not in self._opened:
            self._opened[key] = (
                open_model(model, seed=plan.seed, base_url=plan.base_url, sampling=sampling)
                if isinstance(model, str)
                else loaded_model(model)
            )
        return self._opened[key]


class Participants:
    """Makes the participants of each round anew: specialists, the evaluator, and guests.

    Args:
        session: The campaign.
        clients: Model clients of the caller, by name of the participant; see
            :class:`ModelClients`.
        guests: Participants besides the specialists; these are the same in every round.
        model_context: What a specialist keeps of a turn; see :class:`recipelab.agents.Specialist`.
        model_client_stream: Whether the answers of specialists are streamed as they come.

    Raises:
        RecipelabError: A charter or a model cannot be had.
    """

    def __init__(
        self,
        session: CampaignSession,
        clients: Mapping[str, ChatCompletionClient],
        guests: Sequence[ChatAgent | Team],
        *,
        model_context: ChatCompletionContext | None = None,
        model_client_stream: bool = False,
    ) -> None:
        self.guests = tuple(guests)
        self.model_context = model_context
        self.model_client_stream = model_client_stream
        self.charters = charters_for(session.pack, session.plan.arm, session.plan.specialists)
        self.models = ModelClients(session, self.charters, clients)
        # What the lineage records, and what may run where, goes by the models that really answer.
        session.plan = self.models.recorded_plan()
        session.has_real_model = self.models.has_real_model
        self._session = session
        self._plays = load_playbook(session.pack)
        self._literature = {
            charter.name: LiteratureWorkbench(open_literature(Path(charter.workbench)), TOOLS)
            for charter in self.charters
            if charter.workbench is not None and not session.plan.blind
        }

    @property
    def selector(self) -> ChatCompletionClient:
        """The model that picks speakers, if a model does."""
        return self.models.client(SELECTOR)

    async def close(self) -> None:
        """Close the models and the workbenches that were opened here."""
        await self.models.close()
        for workbench in self._literature.values():
            await workbench.stop()

    def scheduler(
        self, queue: TrialQueue, turn_pace: TurnPace, silence: Silence | None = None
    ) -> TurnScheduler:
        """Return the scheduler of the next round.

        Args:
            queue: The campaign's trial queue.
            turn_pace: How turns went in earlier rounds; those of this round are added.
            silence: Who had nothing to say in earlier rounds.
        """
        plan, few = self._session.plan, TURNS_EACH * max(len(self.charters), queue.slots)
        many = max(few, TURNS_A_SLOT * queue.slots) if queue.slots > 1 else few
        return TurnScheduler(
            queue,
            [charter.name for charter in self.charters],
            guests=[guest.name for guest in self.guests],
            turns=plan.turns or many,
            most_barren=few,
            ahead=plan.ahead,
            turn_pace=turn_pace,
            silence=silence,
        )

    def for_round(
        self,
        queue: TrialQueue | None = None,
        number: int | None = None,
        scheduler: TurnScheduler | None = None,
        before_report: Callable[[Sequence[TrialRecord]], None] | None = None,
    ) -> list[ChatAgent | Team]:
        """Return the participants of a round; without a queue they can be listed, and cannot act.

        Args:
            queue: The campaign's trial queue.
            number: Number of the round.
            scheduler: The scheduler of the round.
            before_report: Called with the trials of each report of the evaluator, before it.
        """
        plan = self._session.plan
        closing = scheduler.closing if scheduler else None
        specialists = [
            Specialist(
                charter,
                self.models.client(charter.name),
                self._session.pack,
                queue,
                plays=self._plays,
                round_number=number,
                blind=plan.blind,
                characters=plan.characters or CHARACTERS,
                model_context=self.model_context,
                model_client_stream=self.model_client_stream,
                closing=closing,
                literature=self._literature.get(charter.name),
            )
            for charter in self.charters
        ]
        evaluator = EvaluatorAgent(queue, closing, blind=plan.blind, before_report=before_report)
        return [*specialists, evaluator, *self.guests]
