"""The arguments of the tools that read the lineage: what a model may ask for, and how.

Descriptions go out with every call of a model, so they are short, and say units.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, field_validator

from recipelab.core.trial import FailureKind, Standing, Status
from recipelab.lineage import TrialFilter
from recipelab.lineage.filter import ORDERS
from recipelab.packs.judging_sections import Goal
from recipelab.tools.base import ToolArguments
from recipelab.tools.recipe import MAX_EDITS, MAX_TEXT, EditArguments
from recipelab.tools.rows import IN_FLIGHT

Number = Annotated[int, Field(ge=0)]
Words = Annotated[str, Field(max_length=300)]


def _in_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


Moment = Annotated[datetime, AfterValidator(_in_utc)]

Running = Literal["in_flight"]
AskedStatus = Annotated[
    Status | Running, WithJsonSchema({"type": "string", "enum": [*Status, IN_FLIGHT]})
]
AnyKind = Annotated[FailureKind, WithJsonSchema({"type": "string"})]
"""A kind of failure; a schema with all of them would be long, and a wrong one is told."""


class CampaignArguments(ToolArguments):
    """Which campaign is asked about."""

    campaign: str | None = Field(
        default=None, description="A prior campaign; this one if left out."
    )


class PageArguments(CampaignArguments):
    """Which part of a long answer is wanted."""

    limit: int = Field(default=20, ge=1, le=100, description="Rows, 1 to 100.")
    offset: int = Field(default=0, ge=0, description="Rows to pass over.")


LISTS = {
    "status": "statuses",
    "standing": "standings",
    "surface": "surfaces",
    "specialist": "specialists",
    "failure_kind": "failure_kinds",
}
"""Arguments that are lists, and what a filter calls them."""


class LineageQueryArguments(PageArguments):
    """What to look for in the lineage: :class:`TrialFilter`, as a model gives it."""

    status: list[AskedStatus] = Field(default=[], description="How they ended.")
    standing: list[Standing] = Field(default=[], description="How well a kept one is proven.")
    surface: list[str] = Field(default=[])
    specialist: list[str] = Field(default=[])
    failure_kind: list[AnyKind] = Field(default=[], description="As oom, nan, timeout, gate.")
    signature: Words | None = Field(default=None, description="Words of the error.")
    min_score: float | None = None
    max_score: float | None = None
    parent: Number | None = Field(default=None, description="Children of this trial.")
    ancestor: Number | None = Field(default=None, description="Descendants of this trial.")
    since: Moment | None = Field(default=None, description="Proposed then or later (ISO, UTC).")
    until: Moment | None = Field(default=None, description="Proposed before.")
    text: Words | None = Field(
        default=None, description="Words in hypothesis, reason, diff or error."
    )
    order: Annotated[str, Field(pattern=f"^({'|'.join(ORDERS)})$")] = Field(
        default=ORDERS[0], description=f"{', '.join(ORDERS[:-1])} or {ORDERS[-1]} first."
    )

    @field_validator("status")
    @classmethod
    def _check_alone(cls, status: list[Status | Running]) -> list[Status | Running]:
        """A trial has ended or runs: the lineage looks these up in different ways."""
        if IN_FLIGHT in status and len(status) > 1:
            raise ValueError(f"{IN_FLIGHT} stands alone: ask for the others in a call of their own")
        return status

    def to_filter(self, goal: Goal | None) -> TrialFilter:
        """Return the filter that the arguments ask for.

        Args:
            goal: Whether a smaller or a larger score is better, for the order ``best``; ``None``
                for what the campaign says.
        """
        given = self.model_dump(exclude={"campaign", *LISTS})
        given |= {name: tuple(getattr(self, argument)) for argument, name in LISTS.items()}
        if IN_FLIGHT in self.status:
            given |= {"statuses": (), "in_flight": True}
        return TrialFilter(goal=goal, **given)


class FailuresArguments(PageArguments):
    """Which failures to count."""

    failure_kind: list[AnyKind] = Field(default=[], description="As oom, nan, timeout, gate.")
    surface: list[str] = Field(default=[])


class TrialArguments(CampaignArguments):
    """One trial, and which part of its long texts."""

    trial: Number
    diff: bool = Field(default=False, description="Show its diff from its parent, too.")
    offset: int = Field(default=0, ge=0, description="Characters of the diff to pass over.")


class DiffArguments(CampaignArguments):
    """Two trials whose recipes are compared."""

    before: Number
    after: Number
    path: str | None = Field(default=None, max_length=300, description="Only this file.")
    offset: int = Field(default=0, ge=0, description="Characters to pass over.")


class ChainArguments(CampaignArguments):
    """The end of a chain of parents."""

    trial: Number | None = Field(default=None, description="The best if left out.")
    limit: int = Field(default=20, ge=1, le=100, description="Rows, 1 to 100.")


class ChildrenArguments(PageArguments):
    """The trial whose children are asked for."""

    trial: Number


class SimilarArguments(CampaignArguments):
    """An idea, as edits, as words, or both."""

    edits: list[EditArguments] = Field(
        default=[], max_length=MAX_EDITS, description="As for check_edit."
    )
    parent: Number | None = Field(default=None, description="Trial that the edits are of.")
    text: str = Field(default="", max_length=MAX_TEXT, description="The idea in words.")
    limit: int = Field(default=10, ge=1, le=50, description="Rows, 1 to 50.")
