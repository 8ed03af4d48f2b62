"""Edits that are no trial yet: the record of a turn, checks by their ids, and the tool for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from pydantic import Field, model_validator

from recipelab.core.errors import RecipelabError, unknown_name
from recipelab.core.knobs import Knob, find_knobs
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Edit
from recipelab.evaluation.proposals import Candidate, Rejected
from recipelab.evaluation.queue import TrialQueue
from recipelab.tools.base import Row, TextTool, ToolArguments, to_json
from recipelab.tools.desk import Desk
from recipelab.tools.recipe import MAX_EDITS, EditArguments, FilesShown

MOST_CHECKS = 200
"""Checks of a campaign that are kept; the oldest go first."""

MOST_LISTED = 12
"""Checks that an error lists at most."""

LAST = "last"
"""Names the newest check of a turn, in the same message too."""

BASE = "parent: name the trial that the edits are of, or a check that they go on top of"

CHECKED: Any = Field(
    default=None,
    max_length=20,
    description=f'Id of checked edits; "{LAST}": yours.',
)
"""The argument that names checked edits."""


class Refused(RecipelabError):
    """A submission that does not become a trial; the message says what to do instead."""


@dataclass(frozen=True)
class CheckedEdits:
    """Edits that were checked, so that they need not be sent again.

    Attributes:
        parent: Number of the trial that they are of.
        edits: The changes, in order.
    """

    parent: int
    edits: tuple[Edit, ...]


class CheckBook:
    """The edits that the specialists of a campaign have checked, by ids that no two share.

    It lives as long as the process: what matters of a campaign is in its lineage.
    """

    def __init__(self) -> None:
        self._checked: dict[str, CheckedEdits] = {}

    def keep(self, name: str, edits: CheckedEdits) -> None:
        """Keep edits under an id."""
        self._checked[name] = edits
        while len(self._checked) > MOST_CHECKS:
            del self._checked[next(iter(self._checked))]

    def get(self, name: str) -> CheckedEdits | None:
        """Return the edits of an id; ``None`` if there are none, or no longer."""
        return self._checked.get(name)

    def newest(self) -> list[str]:
        """Return the newest ids, the newest first."""
        return list(self._checked)[: -MOST_LISTED - 1 : -1]

    def of_turn(self, number: int) -> str | None:
        """Return the id of the last check of a turn, if that is kept."""
        own = [name for name in self._checked if name.startswith(f"c{number}.")]
        return own[-1] if own else None


_BOOKS: WeakKeyDictionary[TrialQueue, CheckBook] = WeakKeyDictionary()


def book_of(queue: TrialQueue) -> CheckBook:
    """Return the checks of a campaign, which its specialists share."""
    return _BOOKS.setdefault(queue, CheckBook())


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
        book: The checks of all specialists of the campaign.
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
    book: CheckBook = field(default_factory=CheckBook)

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
        """Keep checked edits, and return the id by which every specialist may name them."""
        own = f"c{len(self.checked) + 1}"
        # A number of the campaign's would tell a blind specialist how far that has come.
        if self.number is None or self.blind:
            self.checked[own] = edits
            return own
        name = f"c{self.number}.{len(self.checked) + 1}"
        self.checked[name] = edits
        self.book.keep(name, edits)
        return name

    def named(self, name: str) -> CheckedEdits:
        """Return the edits of a check: by its id, ``last``, or as ``c1`` for the turn's first.

        Raises:
            Refused: There is no such check; the message lists the newest.
        """
        own = list(self.checked)
        places = {f"c{place}": each for place, each in enumerate(own, 1)}
        if own:
            places[LAST] = own[-1]
        if (mine := self.checked.get(places.get(name, name))) is not None:
            return mine
        if not self.blind and (kept := self.book.get(name)) is not None:
            return kept
        others = () if self.blind else self.book.newest()
        raise Refused(unknown_name("check", name, dict.fromkeys((*own, *others))))

    def edits_on(
        self,
        queue: Desk,
        parent: int | None,
        check: str | None,
        edits: Sequence[EditArguments],
    ) -> CheckedEdits:
        """Return edits with what they go on top of: a check, or else a trial's recipe.

        Args:
            queue: The campaign's queue of trials.
            parent: Number of the trial; a blind turn edits the best, whatever it names.
            check: A check, which the edits follow.
            edits: The edits; none repeats the check.

        Raises:
            Refused: There is no such check, or it is of another trial than the named one.
        """
        new = tuple(edit.to_edit() for edit in edits)
        if check is not None:
            base = self.named(check)
            if parent is not None and parent != base.parent and not self.blind:
                raise Refused(
                    f"check {check} is of trial {base.parent}, not of {parent}: leave out parent, "
                    "or send the edits anew"
                )
            return CheckedEdits(base.parent, (*base.edits, *new))
        best = queue.best().number
        return CheckedEdits(best if self.blind or parent is None else parent, new)


def news(queue: Desk, turn: TurnState) -> Row:
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

    parent: int | None = Field(
        default=None, ge=0, description="Trial whose recipe is edited: any, failed ones too."
    )
    check: str | None = CHECKED
    edits: list[EditArguments] = Field(
        min_length=1,
        max_length=MAX_EDITS,
        description=f"1 to {MAX_EDITS}, on top of parent or check.",
    )

    @model_validator(mode="after")
    def _check_base(self) -> CheckEditArguments:
        if self.check is None and self.parent is None:
            raise ValueError(BASE)
        return self


CHECK = (
    "Check edits: do they apply, does the result parse, is it new? If so you get their id, for "
    "run_python and submit_trial, and earlier trials that were alike. Costs nothing."
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

    def __init__(self, queue: Desk, surfaces: tuple[str, ...], turn: TurnState) -> None:
        super().__init__(CheckEditArguments, "check_edit", CHECK_BLIND if turn.blind else CHECK)
        self._queue = queue
        self._surfaces = surfaces
        self._turn = turn

    async def answer(self, args: CheckEditArguments) -> str:
        """Return the id of the check, or the reason for which the edits would be rejected.

        Raises:
            Refused: There is no such check that the edits could go on top of.
            LineageError: No trial has the parent's number.
        """
        source = self._turn.edits_on(self._queue, args.parent, args.check, args.edits)
        checked = self._queue.check(source.parent, source.edits)
        if isinstance(checked, Rejected):
            return to_json({"ok": False, "kind": checked.kind, "reason": checked.reason})
        before = self._queue.recipe_of(source.parent)
        answer: Row = {"ok": True, "check": self._turn.keep(source)}
        if checked.alike:
            answer["alike"] = checked.alike
        if notes := knob_notes(
            find_knobs(before), find_knobs(checked.recipe.files), self._surfaces
        ):
            answer["notes"] = notes
        return to_json(answer | _changed(Recipe(before), checked, source.edits) | self._news())

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
    turned = [f"{', '.join(names)} ({surface})" for surface, names in sorted(others.items())]
    notes = [f"turns knobs of others, booked on your surface: {'; '.join(turned)}"] * bool(turned)
    if before and not after:
        notes.append(
            "no knob is left: keep the comments `# knob SURFACE: LOW .. HIGH` behind constants, so "
            "that others can go on from there"
        )
    return notes
