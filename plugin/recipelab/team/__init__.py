"""The group chat that coordinates specialists and the evaluator's seat."""

from recipelab.team.group_chat import RoundOver, build_team
from recipelab.team.speakers import POLICIES, RoundRobin, SpeakerPolicy

__all__ = ["POLICIES", "RoundOver", "RoundRobin", "SpeakerPolicy", "build_team"]
