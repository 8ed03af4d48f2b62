"""The group chat of one round: specialists and the evaluator's seat under a selector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autogen_agentchat.base import TerminatedException, TerminationCondition
from autogen_agentchat.messages import BaseAgentEvent, BaseChatMessage, StopMessage
from autogen_agentchat.teams import SelectorGroupChat
from autogen_core.models import ChatCompletionClient

from recipelab.agents import SEAT, Charter, EvaluatorSeat, Specialist
from recipelab.evaluation.desk import TrialDesk
from recipelab.playbook import Play
from recipelab.team.speakers import SpeakerPolicy


class RoundOver(TerminationCondition):
    """Ends a round when its turns are taken, or the budget is spent, and no trial is running.

    Args:
        desk: The campaign's desk.
        turns: How many turns of specialists a round has.
    """

    component_provider_override = "recipelab.team.RoundOver"

    def __init__(self, desk: TrialDesk, *, turns: int) -> None:
        self._desk = desk
        self._turns = turns
        self._taken = 0
        self._over = False

    @property
    def terminated(self) -> bool:
        """Whether the round is over."""
        return self._over

    async def __call__(
        self, messages: Sequence[BaseAgentEvent | BaseChatMessage]
    ) -> StopMessage | None:
        """Counts turns and says when the round is over.

        Raises:
            TerminatedException: The round is over already.
        """
        if self._over:
            raise TerminatedException("the round is over already")
        self._taken += sum(_is_turn(message) for message in messages)
        spent = self._desk.remaining == 0
        if self._desk.running or not (spent or self._taken >= self._turns):
            return None
        self._over = True
        why = "the budget of trials is spent" if spent else "every turn of the round is taken"
        return StopMessage(content=f"Round over: {why}.", source="recipelab")

    async def reset(self) -> None:
        """Begins to count anew."""
        self._taken, self._over = 0, False


def build_team(
    desk: TrialDesk,
    charters: Sequence[Charter],
    clients: Mapping[str, ChatCompletionClient],
    speakers: SpeakerPolicy,
    *,
    plays: tuple[Play, ...],
    round_number: int,
    turns: int,
) -> SelectorGroupChat:
    """Builds the group chat of one round.

    Args:
        desk: The campaign's desk.
        charters: The charters of the specialists.
        clients: The model client of each specialist.
        speakers: Who speaks next.
        plays: The pack's plays.
        round_number: Number of the round.
        turns: How many turns of specialists the round has.

    Returns:
        A fresh team. AutoGen's teams do not survive an error, so each round has its own.
    """
    specialists = [
        Specialist(charter, clients[charter.name], desk, plays=plays, round_number=round_number)
        for charter in charters
    ]

    def select(thread: Sequence[BaseAgentEvent | BaseChatMessage]) -> str:
        spoken = [message.source for message in thread if _is_turn(message)]
        # The seat has the floor while no slot is free, and at the end until nothing runs any more.
        idle = desk.has_free_slot and desk.remaining != 0 and len(spoken) < turns
        return SEAT if desk.running and not idle else speakers.next_specialist(spoken)

    return SelectorGroupChat(
        [*specialists, EvaluatorSeat(desk)],
        model_client=clients[charters[0].name],
        termination_condition=RoundOver(desk, turns=turns),
        selector_func=select,
        allow_repeated_speaker=True,
        name="recipelab",
        description="Specialists that improve a training recipe, and the evaluator's seat.",
    )


def _is_turn(message: BaseAgentEvent | BaseChatMessage) -> bool:
    """Whether a message is the one that ends a specialist's turn."""
    return isinstance(message, BaseChatMessage) and message.source not in (SEAT, "user")
