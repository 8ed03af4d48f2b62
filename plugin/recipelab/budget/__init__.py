"""Budgets: what a campaign may spend, and the one ledger that keeps the account."""

from recipelab.budget.ledger import DEVICE, Ledger, Spent
from recipelab.budget.limits import Limits

__all__ = ["DEVICE", "Ledger", "Limits", "Spent"]
