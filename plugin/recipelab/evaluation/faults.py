"""Why a trial comes to no measurement: the recipe's fault, or the evaluator's own."""

from __future__ import annotations

from recipelab.sandbox.base import PhaseResult
from recipelab.trial import Failure, Status


class PhaseFailed(Exception):
    """A phase failed for a reason that lies in the recipe.

    Attributes:
        status: The status that the trial gets.
        failure: What went wrong.
        result: What the sandbox saw.
    """

    def __init__(self, status: Status, failure: Failure, result: PhaseResult) -> None:
        super().__init__(failure.signature)
        self.status = status
        self.failure = failure
        self.result = result


class EvaluatorFault(Exception):
    """The pack's own evaluator failed, or gave no usable figures: not the recipe's fault."""
