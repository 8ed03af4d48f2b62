"""The group chat in which specialists propose trials and the evaluator reports them."""

from recipelab.team.factory import research_team
from recipelab.team.group_chat import ResearchGroupChat, ResearchGroupChatConfig
from recipelab.team.loop import Ended
from recipelab.team.notes import Listener
from recipelab.team.speakers import SpeakerContext, SpeakerPolicy, TrialResult
from recipelab.team.termination import BudgetTermination, BudgetTerminationConfig
from recipelab.team.turns import TurnOutcome, TurnResult

__all__ = [
    "BudgetTermination",
    "BudgetTerminationConfig",
    "Ended",
    "Listener",
    "ResearchGroupChat",
    "ResearchGroupChatConfig",
    "SpeakerContext",
    "SpeakerPolicy",
    "TrialResult",
    "TurnOutcome",
    "TurnResult",
    "research_team",
]
