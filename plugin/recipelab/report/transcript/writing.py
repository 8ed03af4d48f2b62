"""Which part of a campaign is told: all of it, a round, or a trial."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from rich.console import Console

from recipelab.core.errors import RecipelabError, unknown_name
from recipelab.lineage import CampaignRecord, LineageStore, MessageRecord
from recipelab.report.transcript.formats import Block, heading, line, markdown, page, quiet, show
from recipelab.report.transcript.review import (
    Reviewer,
    TranscriptTurn,
    jsonl,
    reported,
    rounds_of,
    turns_of,
)

_CHAT = "TextMessage"
"""The class of the messages in which the evaluator's seat reports."""


def messages_of(
    store: LineageStore, campaign: str, *, round_number: int | None, trial: int | None
) -> Iterator[MessageRecord]:
    """The messages of a campaign, of one round, or of the turns that tell of one trial.

    Raises:
        LineageError: There is no such round or trial; the message says which there are.
    """
    if trial is not None:
        turns = trial_turns(store, campaign, trial)
        places = sorted(place for turn in turns for place in turn.positions)
        return _at(store, campaign, places)
    if round_number is not None:
        return iter(store.messages(campaign, round_number=round_number))
    return store.each_message(campaign)


def blocks_of(
    store: LineageStore, campaign: CampaignRecord, *, round_number: int | None, trial: int | None
) -> Iterator[Block]:
    """The review of a campaign, of one round, or of one trial; one round is in memory at once.

    Raises:
        LineageError: There is no such round or trial; the message says which there are.
    """
    reviewer = Reviewer.of(store, campaign)
    title = heading(1, f"Transcript of campaign {campaign.name}")
    if trial is not None:
        turns = trial_turns(store, campaign.name, trial)
        yield title
        yield from reviewer.turns(turns)
        if not any(trial in (*turn.submitted, *turn.reported) for turn in turns):
            yield line(quiet("No message of the group chat tells of this trial."))
            yield from reviewer.outcomes([trial])
    elif round_number is not None:
        messages = store.messages(campaign.name, round_number=round_number)
        yield title
        yield from reviewer.round(round_number, turns_of(messages))
    else:
        yield title
        for number, turns in rounds_of(store, campaign.name):
            yield from reviewer.round(number, turns)


def trial_turns(store: LineageStore, campaign: str, number: int) -> list[TranscriptTurn]:
    """The turn in which a trial was submitted, and the one that reports its end.

    Raises:
        LineageError: There is no such trial; the message says which there are.
    """
    record = store.trial(campaign, number)
    if record.round is None:
        return []
    turns = turns_of(store.messages(campaign, round_number=record.round))
    found = [turn for turn in turns if number in (*turn.submitted, *turn.reported)]
    if found and not any(number in turn.reported for turn in found):
        found += _reported_later(store, campaign, number, after=turns[-1].positions[-1])
    return found


def _reported_later(
    store: LineageStore, campaign: str, number: int, *, after: int
) -> list[TranscriptTurn]:
    """The report of a trial that ended in a later round than the one it was submitted in."""
    for message in store.each_message(campaign, after=after, type=_CHAT):
        if number in reported(message):
            return turns_of([message])
    return []


def _at(store: LineageStore, campaign: str, places: list[int]) -> Iterator[MessageRecord]:
    """The messages at some places, in order."""
    wanted = set(places)
    if not places:
        return
    for message in store.each_message(campaign, after=places[0] - 1):
        if message.position in wanted:
            yield message
        if message.position >= places[-1]:
            return


TEXT_WIDTH = 100
"""Columns of plain text in a file."""


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

    def pieces(self, kind: TranscriptFormat) -> Iterator[str]:
        """The transcript in pieces, to be joined as they are; not for text.

        Raises:
            LineageError: There is no such round or trial; the message says which there are.
        """
        part = {"round_number": self.round_number, "trial": self.trial}
        if kind is TranscriptFormat.JSONL:
            return jsonl(messages_of(self.store, self.campaign.name, **part))
        blocks = blocks_of(self.store, self.campaign, **part)
        if kind is TranscriptFormat.HTML:
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

    def write(self, path: Path, kind: TranscriptFormat) -> None:
        """Writes the transcript to a file, over what is there.

        Raises:
            LineageError: There is no such round or trial; the message says which there are.
        """
        with path.open("w", encoding="utf-8", newline="\n") as file:
            if kind is TranscriptFormat.TEXT:
                self.show(Console(file=file, width=TEXT_WIDTH, highlight=False))
            else:
                file.writelines(self.pieces(kind))


def format_of(name: str | None, path: Path | None) -> TranscriptFormat | None:
    """The format of a name, else of a file's ending; ``None`` if neither is given.

    Raises:
        RecipelabError: There is no such format, or the ending tells of none.
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
            f"{path}: its ending tells of no format (known: {known}); "
            f"give --format: {', '.join(TranscriptFormat)}"
        )
    return _ENDINGS[path.suffix.lower()]
