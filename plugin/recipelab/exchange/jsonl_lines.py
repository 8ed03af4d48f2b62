"""The kinds of lines of an exported campaign: a model for each, which checks a line by itself."""

from __future__ import annotations

import hashlib
import json
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

from recipelab.core.recipe import stays_inside
from recipelab.exchange.metric import MetricFacts, check_settings
from recipelab.lineage import (
    CampaignRecord,
    CertificateRecord,
    CheckpointRecord,
    FurtherRunRecord,
    MessageRecord,
    Note,
    RoundRecord,
    TrialRecord,
    TurnRecord,
    UsageTotal,
)

FORMAT = 3
"""Version of the format."""


class Line(BaseModel):
    """A line of an export."""

    model_config = ConfigDict(frozen=True)
    left_out: ClassVar[dict[str, Any]] = {}
    """Fields that are not written, as they are never stored."""

    def text(self) -> str:
        """Return the line as JSON, with its line end."""
        table = self.model_dump(mode="json", exclude=self.left_out)
        return json.dumps(table, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"


_OF_RUN = {"items", "artifact"}
_OF_RUNS = {"__all__": _OF_RUN}


class CampaignLine(Line):
    """The first line.

    ``judged`` holds the numbers of the judged trials in the order in which they were judged.
    """

    line: Literal["campaign"] = "campaign"
    format: int = FORMAT
    campaign: CampaignRecord
    metric: MetricFacts | None
    rounds: tuple[RoundRecord, ...]
    judged: tuple[int, ...]

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        numbers = [item.number for item in self.rounds]
        if len(numbers) != len(set(numbers)):
            raise ValueError("a round is there twice")
        check_settings(self.campaign.settings)
        return self


class ContentLine(Line):
    """A text that is there once, under its hash."""

    line: Literal["file", "view"]
    sha256: str
    content: str

    @model_validator(mode="after")
    def _has_its_hash(self) -> Self:
        if sha256(self.content) != self.sha256:
            raise ValueError(f"the content of the {self.line} is not what its SHA-256 says")
        return self


class FileLine(ContentLine):
    """A file of a recipe, once for all trials that have it."""

    line: Literal["file"] = "file"


class TrialLine(Line):
    """A trial, with the files of its recipe: path to SHA-256."""

    line: Literal["trial"] = "trial"
    trial: TrialRecord
    files: dict[str, str]
    left_out = {"trial": {"outcome": {"seed_runs": _OF_RUNS}}}

    @model_validator(mode="after")
    def _has_plain_paths(self) -> Self:
        number = self.trial.number
        if outside := [path for path in self.files if not stays_inside(path)]:
            raise ValueError(f"trial {number} has a file {outside[0]!r}, which is no valid path")
        return self


class MessageLine(Line):
    """A message of the group chat."""

    line: Literal["message"] = "message"
    message: MessageRecord


class ViewLine(ContentLine):
    """What turns showed, once for all that showed it."""

    line: Literal["view"] = "view"


class TurnLine(Line):
    """A turn of a specialist."""

    line: Literal["turn"] = "turn"
    turn: TurnRecord


class NoteLine(Line):
    """A note from people."""

    line: Literal["note"] = "note"
    note: Note


class UsageLine(Line):
    """The tokens that a specialist used of a model."""

    line: Literal["usage"] = "usage"
    usage: UsageTotal


class FurtherRunLine(Line):
    """A seed run of a judged trial that was made to compare another one with it."""

    line: Literal["further_run"] = "further_run"
    further_run: FurtherRunRecord
    left_out = {"further_run": {"run": _OF_RUN}}


class CertificateLine(Line):
    """The result of a certification."""

    line: Literal["certificate"] = "certificate"
    certificate: CertificateRecord


class CheckpointLine(Line):
    """The result of a checkpoint of the working line."""

    line: Literal["checkpoint"] = "checkpoint"
    checkpoint: CheckpointRecord
    left_out = {"checkpoint": {"found": {"runs": _OF_RUNS, "against_runs": _OF_RUNS}}}


class EndLine(Line):
    """The last line: how many there are of each kind."""

    line: Literal["end"] = "end"
    trials: int = 0
    files: int = 0
    messages: int = 0
    notes: int = 0
    usage: int = 0
    further_runs: int = 0
    certificates: int = 0
    checkpoints: int = 0
    views: int = 0
    turns: int = 0


LINES: dict[str, type[Line]] = {
    "file": FileLine,
    "trial": TrialLine,
    "message": MessageLine,
    "view": ViewLine,
    "turn": TurnLine,
    "note": NoteLine,
    "usage": UsageLine,
    "further_run": FurtherRunLine,
    "certificate": CertificateLine,
    "checkpoint": CheckpointLine,
    "end": EndLine,
}
"""The kinds of lines after the first."""


def sha256(text: str) -> str:
    """Return the SHA-256 of a file's text."""
    return hashlib.sha256(text.encode()).hexdigest()
