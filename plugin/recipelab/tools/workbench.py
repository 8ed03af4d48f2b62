"""The workbench of a specialist: tools that share what it has done in its turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import BaseModel

from recipelab.tools.base import AnyTool, ToolWorkbench
from recipelab.tools.lineage import LineageTool
from recipelab.tools.recipe import Turn


class SpecialistWorkbench(ToolWorkbench):
    """The tools of one specialist. Any look at the lineage counts as having asked.

    Args:
        tools: The tools.
        turn: The turn that they share.
    """

    component_provider_override = "recipelab.tools.SpecialistWorkbench"

    def __init__(self, tools: Sequence[AnyTool], turn: Turn) -> None:
        super().__init__(tools)
        self._turn = turn

    def begin_turn(self) -> None:
        """The specialist was given the floor."""
        self._turn.begin()

    def answered(self, name: str) -> None:
        """Notes that the specialist has asked the lineage, if it has."""
        if isinstance(self._tools[name], LineageTool):
            self._turn.asked = True

    async def reset(self) -> None:
        """Forgets the turn."""
        self._turn.begin()

    async def save_state(self) -> Mapping[str, Any]:
        """The turn, as far as it is known."""
        return {"asked": self._turn.asked, "submitted": self._turn.submitted}

    async def load_state(self, state: Mapping[str, Any]) -> None:
        """Takes the turn up where :meth:`save_state` left it."""
        self._turn.asked = bool(state.get("asked"))
        self._turn.submitted = cast("int | None", state.get("submitted"))

    def _to_config(self) -> BaseModel:
        # A desk owns a running sandbox, which no JSON can carry.
        raise NotImplementedError("a specialist's workbench lives inside a running campaign")
