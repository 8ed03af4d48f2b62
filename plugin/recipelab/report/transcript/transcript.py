"""The transcript of a campaign, of a round or of a trial, in any of its formats."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console

from recipelab.core.errors import RecipelabError, unknown_name
from recipelab.lineage import CampaignRecord, LineageStore, MessageRecord
from recipelab.lineage.campaigns import heading_of
from recipelab.report.transcript.markdown import document, heading, joined, paragraph, quiet, strong
from recipelab.report.transcript.rendering import html_page, plain_text, show_review
from recipelab.report.transcript.review import Review
from recipelab.report.transcript.turns import TranscriptTurn, jsonl, reported, turns_of

_CHAT = "TextMessage"
"""The class of the messages in which the evaluator reports."""


class TranscriptFormat(StrEnum):
    """How a transcript is written."""

    TEXT = "text"
    MARKDOWN = "markdown"
    HTML = "html"
    JSONL = "jsonl"


_ENDINGS = {
    ".txt": TranscriptFormat.TEXT,
    ".md": TranscriptFormat.MARKDOWN,
    ".html": TranscriptFormat.HTML,
    ".htm": TranscriptFormat.HTML,
    ".jsonl": TranscriptFormat.JSONL,
}


@dataclass(frozen=True)
class Transcript:
    """The group chat of a campaign, or of a part of it.

    Everything is given piece by piece, and one round is in memory at a time, so a campaign may be
    longer than memory. Each method raises :class:`LineageError` if the round or the trial does not
    exist; the message says which there are.

    Attributes:
        store: The lineage.
        campaign: The campaign.
        round_number: Only this round; ``None`` for all.
        trial: Only the turns about this trial; ``None`` for all.
        views: Whether the review tells what each turn was shown when it began.
    """

    store: LineageStore
    campaign: CampaignRecord
    round_number: int | None = None
    trial: int | None = None
    views: bool = False

    def pieces(self, kind: TranscriptFormat) -> Iterator[str]:
        """Return the transcript in pieces, to be joined as they are."""
        match kind:
            case TranscriptFormat.JSONL:
                return jsonl(self.messages())
            case TranscriptFormat.HTML:
                return html_page(self.review(), f"Transcript of campaign {self.campaign.name}")
            case TranscriptFormat.TEXT:
                return plain_text(self.review())
            case TranscriptFormat.MARKDOWN:
                return document(self.review())

    def show(self, console: Console) -> None:
        """Print the transcript on a terminal."""
        show_review(self.review(), console)

    def write(self, path: Path, kind: TranscriptFormat) -> None:
        """Write the transcript to a file, over what is there."""
        with path.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(self.pieces(kind))

    def payloads(self) -> Iterator[dict[str, Any]]:
        """Return the messages as AutoGen dumped them, one after the other."""
        return (message.payload for message in self.messages())

    def messages(self) -> Iterator[MessageRecord]:
        """Return the messages, one after the other."""
        name = self.campaign.name
        if self.trial is not None:
            places = {place for turn in self._trial_turns(self.trial) for place in turn.positions}
            return self._messages_at(places)
        if self.round_number is not None:
            return iter(self.store.messages(name, round_number=self.round_number))
        return self.store.each_message(name)

    def review(self) -> Iterator[str]:
        """Yield the review as chunks of Markdown: a heading, a turn."""
        review = Review.of(self.store, self.campaign, views=self.views)
        name = self.campaign.name
        checkpoints = self.store.checkpoints(name)
        title = heading(1, f"Transcript of campaign {name}")
        if warning := heading_of(self.campaign):
            title = joined((title, paragraph(strong(warning))))
        if self.trial is not None:
            turns = self._trial_turns(self.trial)
            yield title
            yield from review.turns(turns)
            if not any(self.trial in (*turn.submitted, *turn.reported) for turn in turns):
                yield paragraph(quiet("No message of the group chat is about this trial."))
                yield from review.outcomes([self.trial])
            own = [one for one in checkpoints if self.trial in (one.found.trial, one.found.against)]
            yield from review.checkpoints(own)
        elif self.round_number is not None:
            messages = self.store.messages(name, round_number=self.round_number)
            yield title
            yield from review.round(self.round_number, turns_of(messages))
        else:
            yield title
            rounds = groupby(self.store.each_message(name), lambda message: message.round)
            for number, some in rounds:
                yield from review.round(number, turns_of(some))
            yield from review.checkpoints(checkpoints)

    def _trial_turns(self, number: int) -> list[TranscriptTurn]:
        """Return the turn in which a trial was submitted, and the one that reports its end."""
        record = self.store.trial(self.campaign.name, number)
        if record.round is None:
            return []
        messages = self.store.messages(self.campaign.name, round_number=record.round)
        turns = turns_of(messages)
        found = [turn for turn in turns if number in (*turn.submitted, *turn.reported)]
        if found and not any(number in turn.reported for turn in found):
            # It ended in a later round than the one it was submitted in.
            after = turns[-1].positions[-1]
            later = self.store.each_message(self.campaign.name, after=after, type=_CHAT)
            report = next((message for message in later if number in reported(message)), None)
            found += turns_of([report]) if report else []
        return found

    def _messages_at(self, places: set[int]) -> Iterator[MessageRecord]:
        if not places:
            return
        last = max(places)
        for message in self.store.each_message(self.campaign.name, after=min(places) - 1):
            if message.position in places:
                yield message
            if message.position >= last:
                return


def format_of(name: str | None, path: Path | None) -> TranscriptFormat | None:
    """Return the format of a name, else of a file's ending; ``None`` if neither is given.

    Raises:
        RecipelabError: No format has that name or that ending.
    """
    if name is not None:
        if name not in list(TranscriptFormat):
            raise RecipelabError(unknown_name("format", name, TranscriptFormat))
        return TranscriptFormat(name)
    if path is None:
        return None
    if path.suffix.lower() not in _ENDINGS:
        known = ", ".join(_ENDINGS)
        raise RecipelabError(
            f"{path}: no format has this ending (known: {known}); "
            f"give --format: {', '.join(TranscriptFormat)}"
        )
    return _ENDINGS[path.suffix.lower()]
