"""Who takes part in a campaign: specialists, seat and guests, with their models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autogen_agentchat.base import ChatAgent, Team
from autogen_core.models import ChatCompletionClient

from recipelab.agents import EvaluatorSeat, Specialist
from recipelab.agents.context import CHARACTERS
from recipelab.arms import Speakers
from recipelab.evaluation.desk import TrialDesk
from recipelab.lab import Lab
from recipelab.plan import Plan
from recipelab.playbook import load_playbook
from recipelab.team.cast import SELECTOR, Cast
from recipelab.team.floor import Floor
from recipelab.team.roster import roster

ROUNDS_OF_TURNS = 2
"""Turns that each specialist has in a round, on average."""


class Crew:
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
        lab: Lab,
        clients: Mapping[str, ChatCompletionClient],
        guests: Sequence[ChatAgent | Team],
    ) -> None:
        self.guests = tuple(guests)
        self.charters = roster(lab.pack, lab.plan.arm, lab.plan.specialists)
        self._lab = lab
        self._plays = load_playbook(lab.pack)
        self._cast = Cast(lab, self.charters, clients)
        self._turn_seconds: float | None = None

    @property
    def selector(self) -> ChatCompletionClient:
        """The model that picks speakers, if one does."""
        return self._cast.client(SELECTOR)

    @property
    def asks_model(self) -> bool:
        """Whether a model picks speakers."""
        return self._lab.plan.speakers is Speakers.MODEL

    def floor(self, desk: TrialDesk) -> Floor:
        """The floor of the next round."""
        plan = self._lab.plan
        many = max(ROUNDS_OF_TURNS * len(self.charters), ROUNDS_OF_TURNS * desk.slots)
        return Floor(
            desk,
            [charter.name for charter in self.charters],
            guests=[guest.name for guest in self.guests],
            turns=plan.turns or many,
            ahead=plan.ahead,
            turn_seconds=self._turn_seconds,
        )

    def learn(self, floor: Floor | None) -> None:
        """Keeps what a round has shown: how long a turn takes."""
        if floor is not None:
            self._turn_seconds = floor.turn_seconds

    def participants(
        self, desk: TrialDesk | None, number: int | None, floor: Floor | None
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
        seat = EvaluatorSeat(desk, floor.closing if floor else None, blind=plan.blind)
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
