"""Writes a transcript in one of its formats."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from rich.console import Console

from recipelab.errors import RecipelabError, unknown_name
from recipelab.lineage import CampaignRecord, LineageStore
from recipelab.report.transcript.lines import jsonl
from recipelab.report.transcript.markdown import markdown
from recipelab.report.transcript.page import page
from recipelab.report.transcript.selecting import blocks_of, messages_of
from recipelab.report.transcript.terminal import show

TEXT_WIDTH = 100
"""Columns of plain text in a file."""


class Format(StrEnum):
    """How a transcript is written."""

    TEXT = "text"
    MARKDOWN = "markdown"
    HTML = "html"
    JSONL = "jsonl"


_ENDINGS = {
    ".txt": Format.TEXT,
    ".md": Format.MARKDOWN,
    ".html": Format.HTML,
    ".htm": Format.HTML,
    ".jsonl": Format.JSONL,
}


@dataclass(frozen=True)
class Transcript:
    """What was said and done in a campaign, or in a part of it.

    Attributes:
        store: The lineage.
        campaign: The campaign.
        round_number: Only this round; ``None`` for all.
        trial: Only the turns that tell of this trial; ``None`` for all.
    """

    store: LineageStore
    campaign: CampaignRecord
    round_number: int | None = None
    trial: int | None = None

    def pieces(self, kind: Format) -> Iterator[str]:
        """The transcript in pieces, to be joined as they are; not for text.

        Raises:
            LineageError: There is no such round or trial; the message says which there are.
        """
        part = {"round_number": self.round_number, "trial": self.trial}
        if kind is Format.JSONL:
            return jsonl(messages_of(self.store, self.campaign.name, **part))
        blocks = blocks_of(self.store, self.campaign, **part)
        if kind is Format.HTML:
            return page(blocks, f"Transcript of campaign {self.campaign.name}")
        return markdown(blocks)

    def payloads(self) -> list[dict[str, Any]]:
        """The messages as AutoGen dumped them.

        Raises:
            LineageError: There is no such round or trial; the message says which there are.
        """
        messages = messages_of(
            self.store, self.campaign.name, round_number=self.round_number, trial=self.trial
        )
        return [message.payload for message in messages]

    def show(self, console: Console) -> None:
        """Prints the transcript as text.

        Raises:
            LineageError: There is no such round or trial; the message says which there are.
        """
        blocks = blocks_of(
            self.store, self.campaign, round_number=self.round_number, trial=self.trial
        )
        show(blocks, console)

    def write(self, path: Path, kind: Format) -> None:
        """Writes the transcript to a file, over what is there.

        Raises:
            LineageError: There is no such round or trial; the message says which there are.
        """
        with path.open("w", encoding="utf-8", newline="\n") as file:
            if kind is Format.TEXT:
                self.show(Console(file=file, width=TEXT_WIDTH, highlight=False))
            else:
                file.writelines(self.pieces(kind))


def format_of(name: str | None, path: Path | None) -> Format | None:
    """The format of a name, else of a file's ending; ``None`` if neither is given.

    Raises:
        RecipelabError: There is no such format, or the ending tells of none.
    """
    if name is not None:
        if name not in list(Format):
            raise RecipelabError(unknown_name("format", name, Format))
        return Format(name)
    if path is None:
        return None
    if path.suffix.lower() not in _ENDINGS:
        known = ", ".join(_ENDINGS)
        raise RecipelabError(
            f"{path}: its ending tells of no format (known: {known}); "
            f"give --format: {', '.join(Format)}"
        )
    return _ENDINGS[path.suffix.lower()]
