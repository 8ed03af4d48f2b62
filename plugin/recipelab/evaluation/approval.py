"""Asking a person before a trial begins."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from recipelab.lineage import TrialRecord
from recipelab.trial import Failure, FailureKind, Outcome, Status

Approve = Callable[[TrialRecord], Awaitable[str | None]]
"""Asked before a proposal is tried: ``None`` lets it pass, a text says why it may not."""


def declined(reason: str) -> Outcome:
    """The outcome of a trial that a person did not want."""
    told = f"a person declined it: {reason or 'no reason given'}"
    failure = Failure(None, FailureKind.DECLINED, "a person declined it", told[:1_600])
    return Outcome(status=Status.REJECTED, reason=told, failure=failure)
