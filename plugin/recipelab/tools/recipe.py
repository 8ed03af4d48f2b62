"""What tools know of recipes: how edits are given, and the tool that reads a recipe."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from pydantic import Field

from recipelab.core.errors import EditError, RecipelabError, unknown_name
from recipelab.core.knobs import find_knobs
from recipelab.core.recipe import Recipe
from recipelab.core.text import with_files
from recipelab.core.trial import Edit
from recipelab.packs.load import Play
from recipelab.tools.base import TextTool, ToolArguments
from recipelab.tools.desk import Desk
from recipelab.tools.rows import knob_values

MAX_EDITS = 24
MAX_TEXT = 400_000
"""Characters of an edit, or of a text to compare, at most."""


class ReadRecipeArguments(ToolArguments):
    """Which recipe to read."""

    trial: int | None = Field(default=None, description="The best if left out.")
    path: str | None = Field(
        default=None, max_length=300, description="One file alone; all that fit if left out."
    )
    from_line: int = Field(default=1, ge=1, description="Line of that file to begin at.")
    again: bool = Field(default=False, description="Files shown before, too.")


class EditArguments(ToolArguments):
    """One change of one file."""

    path: str = Field(max_length=300, description="As recipe/train.py.")
    search: str | None = Field(
        default=None,
        max_length=MAX_TEXT,
        description="Is there exactly once; left out: replace is the whole file.",
    )
    replace: str = Field(max_length=MAX_TEXT)

    @classmethod
    def of(cls, edit: Edit) -> EditArguments:
        """Return an edit as arguments."""
        return cls(path=edit.path, search=edit.search, replace=edit.replace)

    def to_edit(self) -> Edit:
        """Return the edit as the core knows it."""
        return Edit(self.path, self.search, self.replace)


READ_CHARACTERS = 60_000
"""Characters of files in one answer of ``read_recipe``; some 15,000 tokens."""


class FilesShown:
    """The files that a specialist has seen in a turn, so that none is sent twice as it was."""

    def __init__(self) -> None:
        self._trials: dict[tuple[str, str], int] = {}

    def clear(self) -> None:
        """Forget what was shown, as a turn begins."""
        self._trials.clear()

    def note(self, trial: int, files: Mapping[str, str]) -> None:
        """Note what is shown of a trial's recipe."""
        self._trials |= dict.fromkeys(files.items(), trial)

    def unseen(
        self, trial: int, files: Mapping[str, str], *, again: bool
    ) -> tuple[dict[str, str], dict[str, int]]:
        """Return the files to be shown, and of which trial the others were shown.

        Args:
            trial: The trial whose files they are.
            files: The files that are asked for.
            again: Whether to show all of them: some may have been cut from a context that was full.
        """
        seen = {} if again else self._trials
        before = {one[0]: seen[one] for one in files.items() if one in seen}
        shown = {path: text for path, text in files.items() if path not in before}
        self.note(trial, shown)
        return shown, before


class ReadRecipeTool(TextTool[ReadRecipeArguments]):
    """Shows the files of a trial's recipe, its knobs, and the pack's plays.

    Args:
        queue: The campaign's queue of trials.
        plays: Plays on the surfaces of the specialist that reads.
        blind: Whether only the recipe that is to be edited may be read, without its number.
        shown: What the specialist has read in this turn; see :class:`FilesShown`.
    """

    def __init__(
        self,
        queue: Desk,
        plays: tuple[Play, ...],
        *,
        blind: bool = False,
        shown: FilesShown | None = None,
    ) -> None:
        which = "the recipe that is to be edited" if blind else "a trial's recipe"
        super().__init__(
            ReadRecipeArguments,
            "read_recipe",
            f"Read {which}: files, knobs (constants open to change), and the pack's ideas for "
            "your surface, as edits that fit it.",
        )
        self._queue = queue
        self._plays = plays
        self._blind = blind
        self._shown = shown if shown is not None else FilesShown()

    async def answer(self, args: ReadRecipeArguments) -> str:
        """Return the recipe, without files that were shown before in this turn, as they are.

        Raises:
            LineageError: No trial has that number.
            RecipelabError: The recipe has no such file, or not so many lines.
        """
        wanted = None if self._blind else args.trial
        number = self._queue.best().number if wanted is None else wanted
        files = self._queue.recipe_of(number)
        shown = 0 if self._blind else number
        if args.path is not None:
            part, text = _part_of_file(files, args.path, args.from_line)
            self._shown.note(shown, {args.path: text})
            return with_files({"trial": shown, **part}, {args.path: text})
        fitting, longer = _fitting(files, {knob.path for knob in find_knobs(files)})
        fitting, before = self._shown.unseen(shown, fitting, again=args.again)
        return with_files(
            {
                "trial": shown,
                "editable": list(self._queue.pack.recipe.editable),
                "knobs": knob_values(files),
                "playbook": [play.model_dump() for play in self._fitting_plays(files)],
            }
            | ({"to_be_read_alone": longer} if longer else {})
            | ({"as_shown_of_trial": before} if before else {}),
            fitting,
        )

    def _fitting_plays(self, files: Mapping[str, str]) -> Sequence[Play]:
        """Return the plays whose edits apply to a recipe: the others are made or out of date."""
        recipe, editable = Recipe(files), self._queue.pack.recipe.editable
        fitting: list[Play] = []
        for play in self._plays:
            try:
                changed = recipe.apply([edit.to_edit() for edit in play.edits], editable)
            except EditError:
                continue
            if changed.files != recipe.files:
                fitting.append(play)
        return fitting


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


def _part_of_file(
    files: Mapping[str, str], path: str, from_line: int
) -> tuple[dict[str, object], str]:
    """Return which part of a file fits, the line to go on with if there is more, and its text."""
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
    return {"path": path, "from_line": from_line, **more}, text
