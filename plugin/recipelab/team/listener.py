"""Who is told how a campaign goes on."""

from __future__ import annotations

from autogen_agentchat.messages import BaseAgentEvent, BaseChatMessage

from recipelab.lineage import TrialRecord
from recipelab.trial import Phase


class Listener:
    """Told how a campaign goes on; this one does nothing with it."""

    def note(self, text: str) -> None:
        """Something a person should know."""

    def phase(self, trial: int, phase: Phase, seed: int | None) -> None:
        """A phase of a trial begins."""

    def judged(self, record: TrialRecord) -> None:
        """A trial got its status."""

    def message(self, message: BaseAgentEvent | BaseChatMessage) -> None:
        """Somebody said something in the group chat."""
