"""The agents of a campaign: specialists made from charters, and the evaluator that reports."""

from recipelab.agents.charter import Charter
from recipelab.agents.charters import charter_names, load_charter
from recipelab.agents.context import LineageContext, LineageContextConfig, TurnContext
from recipelab.agents.evaluator_agent import (
    EVALUATOR,
    EvaluatorAgent,
    checkpoint_report,
    outcome_report,
)
from recipelab.agents.specialist import Specialist

__all__ = [
    "EVALUATOR",
    "Charter",
    "EvaluatorAgent",
    "LineageContext",
    "LineageContextConfig",
    "Specialist",
    "TurnContext",
    "charter_names",
    "checkpoint_report",
    "load_charter",
    "outcome_report",
]
