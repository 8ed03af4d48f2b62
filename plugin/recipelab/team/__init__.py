"""The group chat that coordinates specialists and the evaluator's seat."""

from recipelab.team.conductor import Ended
from recipelab.team.config import ResearchGroupChatConfig
from recipelab.team.listener import Listener
from recipelab.team.opening import research_team
from recipelab.team.research import ResearchGroupChat

__all__ = ["Ended", "Listener", "ResearchGroupChat", "ResearchGroupChatConfig", "research_team"]
