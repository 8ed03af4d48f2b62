"""The group chat that coordinates specialists and the evaluator's seat."""

from recipelab.team.conditions import (
    DeviceTimeTermination,
    MoneyTermination,
    PlateauTermination,
    TargetScoreTermination,
    TokensTermination,
    TrialsTermination,
    WallClockTermination,
)
from recipelab.team.conductor import Ended
from recipelab.team.config import ResearchGroupChatConfig
from recipelab.team.listener import Listener
from recipelab.team.opening import research_team
from recipelab.team.research import ResearchGroupChat

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
