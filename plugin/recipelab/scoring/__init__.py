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

__all__ = [
    "BrokenRule",
    "MalformedPredictions",
    "PredictionFile",
    "broken_rule",
    "malformed",
    "quoted",
    "write_items",
    "write_score",
]
