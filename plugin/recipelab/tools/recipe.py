"""The tools that act on recipes: read one, check an edit, submit a trial, turn a knob."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from autogen_core.tools import ParametersSchema, ToolSchema
from pydantic import Field, field_validator

from recipelab.core.errors import RecipelabError, unknown_name
from recipelab.core.knobs import Knob, KnobValue, find_knobs
from recipelab.core.trial import Edit, Proposal
from recipelab.evaluation.proposals import Rejected
from recipelab.evaluation.queue import TrialQueue
from recipelab.packs.load import Play
from recipelab.tools.base import TextTool, ToolArguments, to_json
from recipelab.tools.rows import knob_rows

MAX_EDITS = 24
MAX_TEXT = 400_000
"""Characters of an edit, or of a text to compare, at most."""


class ReadRecipeArguments(ToolArguments):
    """Which recipe to read."""

    trial: int | None = Field(
        default=None, description="Number of the trial; leave out for the best so far."
    )
    path: str | None = Field(
        default=None,
        max_length=300,
        description="One file to read alone, as recipe/train.py; leave out for all that fit.",
    )
    from_line: int = Field(
        default=1, ge=1, description="Line to begin at, for a file that does not fit whole."
    )


class EditArguments(ToolArguments):
    """One change of one file."""

    path: str = Field(max_length=300, description="File, as recipe/train.py.")
    search: str | None = Field(
        default=None,
        max_length=MAX_TEXT,
        description="Text that occurs exactly once in the file; leave out to write a whole file.",
    )
    replace: str = Field(max_length=MAX_TEXT, description="What takes its place.")

    @classmethod
    def of(cls, edit: Edit) -> EditArguments:
        """Return an edit as arguments."""
        return cls(path=edit.path, search=edit.search, replace=edit.replace)

    def to_edit(self) -> Edit:
        """Return the edit as the core knows it."""
        return Edit(self.path, self.search, self.replace)


class CheckEditArguments(ToolArguments):
    """Edits to check without submitting them."""

    parent: int = Field(ge=0, description="Number of the trial whose recipe is edited.")
    edits: list[EditArguments] = Field(min_length=1, max_length=MAX_EDITS)

    def to_edits(self) -> tuple[Edit, ...]:
        """Return the edits as the core knows them."""
        return tuple(edit.to_edit() for edit in self.edits)


class SubmitTrialArguments(CheckEditArguments):
    """A proposal."""

    surface: str | None = Field(
        default=None, description="Surface the edit is about; leave out if you own only one."
    )
    hypothesis: str = Field(
        min_length=10, max_length=4_000, description="Why the edit should help, in a few sentences."
    )
    expected_delta: float = Field(
        description="Expected change of the metric, signed, in the metric's unit."
    )

    @field_validator("expected_delta")
    @classmethod
    def _finite(cls, value: float) -> float:
        if not math.isfinite(value):
            raise ValueError("must be a finite number")
        return value


READ_CHARACTERS = 100_000
"""Characters of files in one answer of ``read_recipe``; some 25,000 tokens."""


class ReadRecipeTool(TextTool[ReadRecipeArguments]):
    """Shows the files of a trial's recipe, its knobs, and the pack's plays.

    Args:
        queue: The campaign's queue of trials.
        plays: Plays on the surfaces of the specialist that reads.
        blind: Whether only the recipe that is to be edited may be read, without its number.
    """

    def __init__(self, queue: TrialQueue, plays: tuple[Play, ...], *, blind: bool = False) -> None:
        which = (
            "the recipe that is to be edited"
            if blind
            else "a trial's recipe (the best so far if you name none)"
        )
        super().__init__(
            ReadRecipeArguments,
            "read_recipe",
            f"Read the files of {which}, with its knobs (values that are meant to be changed) and "
            "the playbook's ideas for your surface.",
        )
        self._queue = queue
        self._plays = plays
        self._blind = blind

    async def answer(self, args: ReadRecipeArguments) -> str:
        """Return the recipe.

        Raises:
            LineageError: No trial has that number.
            RecipelabError: The recipe has no such file, or not so many lines.
        """
        wanted = None if self._blind else args.trial
        number = self._queue.best().number if wanted is None else wanted
        files = self._queue.recipe_of(number)
        shown = 0 if self._blind else number
        if args.path is not None:
            return to_json({"trial": shown, **_part_of_file(files, args.path, args.from_line)})
        knobs = knob_rows(files)
        fitting, longer = _fitting(files, {str(knob["path"]) for knob in knobs})
        return to_json(
            {
                "trial": shown,
                "files": fitting,
                "editable": list(self._queue.pack.recipe.editable),
                "knobs": knobs,
                "playbook": [play.model_dump() for play in self._plays],
            }
            | ({"to_be_read_alone": longer} if longer else {})
        )


def _fitting(
    files: Mapping[str, str], first: Collection[str]
) -> tuple[dict[str, str], dict[str, int]]:
    """Return the files that fit into an answer, and the sizes of the others in characters.

    Args:
        files: All files.
        first: Paths of those that matter most; of the others, short ones come first.
    """
    left, fitting = READ_CHARACTERS, set[str]()
    for path in sorted(files, key=lambda path: (path not in first, len(files[path]), path)):
        if len(files[path]) <= left:
            left -= len(files[path])
            fitting.add(path)
    shown = {path: text for path, text in files.items() if path in fitting}
    return shown, {path: len(text) for path, text in files.items() if path not in fitting}


def _part_of_file(files: Mapping[str, str], path: str, from_line: int) -> dict[str, object]:
    """Return a file from a line on, and the line to go on with if it does not fit whole."""
    if path not in files:
        raise RecipelabError(unknown_name("file", path, files))
    lines = files[path].splitlines(keepends=True)
    if from_line > max(1, len(lines)):
        raise RecipelabError(f"{path} has {len(lines)} lines; from_line is {from_line}")
    text, end = "", from_line - 1
    while end < len(lines) and (not text or len(text) + len(lines[end]) <= READ_CHARACTERS):
        text += lines[end][:READ_CHARACTERS]
        end += 1
    more = {"next_line": end + 1, "lines": len(lines)} if end < len(lines) else {}
    return {"path": path, "from_line": from_line, "text": text, **more}


DIFF_CHARACTERS = 8_000
"""Characters of the diff in the answer of ``check_edit``."""

CHECK = (
    "Check edits without submitting them: do they apply to the parent's recipe, does the result "
    "parse, and is it new? Answers with the diff, and with trials whose edit was alike: look at "
    "how they ended before you submit."
)
CHECK_BLIND = (
    "Check edits without submitting them: do they apply to the parent's recipe, and does the "
    "result parse? Answers with the diff."
)


class CheckEditTool(TextTool[CheckEditArguments]):
    """Says whether edits apply, parse and are new, without using the sandbox.

    Args:
        queue: The campaign's queue of trials.
        blind: Whether edits are always of the best recipe, whatever parent is named.
    """

    def __init__(self, queue: TrialQueue, *, blind: bool = False) -> None:
        super().__init__(CheckEditArguments, "check_edit", CHECK_BLIND if blind else CHECK)
        self._queue = queue
        self._blind = blind

    async def answer(self, args: CheckEditArguments) -> str:
        """Return the diff, or the reason for which the edits would be rejected.

        Raises:
            LineageError: No trial has the parent's number.
        """
        parent = self._queue.best().number if self._blind else args.parent
        checked = self._queue.check(parent, args.to_edits())
        if isinstance(checked, Rejected):
            return to_json({"ok": False, "kind": checked.kind, "reason": checked.reason})
        alike = {"alike": checked.alike} if checked.alike else {}
        return to_json({"ok": True, **alike, "diff": checked.diff[:DIFF_CHARACTERS]})


class Refused(RecipelabError):
    """A submission that does not become a trial; the message says what to do instead."""


@dataclass
class TurnState:
    """The record of a specialist's turn, which its tools share.

    Attributes:
        round_number: The round of the chat; ``None`` outside of rounds.
        blind: Whether there is no lineage to ask.
        has_asked: Whether the specialist has asked the lineage in this turn.
        submitted: Number of the trial that it has submitted in this turn.
        scratch_seconds: What it has spent on the scratch bench in this turn.
    """

    round_number: int | None
    blind: bool = False
    has_asked: bool = False
    submitted: int | None = None
    scratch_seconds: float = 0.0

    def begin(self) -> None:
        """Begin a new turn."""
        self.has_asked = False
        self.submitted = None
        self.scratch_seconds = 0.0


class SubmitTrialTool(TextTool[SubmitTrialArguments]):
    """Submits a proposal to the campaign's queue.

    Args:
        queue: The campaign's queue of trials.
        specialist: Name of the specialist that proposes.
        surfaces: The surfaces that it owns.
        turn: The record of its turn.
    """

    def __init__(
        self, queue: TrialQueue, specialist: str, surfaces: tuple[str, ...], turn: TurnState
    ) -> None:
        super().__init__(
            SubmitTrialArguments,
            "submit_trial",
            "Submit a proposal: edits of a parent trial's recipe with a hypothesis and an expected "
            "change of the metric. It is checked, then trained and measured in a sandbox while you "
            "go on; the evaluator reports the outcome in the chat. One trial a turn.",
        )
        self._queue = queue
        self._specialist = specialist
        self._surfaces = surfaces
        self._turn = turn

    async def answer(self, args: SubmitTrialArguments) -> str:
        """Return the trial's number, and the reason if it was rejected at once.

        Raises:
            Refused: The specialist has not asked the lineage, has submitted already, the queue is
                full or the budget spent; nothing is recorded.
            LineageError: No trial has the parent's number.
        """
        self._check_turn()
        proposal = self._proposal(args)
        submitted = self._queue.submit(proposal, round_number=self._turn.round_number)
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
        self._turn.submitted = submitted.number
        note = "it is queued and runs while you go on; end your turn with one short sentence"
        alike = {"alike": submitted.alike} if submitted.alike else {}
        return to_json({"trial": submitted.number, "status": "in_flight", **alike, "next": note})

    def _check_turn(self) -> None:
        if not self._turn.has_asked and not self._turn.blind:
            raise Refused(
                "ask lineage_query or another lineage tool first: look up past crashes, overruns "
                "and gate misses on your surface in this turn, then submit"
            )
        if self._turn.submitted is not None:
            raise Refused(
                f"you have submitted trial {self._turn.submitted} in this turn; end your turn"
            )
        if self._queue.remaining == 0:
            raise Refused("the campaign's budget of trials is spent; end your turn")
        if self._queue.is_full:
            raise Refused("the queue is full now; end your turn and wait for an outcome")

    def _proposal(self, args: SubmitTrialArguments) -> Proposal:
        surface = args.surface or self._surfaces[0]
        if surface not in self._surfaces:
            raise Refused(unknown_name("surface of yours", surface, self._surfaces))
        return Proposal(
            specialist=self._specialist,
            surface=surface,
            parent=self._queue.best().number if self._turn.blind else args.parent,
            hypothesis=args.hypothesis,
            expected_delta=args.expected_delta,
            edits=args.to_edits(),
        )


MENU = 24
"""Changes on the menu of ``turn_knob`` at most."""

FACTORS = (1.5, 1 / 1.5, 1.2, 1 / 1.2)
"""Factors by which the menu changes a number."""


class TurnKnobArguments(ToolArguments):
    """A change from the menu."""

    change: str = Field(max_length=200, description="The change to try, from the menu.")
    hypothesis: str = Field(
        min_length=10, max_length=1_000, description="Why it should help, in a sentence."
    )


class TurnKnobTool(TextTool[TurnKnobArguments]):
    """Submits a trial that gives one knob of the best recipe another value.

    The menu is a part of its schema: legal changes that have not been tried. So a server that holds
    a model to the schema holds it to legal edits.

    Args:
        queue: The campaign's queue of trials.
        surfaces: The surfaces whose knobs may be turned.
        submit: The tool that submits the chosen change.
    """

    def __init__(
        self, queue: TrialQueue, surfaces: tuple[str, ...], submit: SubmitTrialTool
    ) -> None:
        super().__init__(
            TurnKnobArguments,
            "turn_knob",
            "Submit a trial that changes one value of the best recipe. Choose from the menu.",
        )
        self._queue = queue
        self._surfaces = surfaces
        self._submit = submit

    @property
    def schema(self) -> ToolSchema:
        """The schema with the menu of this moment."""
        menu = list(self._menu()[1])
        parameters: ParametersSchema = {
            "type": "object",
            "properties": {
                "change": {"type": "string", **({"enum": menu} if menu else {})},
                "hypothesis": {"type": "string"},
            },
            "required": ["change", "hypothesis"],
            "additionalProperties": False,
        }
        return ToolSchema(name=self.name, description=self.description, parameters=parameters)

    async def answer(self, args: TurnKnobArguments) -> str:
        """Submit the change; return what ``submit_trial`` does.

        Raises:
            Refused: The change is not on the menu, or ``submit_trial`` refuses it.
        """
        parent, menu = self._menu()
        chosen = menu.get(args.change.strip())
        if chosen is None:
            raise Refused(unknown_name("change", args.change, menu))
        knob, value = chosen
        return await self._submit.answer(
            SubmitTrialArguments(
                parent=parent,
                surface=knob.surface,
                hypothesis=args.hypothesis,
                expected_delta=0.0,
                edits=[EditArguments.of(knob.edit(value))],
            )
        )

    def _menu(self) -> tuple[int, dict[str, tuple[Knob, KnobValue]]]:
        """Return the best trial, and the changes of its recipe that have not been tried."""
        parent = self._queue.best().number
        menu: dict[str, tuple[Knob, KnobValue]] = {}
        for knob in find_knobs(self._queue.recipe_of(parent)):
            if knob.surface not in self._surfaces:
                continue
            for value in other_values(knob):
                if len(menu) == MENU:
                    return parent, menu
                if not isinstance(self._queue.check(parent, (knob.edit(value),)), Rejected):
                    menu[f"{knob.name} = {value!r}"] = (knob, value)
        return parent, menu


def other_values(knob: Knob) -> list[KnobValue]:
    """Return a few other values of a knob: its choices, or steps up and down within its range."""
    if knob.choices:
        return [choice for choice in knob.choices if choice != knob.value]
    is_whole = isinstance(knob.value, int)
    now = float(knob.value) or knob.high / 3
    steps = [*(now * factor for factor in FACTORS), knob.low]
    values = [min(max(step, knob.low), knob.high) for step in steps]
    exact = [round(value) if is_whole else float(f"{value:.3g}") for value in values]
    return [value for value in dict.fromkeys(exact) if value != knob.value]
