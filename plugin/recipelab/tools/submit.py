"""The tools that bring a trial about: submit edits, measure again, wait for the outcome."""

from __future__ import annotations

import asyncio
import math

from pydantic import Field, field_validator, model_validator

from recipelab.core.errors import unknown_name
from recipelab.core.knobs import find_knobs
from recipelab.core.trial import Proposal
from recipelab.evaluation.proposals import Candidate
from recipelab.evaluation.seeds import AGAIN
from recipelab.tools.base import Row, TextTool, ToolArguments, to_json
from recipelab.tools.checks import (
    BASE,
    CHECKED,
    CheckedEdits,
    Refused,
    TurnState,
    news,
    turned_knobs,
)
from recipelab.tools.desk import Desk
from recipelab.tools.names import WAITING
from recipelab.tools.recipe import MAX_EDITS, EditArguments
from recipelab.tools.rows import outcome_row

LONGEST_WAIT = 600
"""Seconds that ``wait_for`` waits at most."""


class SubmitTrialArguments(ToolArguments):
    """A proposal."""

    check: str | None = CHECKED
    parent: int | None = Field(default=None, ge=0)
    edits: list[EditArguments] = Field(
        default=[], max_length=MAX_EDITS, description="As for check_edit; on top of check, if any."
    )
    surface: str | None = Field(default=None, description="The surface of yours that it is about.")
    hypothesis: str = Field(
        min_length=10, max_length=4_000, description="Why it should help, in a few sentences."
    )
    expected_delta: float = Field(description="Expected change of the metric, signed, in its unit.")
    go_on: bool = Field(
        default=False, description="Keep your turn, to wait_for it or to submit another."
    )

    @field_validator("expected_delta")
    @classmethod
    def _finite(cls, value: float) -> float:
        if not math.isfinite(value):
            raise ValueError("must be a finite number")
        return value

    @model_validator(mode="after")
    def _check_source(self) -> SubmitTrialArguments:
        if self.check is None and not self.edits:
            raise ValueError("edits: give check, the id of edits that were checked, or edits")
        if self.check is None and self.parent is None:
            raise ValueError(BASE)
        return self


def check_turn(queue: Desk, turn: TurnState) -> None:
    """Check that a trial may be submitted now.

    Raises:
        Refused: It may not; the message says what to do instead.
    """
    if not turn.has_asked and not turn.blind:
        raise Refused("your opening does not show every trial: ask lineage_query first")
    if turn.submitted and len(queue.in_flight) >= queue.slots:
        raise Refused(
            f"you have submitted trial {turn.submitted[-1]} in this turn and no slot is "
            "free: end your turn, or wait_for it"
        )
    if queue.remaining == 0:
        raise Refused("the campaign's budget of trials is spent; end your turn")
    if queue.is_full:
        raise Refused("the queue is full now; end your turn and wait for an outcome")


class SubmitTrialTool(TextTool[SubmitTrialArguments]):
    """Submits a proposal to the campaign's queue.

    Args:
        queue: The campaign's queue of trials.
        specialist: Name of the specialist that proposes.
        surfaces: The surfaces that it owns.
        turn: The record of its turn.
    """

    example_keys = ("parent", "edits")
    is_brief = True

    @property
    def hidden(self) -> frozenset[str]:
        """A blind specialist cannot wait for a trial, and has one a turn."""
        return frozenset({"go_on"} if self._turn.blind else ())

    def __init__(
        self, queue: Desk, specialist: str, surfaces: tuple[str, ...], turn: TurnState
    ) -> None:
        super().__init__(
            SubmitTrialArguments,
            "submit_trial",
            "Submit a trial, which a sandbox trains and the evaluator measures. Ends your turn, "
            "unless go_on.",
        )
        self._queue = queue
        self._specialist = specialist
        self._surfaces = surfaces
        self._turn = turn

    async def answer(self, args: SubmitTrialArguments) -> str:
        """Return the trial's number, and the reason if it was rejected at once.

        Raises:
            Refused: The specialist knows nothing of the past, has submitted already and no slot is
                free, the queue is full, the budget is spent, or there is no such check; nothing is
                recorded.
            LineageError: No trial has the parent's number.
        """
        check_turn(self._queue, self._turn)
        proposal = self._proposal(args)
        turn = self._turn
        submitted = self._queue.submit(proposal, round_number=turn.round_number, turn=turn.number)
        if submitted.rejection is not None:
            return to_json(
                {
                    "trial": submitted.number,
                    "status": "rejected",
                    "kind": submitted.rejection.kind,
                    "reason": submitted.rejection.reason,
                    "next": "no sandbox time was spent; mend the edit and submit again",
                }
            )
        self._turn.submitted.append(submitted.number)
        answer: Row = {"trial": submitted.number, "status": "in_flight"}
        if submitted.alike:
            answer["alike"] = submitted.alike
        answer[TURN] = "goes on" if args.go_on else OVER
        return to_json(answer | (news(self._queue, self._turn) if args.go_on else {}))

    def _proposal(self, args: SubmitTrialArguments) -> Proposal:
        source = self._source(args)
        return Proposal(
            specialist=self._specialist,
            surface=self._surface(args.surface, source),
            parent=source.parent,
            hypothesis=args.hypothesis,
            expected_delta=args.expected_delta,
            edits=source.edits,
        )

    def _source(self, args: SubmitTrialArguments) -> CheckedEdits:
        return self._turn.edits_on(self._queue, args.parent, args.check, args.edits)

    def _surface(self, named: str | None, source: CheckedEdits) -> str:
        """Return the surface to book a trial on: the named one, or that of the knobs it turns."""
        if named is not None:
            if named not in self._surfaces:
                raise Refused(unknown_name("surface of yours", named, self._surfaces))
            return named
        if len(self._surfaces) > 1:
            checked = self._queue.check(source.parent, source.edits)
            if isinstance(checked, Candidate):
                before = find_knobs(self._queue.recipe_of(source.parent))
                turned = turned_knobs(before, find_knobs(checked.recipe.files))
                touched = {knob.surface for knob in turned} & set(self._surfaces)
                return min(touched, key=self._surfaces.index, default=self._surfaces[0])
        return self._surfaces[0]


