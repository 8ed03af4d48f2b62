"""``turn_knob``: proposals from a menu, for models that cannot write an edit."""

from __future__ import annotations

from autogen_core.tools import ParametersSchema, ToolSchema
from pydantic import Field

from recipelab.errors import unknown_name
from recipelab.evaluation.checking import Rejection
from recipelab.evaluation.desk import TrialDesk
from recipelab.knobs import Knob, KnobValue, find_knobs
from recipelab.tools.arguments import Arguments, EditArguments, SubmitTrialArguments
from recipelab.tools.base import TextTool
from recipelab.tools.submit_tool import Refused, SubmitTrialTool

MENU = 24
"""Changes on the menu at most."""

FACTORS = (1.5, 1 / 1.5, 1.2, 1 / 1.2)
"""By what a number is turned."""


class TurnKnobArguments(Arguments):
    """A change from the menu."""

    change: str = Field(max_length=200, description="The change to try, from the menu.")
    hypothesis: str = Field(
        min_length=10, max_length=1_000, description="Why it should help, in a sentence."
    )


class TurnKnobTool(TextTool[TurnKnobArguments]):
    """Submits a trial that gives one knob of the best recipe another value.

    The menu is a part of its schema: legal changes that nobody has tried. So a server that holds a
    model to the schema holds it to legal edits.

    Args:
        desk: The campaign's desk.
        surfaces: The surfaces whose knobs may be turned.
        submit: Submits what was chosen.
    """

    def __init__(self, desk: TrialDesk, surfaces: tuple[str, ...], submit: SubmitTrialTool) -> None:
        super().__init__(
            TurnKnobArguments,
            "turn_knob",
            "Submit a trial that changes one value of the best recipe. Choose from the menu.",
        )
        self._desk = desk
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
        """Submits the change; answers as ``submit_trial`` does.

        Raises:
            Refused: It is not on the menu, or ``submit_trial`` refuses it.
        """
        parent, menu = self._menu()
        chosen = menu.get(args.change.strip())
        if chosen is None:
            raise Refused(unknown_name("change", args.change, menu))
        knob, value = chosen
        edit = knob.edit(value)
        return await self._submit.answer(
            SubmitTrialArguments(
                parent=parent,
                surface=knob.surface,
                hypothesis=args.hypothesis,
                expected_delta=0.0,
                edits=[EditArguments(path=edit.path, search=edit.search, replace=edit.replace)],
            )
        )

    def _menu(self) -> tuple[int, dict[str, tuple[Knob, KnobValue]]]:
        """The best trial, and the changes of its recipe that have not been tried."""
        parent = self._desk.best().number
        knobs = find_knobs(self._desk.recipe_of(parent))
        mine = [knob for knob in knobs if knob.surface in self._surfaces]
        found: dict[str, tuple[Knob, KnobValue]] = {}
        for knob in mine:
            for value in other_values(knob):
                tried = isinstance(self._desk.check(parent, (knob.edit(value),)), Rejection)
                if not tried and len(found) < MENU:
                    found[f"{knob.name} = {value!r}"] = (knob, value)
        return parent, found


def other_values(knob: Knob) -> list[KnobValue]:
    """A few other values of a knob: its choices, or steps up and down within its range."""
    if knob.choices:
        return [choice for choice in knob.choices if choice != knob.value]
    whole = isinstance(knob.value, int)
    now = float(knob.value) or knob.high / 3
    steps = [*(now * factor for factor in FACTORS), knob.low]
    values = [min(max(step, knob.low), knob.high) for step in steps]
    rounded = [round(value) if whole else float(f"{value:.3g}") for value in values]
    return [value for value in dict.fromkeys(rounded) if value != knob.value]
