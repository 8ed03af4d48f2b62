"""The group chat that coordinates specialists and the evaluator's seat."""

from recipelab.team.group_chat import ResearchGroupChat, ResearchGroupChatConfig, research_team
from recipelab.team.loop import Ended, Listener
from recipelab.team.termination import (
    DeviceTimeTermination,
    MoneyTermination,
    PlateauTermination,
    TargetScoreTermination,
    TokensTermination,
    TrialsTermination,
    WallClockTermination,
)

__all__ = [
    "DeviceTimeTermination",
    "Ended",
    "Listener",
    "MoneyTermination",
    "PlateauTermination",
    "ResearchGroupChat",
    "ResearchGroupChatConfig",
    "TargetScoreTermination",
    "TokensTermination",
    "TrialsTermination",
    "WallClockTermination",
    "research_team",
]