TURN, OVER = "turn", "over"
"""Key and value in the answer of a submitting tool that say that the turn need not go on."""


class MoreSeedsArguments(ToolArguments):
    """A trial to measure again."""

    trial: int = Field(ge=0)
    hypothesis: str = Field(
        min_length=10, max_length=1_000, description="What the answer decides, in a sentence."
    )


class MoreSeedsTool(TextTool[MoreSeedsArguments]):
    """Submits a trial that measures the recipe of an earlier one on fresh seeds.

    Args:
        queue: The campaign's queue of trials.
        specialist: Name of the specialist that asks.
        turn: The record of its turn.
    """

    def __init__(self, queue: Desk, specialist: str, turn: TurnState) -> None:
        super().__init__(
            MoreSeedsArguments,
            "more_seeds",
            f"Measure a trial again on {AGAIN} fresh seeds, beside the best: for a gain that was "
            "near, or an unclear loss. Costs a trial; kept if it holds.",
        )
        self._queue = queue
        self._specialist = specialist
        self._turn = turn

    async def answer(self, args: MoreSeedsArguments) -> str:
        """Return the number of the new trial.

        Raises:
            Refused: No trial can be submitted now.
            LineageError: There is no such trial, or nothing can be learned by measuring it again.
        """
        check_turn(self._queue, self._turn)
        number = self._queue.submit_again(
            args.trial,
            self._specialist,
            args.hypothesis,
            round_number=self._turn.round_number,
            turn=self._turn.number,
        )
        self._turn.submitted.append(number)
        return to_json({"trial": number, "status": "in_flight", "again": args.trial, TURN: OVER})


STILL_RUNS = "note"
"""Key in the answer of ``wait_for`` that is there while the trial has not ended."""


class WaitArguments(ToolArguments):
    """A trial to wait for."""

    trial: int = Field(ge=0)
    seconds: int = Field(default=300, ge=1, le=LONGEST_WAIT, description="At most, 1 to 600.")


class WaitForTool(TextTool[WaitArguments]):
    """Waits until a trial is judged.

    Args:
        queue: The campaign's queue of trials.
        turn: The record of the specialist's turn.
        closing: Ends the waiting when it is set: no further turn will be given out.
        arguments: The type of its arguments.
    """

    call_seconds = LONGEST_WAIT + 30.0

    def __init__(
        self,
        queue: Desk,
        turn: TurnState,
        closing: asyncio.Event | None = None,
        arguments: type[WaitArguments] = WaitArguments,
    ) -> None:
        super().__init__(
            arguments,
            WAITING,
            "Wait until a trial is judged, and get its outcome.",
        )
        self._queue = queue
        self._turn = turn
        self._closing = closing

    async def answer(self, args: WaitArguments) -> str:
        """Return the outcome of the trial, or that it has none yet.

        Raises:
            LineageError: No trial has that number.
        """
        self._queue.store.brief(self._queue.campaign, args.trial)
        await self._queue.wait_for(args.trial, seconds=args.seconds, until=self._closing)
        record = self._queue.store.trial(self._queue.campaign, args.trial)
        row = outcome_row(self._queue.store, self._queue.campaign, record)
        if record.outcome is None:
            closes = self._closing is not None and self._closing.is_set()
            row[STILL_RUNS] = "the round ends: end your turn" if closes else "it still runs"
        return to_json(row | news(self._queue, self._turn))
