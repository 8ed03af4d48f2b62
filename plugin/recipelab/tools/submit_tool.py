"""``submit_trial``: the only way in which an agent can have something trained."""

from __future__ import annotations

from dataclasses import dataclass

from recipelab.errors import RecipelabError, unknown_name
from recipelab.evaluation.desk import TrialDesk
from recipelab.tools.answers import to_json
from recipelab.tools.arguments import SubmitTrialArguments
from recipelab.tools.base import TextTool
from recipelab.trial import Proposal

DESCRIPTION = (
    "Submit a proposal: edits of a parent trial's recipe with a hypothesis and an expected change "
    "of the metric. It is checked, then trained and measured in a sandbox while you go on; the "
    "evaluator reports the outcome in the chat. One trial a turn."
)


class Refused(RecipelabError):
    """A submission that is not even a trial; the message says what to do instead."""


@dataclass
class Turn:
    """What a specialist has done since it was given the floor.

    Attributes:
        round_number: The round of the chat; ``None`` outside of rounds.
        blind: Whether there is no lineage to ask.
        asked: Whether it has asked the lineage.
        submitted: Number of the trial it has running, if it has submitted one.
    """

    round_number: int | None
    blind: bool = False
    asked: bool = False
    submitted: int | None = None

    def begin(self) -> None:
        """A new turn begins."""
        self.asked = False
        self.submitted = None


class SubmitTrialTool(TextTool[SubmitTrialArguments]):
    """Hands a proposal in at the desk.

    Args:
        desk: The campaign's desk.
        specialist: Name of the specialist that proposes.
        surfaces: The surfaces that it owns.
        turn: What it has done in this turn.
    """

    def __init__(
        self, desk: TrialDesk, specialist: str, surfaces: tuple[str, ...], turn: Turn
    ) -> None:
        super().__init__(SubmitTrialArguments, "submit_trial", DESCRIPTION)
        self._desk = desk
        self._specialist = specialist
        self._surfaces = surfaces
        self._turn = turn

    async def answer(self, args: SubmitTrialArguments) -> str:
        """Answers with the trial's number, and why it was rejected if it was.

        Raises:
            Refused: The specialist has not asked the lineage, has submitted already, the queue is
                full or the budget spent; nothing is recorded.
            LineageError: There is no such parent.
        """
        self._check_turn()
        proposal = self._proposal(args)
        submitted = self._desk.submit(proposal, round_number=self._turn.round_number)
        if submitted.rejection is not None:
            answer = {
                "trial": submitted.number,
                "status": "rejected",
                "kind": submitted.rejection.kind,
                "reason": submitted.rejection.reason,
                "next": "no sandbox time was spent; mend the edit and submit again",
            }
            return to_json(answer)
        self._turn.submitted = submitted.number
        note = "it is queued and runs while you go on; end your turn with one short sentence"
        alike = {"alike": submitted.alike} if submitted.alike else {}
        return to_json({"trial": submitted.number, "status": "in_flight", **alike, "next": note})

    def _check_turn(self) -> None:
        if not self._turn.asked and not self._turn.blind:
            raise Refused(
                "ask lineage_query or another lineage tool first: look up past crashes, overruns "
                "and gate misses on your surface in this turn, then submit"
            )
        if self._turn.submitted is not None:
            raise Refused(
                f"you have submitted trial {self._turn.submitted} in this turn; end your turn"
            )
        if self._desk.remaining == 0:
            raise Refused("the campaign's budget of trials is spent; end your turn")
        if self._desk.is_full:
            raise Refused("the queue is full now; end your turn and wait for an outcome")

    def _proposal(self, args: SubmitTrialArguments) -> Proposal:
        surface = args.surface or self._surfaces[0]
        if surface not in self._surfaces:
            raise Refused(unknown_name("surface of yours", surface, self._surfaces))
        return Proposal(
            specialist=self._specialist,
            surface=surface,
            parent=self._desk.best().number if self._turn.blind else args.parent,
            hypothesis=args.hypothesis,
            expected_delta=args.expected_delta,
            edits=tuple(edit.to_edit() for edit in args.edits),
        )
