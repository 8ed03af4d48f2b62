"""The tool that turns one knob, chosen from a menu: for small models."""

from __future__ import annotations

from autogen_core.tools import ParametersSchema, ToolSchema
from pydantic import Field

from recipelab.core.errors import unknown_name
from recipelab.core.knobs import Knob, KnobValue, find_knobs
from recipelab.evaluation.proposals import Rejected
from recipelab.evaluation.queue import TrialQueue
from recipelab.tools.base import TextTool, ToolArguments
from recipelab.tools.checks import Refused
from recipelab.tools.recipe import EditArguments
from recipelab.tools.submit import SubmitTrialArguments, SubmitTrialTool

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
