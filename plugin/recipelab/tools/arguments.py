"""The arguments of the tools, as a model sees them."""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict, Field, field_validator

from recipelab.trial import Edit

MAX_EDITS = 24
MAX_TEXT = 400_000


class Arguments(BaseModel):
    """Arguments of a tool; unknown keys are refused so that a typo does not pass in silence."""

    model_config = ConfigDict(extra="forbid")


class ReadRecipeArguments(Arguments):
    """Which recipe to read."""

    trial: int | None = Field(
        default=None, description="Number of the trial; leave out for the best so far."
    )


class EditArguments(Arguments):
    """One change of one file."""

    path: str = Field(max_length=300, description="File, as recipe/train.py.")
    search: str | None = Field(
        default=None,
        max_length=MAX_TEXT,
        description="Text that occurs exactly once in the file; leave out to write a whole file.",
    )
    replace: str = Field(max_length=MAX_TEXT, description="What takes its place.")

    def to_edit(self) -> Edit:
        """The edit as the core knows it."""
        return Edit(self.path, self.search, self.replace)


class CheckEditArguments(Arguments):
    """Edits to check without submitting them."""

    parent: int = Field(ge=0, description="Number of the trial whose recipe is edited.")
    edits: list[EditArguments] = Field(min_length=1, max_length=MAX_EDITS)


class SubmitTrialArguments(CheckEditArguments):
    """A proposal."""

    surface: str | None = Field(
        default=None, description="Surface the edit is about; leave out if you own only one."
    )
    hypothesis: str = Field(
        min_length=10, max_length=4_000, description="Why the edit should help, in a few sentences."
    )
    expected_delta: float = Field(
        description="Expected change of the metric, signed, in the metric's unit."
    )

    @field_validator("expected_delta")
    @classmethod
    def _finite(cls, value: float) -> float:
        if not math.isfinite(value):
            raise ValueError("must be a finite number")
        return value
