"""The tools that bring a trial about: check edits, submit them, wait for the outcome."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import Field, field_validator, model_validator

from recipelab.core.errors import RecipelabError, unknown_name
from recipelab.core.knobs import Knob, find_knobs
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Edit, Proposal
from recipelab.evaluation.proposals import Candidate, Rejected
from recipelab.evaluation.queue import TrialQueue
from recipelab.evaluation.seeds import AGAIN
from recipelab.tools.base import Row, TextTool, ToolArguments, to_json
from recipelab.tools.names import WAITING
from recipelab.tools.recipe import MAX_EDITS, EditArguments, FilesShown
from recipelab.tools.rows import outcome_row

LONGEST_WAIT = 600
"""Seconds that ``wait_for`` waits at most."""


class Refused(RecipelabError):
    """A submission that does not become a trial; the message says what to do instead."""


@dataclass(frozen=True)
class CheckedEdits:
    """Edits that were checked in a turn, so that they need not be sent again.

    Attributes:
        parent: Number of the trial that they are of.
        edits: The changes, in order.
    """

    parent: int
    edits: tuple[Edit, ...]


@dataclass
class TurnState:
    """The record of a specialist's turn, which its tools share.

    Attributes:
        round_number: The round of the chat; ``None`` outside of rounds.
        blind: Whether there is no lineage to ask.
        has_asked: Whether the specialist knows the past: the opening of the turn showed every
            trial, or it has called a tool.
        best: Number of the best trial when the opening was made; ``None`` if it was not told.
        submitted: Numbers of the trials that it has submitted in this turn.
        checked: The edits that it has checked in this turn, by the id of the check.
        scratch_seconds: What it has spent on the scratch bench in this turn.
        files: The files of recipes that it has read in this turn.
        number: The turn's number in the lineage; ``None`` before its first call of the model.
    """

    round_number: int | None
    blind: bool = False
    has_asked: bool = False
    best: int | None = None
    submitted: list[int] = field(default_factory=list)
    checked: dict[str, CheckedEdits] = field(default_factory=dict)
    scratch_seconds: float = 0.0
    files: FilesShown = field(default_factory=FilesShown)
    number: int | None = None

    def begin(self) -> None:
        """Begin a new turn."""
        self.has_asked = False
        self.best = self.number = None
        self.submitted.clear()
        self.checked.clear()
        self.scratch_seconds = 0.0
        self.files.clear()

    def opened(self, best: int, *, is_whole: bool) -> None:
        """Note what the opening of the turn showed.

        Args:
            best: Number of the best trial.
            is_whole: Whether it named every trial.
        """
        self.best = best
        self.has_asked |= is_whole

    def keep(self, edits: CheckedEdits) -> str:
        """Keep checked edits, and return the id under which they can be submitted."""
        name = f"c{len(self.checked) + 1}"
        self.checked[name] = edits
        return name

    def named(self, name: str) -> CheckedEdits:
        """Return the edits of a check.

        Raises:
            Refused: There was no such check in this turn; the message lists them.
        """
        if name not in self.checked:
            raise Refused(unknown_name("check of this turn", name, self.checked))
        return self.checked[name]


def news(queue: TrialQueue, turn: TurnState) -> Row:
    """Return what has changed since the opening of a turn: whether there is a new best."""
    if turn.blind or turn.best is None:
        return {}
    best = queue.store.best_brief(queue.campaign)
    if best.number == turn.best:
        return {}
    turn.best = best.number
    score = "" if best.score is None else f" ({best.score:.4g} {queue.pack.metric.unit})"
    return {"news": f"the best is trial {best.number} by now{score}: {best.hypothesis[:140]}"}


class CheckEditArguments(ToolArguments):
    """Edits to check without submitting them."""

    parent: int = Field(ge=0, description="Trial whose recipe is edited: any, failed ones too.")
    edits: list[EditArguments] = Field(
        min_length=1, max_length=MAX_EDITS, description=f"1 to {MAX_EDITS}."
    )

    def to_edits(self) -> tuple[Edit, ...]:
        """Return the edits as the core knows them."""
        return tuple(edit.to_edit() for edit in self.edits)


CHECK = (
    "Check edits: do they apply, does the result parse, is it new? If so the answer has an id for "
    "submit_trial, and earlier trials that were alike. Costs nothing."
)
CHECK_BLIND = (
    "Check edits: do they apply, does the result parse? If so the answer has an id for "
    "submit_trial. Costs nothing."
)


class CheckEditTool(TextTool[CheckEditArguments]):
    """Says whether edits apply, parse and are new, without using the sandbox.

    Args:
        queue: The campaign's queue of trials.
        surfaces: The surfaces of the specialist that checks.
        turn: The record of its turn; a blind one edits the best recipe, whatever it names.
    """

    def __init__(self, queue: TrialQueue, surfaces: tuple[str, ...], turn: TurnState) -> None:
        super().__init__(CheckEditArguments, "check_edit", CHECK_BLIND if turn.blind else CHECK)
        self._queue = queue
        self._surfaces = surfaces
        self._turn = turn

    async def answer(self, args: CheckEditArguments) -> str:
        """Return the id of the check, or the reason for which the edits would be rejected.

        Raises:
            LineageError: No trial has the parent's number.
        """
        parent = self._queue.best().number if self._turn.blind else args.parent
        edits = args.to_edits()
        checked = self._queue.check(parent, edits)
        if isinstance(checked, Rejected):
            return to_json({"ok": False, "kind": checked.kind, "reason": checked.reason})
        before = self._queue.recipe_of(parent)
        answer: Row = {"ok": True, "check": self._turn.keep(CheckedEdits(parent, edits))}
        if checked.alike:
            answer["alike"] = checked.alike
        if notes := knob_notes(
            find_knobs(before), find_knobs(checked.recipe.files), self._surfaces
        ):
            answer["notes"] = notes
        return to_json(answer | _changed(Recipe(before), checked, edits) | self._news())

    def _news(self) -> Row:
        return news(self._queue, self._turn)


def _changed(before: Recipe, checked: Candidate, edits: Sequence[Edit]) -> Row:
    """Return how many lines changed in each file; who sent the edits knows them."""
    changed = {}
    for path in sorted({edit.path for edit in edits}):
        old = before.files.get(path, "")
        diff = Recipe({path: old}).diff(Recipe({path: checked.recipe.files[path]})).splitlines()
        lines = [line[:1] for line in diff if not line.startswith(("+++", "---"))]
        changed[path] = f"+{lines.count('+')} -{lines.count('-')}"
    return {"changed": changed}


def turned_knobs(before: Sequence[Knob], after: Sequence[Knob]) -> list[Knob]:
    """Return the knobs that have another value after an edit, as they are then."""
    values = {(knob.path, knob.name): knob.value for knob in before}
    return [knob for knob in after if values.get((knob.path, knob.name), knob.value) != knob.value]


def knob_notes(before: Sequence[Knob], after: Sequence[Knob], surfaces: Sequence[str]) -> list[str]:
    """Return what a specialist should know of an edit: whose knobs it turns, and whether any stay.

    Args:
        before: The knobs of the parent's recipe.
        after: The knobs of the edited recipe.
        surfaces: The surfaces that the specialist owns.
    """
    others: dict[str, list[str]] = {}
    for knob in turned_knobs(before, after):
        if knob.surface not in surfaces:
            others.setdefault(knob.surface, []).append(knob.name)
    notes = [
        f"it turns {', '.join(names)} of the surface {surface}, which is not yours: "
        "the trial is booked on your surface all the same"
        for surface, names in sorted(others.items())
    ]
    if before and not after:
        notes.append(
            "no knob is left: keep the comments `# knob SURFACE: LOW .. HIGH` behind constants, so "
            "that others can go on from there"
        )
    return notes


class SubmitTrialArguments(ToolArguments):
    """A proposal."""

    check: str | None = Field(
        default=None,
        max_length=20,
        description="Id from check_edit; else give parent and edits, as there.",
    )
    parent: int | None = Field(default=None, ge=0)
    edits: list[EditArguments] = Field(
        default=[], max_length=MAX_EDITS, description=f"Up to {MAX_EDITS}."
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
            raise ValueError("edits: give check, the id that check_edit answered, or edits")
        if self.check is None and self.parent is None:
            raise ValueError("parent: name the trial that the edits are of")
        if self.check is not None and self.edits:
            raise ValueError("check: it stands for edits that were checked; leave out edits")
        return self


def check_turn(queue: TrialQueue, turn: TurnState) -> None:
    """Check that a trial may be submitted now.

    Raises:
        Refused: It may not; the message says what to do instead.
    """
    if not turn.has_asked and not turn.blind:
        raise Refused(
            "your opening does not show every trial: ask lineage_query or similar_trials first"
        )
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

    @property
    def hidden(self) -> frozenset[str]:
        """A blind specialist cannot wait for a trial, and has one a turn."""
        return frozenset({"go_on"} if self._turn.blind else ())

    def __init__(
        self, queue: TrialQueue, specialist: str, surfaces: tuple[str, ...], turn: TurnState
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
        if args.check is not None:
            return self._turn.named(args.check)
        parent = self._queue.best().number if self._turn.blind else args.parent
        edits = tuple(edit.to_edit() for edit in args.edits)
        return CheckedEdits(parent if parent is not None else 0, edits)

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

    def __init__(self, queue: TrialQueue, specialist: str, turn: TurnState) -> None:
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
    """

    call_seconds = LONGEST_WAIT + 30.0

    def __init__(
        self, queue: TrialQueue, turn: TurnState, closing: asyncio.Event | None = None
    ) -> None:
        super().__init__(
            WaitArguments,
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
