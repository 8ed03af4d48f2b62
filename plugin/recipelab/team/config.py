"""The configuration of a research group chat: all that JSON needs to hold to run it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autogen_agentchat.base import ChatAgent, Team, TerminationCondition
from autogen_core import ComponentModel
from pydantic import BaseModel, Field
from sqlalchemy.engine import make_url

from recipelab.home import Home
from recipelab.lab import Lab
from recipelab.plan import Plan

NAME = "recipelab"
DESCRIPTION = "Specialists that improve a training recipe, and the evaluator's seat."


class ResearchGroupChatConfig(BaseModel):
    """Configuration of :class:`recipelab.team.ResearchGroupChat`.

    Attributes:
        plan: What is asked of the campaign.
        home: Folder of papers and lineage; ``None`` for ``$RECIPELAB_HOME`` or ``.recipelab``.
        lineage: Path or URL of the lineage, without a password; ``None`` for that of the home.
        name: Name of the team.
        description: What a selector of a larger team is told of it.
        participants: Agents or teams besides the specialists.
        termination_condition: Ends a run before the campaign's budget does.
        max_turns: Turns after which a run ends.
        emit_team_events: Whether the stream says who was selected.
    """

    plan: Plan
    home: str | None = None
    lineage: str | None = None
    name: str = NAME
    description: str = DESCRIPTION
    participants: list[ComponentModel] = Field(default_factory=list)
    termination_condition: ComponentModel | None = None
    max_turns: int | None = None
    emit_team_events: bool = False

    def arguments(self) -> dict[str, Any]:
        """What the team is made from, besides its plan."""
        condition = self.termination_condition
        return {
            "home": Home.find(Path(self.home) if self.home else None),
            "lineage": self.lineage,
            "participants": [_participant(model) for model in self.participants],
            "termination_condition": condition and TerminationCondition.load_component(condition),
            "max_turns": self.max_turns,
            "name": self.name,
            "description": self.description,
            "emit_team_events": self.emit_team_events,
        }


def _participant(model: ComponentModel) -> ChatAgent | Team:
    if model.component_type == Team.component_type:
        return Team.load_component(model)
    return ChatAgent.load_component(model)


def saved_url(lab: Lab) -> str | None:
    """Where a lab's lineage is, as it may be saved: a password stays in the environment."""
    url = lab.parts.store.url if lab.parts.store else lab.lineage
    if url is None or "://" not in url:
        return url
    return make_url(url).set(password=None).render_as_string(hide_password=False)
