"""The agents: specialists made from charters, and the evaluator's seat."""

from recipelab.agents.charter import Charter, charter_names, load_charter
from recipelab.agents.context import LineageContext, LineageContextConfig, TurnContext
from recipelab.agents.evaluator_agent import EVALUATOR, EvaluatorAgent, outcome_report
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
    "load_charter",
    "outcome_report",
]
