"""The arguments of the lineage tools, as a model sees them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, Field

from recipelab.tools.arguments import MAX_EDITS, MAX_TEXT, Arguments, EditArguments
from recipelab.trial import FailureKind, Status

Number = Annotated[int, Field(ge=0)]
Words = Annotated[str, Field(max_length=300)]


def _in_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


Moment = Annotated[datetime, AfterValidator(_in_utc)]


class ScopeArguments(Arguments):
    """Which campaign is asked about."""

    campaign: str | None = Field(
        default=None, description="Name of a prior campaign; leave out for this one."
    )


class PageArguments(ScopeArguments):
    """Which part of a long answer is wanted."""

    limit: int = Field(default=20, ge=1, le=100, description="How many rows at most.")
    offset: int = Field(default=0, ge=0, description="How many to pass over, for paging.")


class LineageQueryArguments(PageArguments):
    """What to look for in the lineage. All filters given must hold."""

    status: list[Status] = Field(default=[], description="Only trials that ended so.")
    surface: list[str] = Field(default=[], description="Only trials on these surfaces.")
    specialist: list[str] = Field(default=[], description="Only trials by these specialists.")
    failure_kind: list[FailureKind] = Field(default=[], description="Only these kinds of failure.")
    signature: Words | None = Field(
        default=None, description="Words that the failure's signature contains."
    )
    min_score: float | None = Field(default=None, description="Only scores from here up.")
    max_score: float | None = Field(default=None, description="Only scores up to here.")
    parent: Number | None = Field(default=None, description="Only children of this trial.")
    ancestor: Number | None = Field(
        default=None, description="Only descendants of this trial, children of children too."
    )
    since: Moment | None = Field(
        default=None, description="Only trials proposed at or after this time (ISO 8601, UTC)."
    )
    until: Moment | None = Field(default=None, description="Only trials proposed before this time.")
    text: Words | None = Field(
        default=None,
        description="Words in hypothesis, reason, diff or failure, whatever their case.",
    )
    order: Annotated[str, Field(pattern="^(newest|oldest|best|worst)$")] = Field(
        default="newest", description="newest, oldest, best or worst first."
    )


class FailuresArguments(PageArguments):
    """Which failures to count."""

    failure_kind: list[FailureKind] = Field(default=[], description="Only these kinds of failure.")
    surface: list[str] = Field(default=[], description="Only failures on these surfaces.")


class TrialArguments(ScopeArguments):
    """One trial, and which part of its long texts."""

    trial: Number = Field(description="Number of the trial.")
    offset: int = Field(
        default=0, ge=0, description="Characters of the diff to pass over, for paging."
    )


class DiffArguments(ScopeArguments):
    """Two trials whose recipes are compared."""

    before: Number = Field(description="Number of the first trial.")
    after: Number = Field(description="Number of the second trial.")
    offset: int = Field(default=0, ge=0, description="Characters to pass over, for paging.")


class ChainArguments(ScopeArguments):
    """The end of a chain of parents."""

    trial: Number | None = Field(
        default=None, description="Number of the trial; leave out for the best so far."
    )
    limit: int = Field(default=20, ge=1, le=100, description="How many trials at most.")


class ChildrenArguments(PageArguments):
    """The trial whose children are asked for."""

    trial: Number = Field(description="Number of the trial.")


class SimilarArguments(ScopeArguments):
    """An idea, as edits, as words, or both."""

    edits: list[EditArguments] = Field(
        default=[], max_length=MAX_EDITS, description="Edits, as for submit_trial."
    )
    parent: Number | None = Field(
        default=None, description="Trial that the edits would be applied to."
    )
    text: str = Field(default="", max_length=MAX_TEXT, description="The idea in words.")
    limit: int = Field(default=10, ge=1, le=50, description="How many trials at most.")
