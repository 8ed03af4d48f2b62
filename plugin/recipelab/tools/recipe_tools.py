"""``read_recipe`` and ``check_edit``: looking at a recipe and trying an edit on for size."""

from __future__ import annotations

from recipelab.evaluation.checking import Rejection
from recipelab.evaluation.desk import TrialDesk
from recipelab.playbook import Play
from recipelab.tools.answers import knob_rows, to_json
from recipelab.tools.arguments import CheckEditArguments, ReadRecipeArguments
from recipelab.tools.base import TextTool

DIFF_CHARACTERS = 8_000

READ = "a trial's recipe (the best so far if you name none)"
WITH = "with its knobs (values that are meant to be changed) and the playbook's ideas for your surface."
CHECK = (
    "Check edits without submitting them: do they apply to the parent's recipe, does the result "
    "parse, and is it new? Answers with the diff, and with trials whose edit was alike: look at "
    "how they ended before you submit."
)
CHECK_BLIND = (
    "Check edits without submitting them: do they apply to the parent's recipe, and does the "
    "result parse? Answers with the diff."
)


class ReadRecipeTool(TextTool[ReadRecipeArguments]):
    """Shows the files of a trial's recipe, its knobs, and the pack's plays.

    Args:
        desk: The campaign's desk.
        plays: Plays on the surfaces of the specialist that reads.
        blind: Whether only the recipe that is to be edited may be read, without its number.
    """

    def __init__(self, desk: TrialDesk, plays: tuple[Play, ...], *, blind: bool = False) -> None:
        whose = "the recipe that is to be edited" if blind else READ
        super().__init__(ReadRecipeArguments, "read_recipe", f"Read the files of {whose}, {WITH}")
        self._desk = desk
        self._plays = plays
        self._blind = blind

    async def answer(self, args: ReadRecipeArguments) -> str:
        """Answers with the recipe as JSON.

        Raises:
            LineageError: There is no such trial.
        """
        wanted = None if self._blind else args.trial
        number = self._desk.best().number if wanted is None else wanted
        files = self._desk.recipe_of(number)
        return to_json(
            {
                "trial": 0 if self._blind else number,
                "files": files,
                "editable": list(self._desk.pack.recipe.editable),
                "knobs": knob_rows(files),
                "playbook": [play.model_dump() for play in self._plays],
            }
        )


class CheckEditTool(TextTool[CheckEditArguments]):
    """Says whether edits apply, parse and are new, at no cost.

    Args:
        desk: The campaign's desk.
        blind: Whether edits are always of the recipe that is to be edited, whatever its number.
    """

    def __init__(self, desk: TrialDesk, *, blind: bool = False) -> None:
        super().__init__(CheckEditArguments, "check_edit", CHECK_BLIND if blind else CHECK)
        self._desk = desk
        self._blind = blind

    async def answer(self, args: CheckEditArguments) -> str:
        """Answers with the diff, or with what is wrong.

        Raises:
            LineageError: There is no such parent.
        """
        parent = self._desk.best().number if self._blind else args.parent
        checked = self._desk.check(parent, tuple(edit.to_edit() for edit in args.edits))
        if isinstance(checked, Rejection):
            return to_json({"ok": False, "kind": checked.kind, "reason": checked.reason})
        alike = {"alike": checked.alike} if checked.alike else {}
        return to_json({"ok": True, **alike, "diff": checked.diff[:DIFF_CHARACTERS]})
