"""The library of every pack's evaluator, which imports it as ``recipelab_scoring``.

The sandbox in which an evaluator runs has no recipelab, only a copy of this folder. So its modules
import the standard library and, by relative imports, each other.
"""

from .predictions import (
    BrokenRule,
    MalformedPredictions,
    PredictionFile,
    broken_rule,
    malformed,
    quoted,
    write_items,
    write_score,
)
from .printed import last_number, printed_number, printed_pairs

__all__ = [
    "BrokenRule",
    "MalformedPredictions",
    "PredictionFile",
    "broken_rule",
    "last_number",
    "malformed",
    "printed_number",
    "printed_pairs",
    "quoted",
    "write_items",
    "write_score",
]
