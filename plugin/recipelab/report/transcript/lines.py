"""Messages as JSON lines that AutoGen's ``MessageFactory`` reads back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from recipelab.lineage import MessageRecord
from recipelab.report.transcript.payloads import trials_of

ROUND, TRIAL, POSITION = "recipelab.round", "recipelab.trial", "recipelab.position"
"""Keys in a message's metadata that tie it to the campaign."""


def jsonl(messages: Iterable[MessageRecord]) -> Iterator[str]:
    """One line a message: AutoGen's own dump, with its ties in the metadata.

    AutoGen takes metadata of texts only, so numbers are written as such; of several trials they
    are parted by commas. Lines are plain ASCII: nothing in them can steer a terminal, and nothing
    that some reader takes for the end of a line stands within one.
    """
    for message in messages:
        yield json.dumps(tied(message)) + "\n"


def tied(message: MessageRecord) -> dict[str, Any]:
    """A message's dump with its round, trials and position in its metadata."""
    metadata = message.payload.get("metadata")
    kept = dict(metadata) if isinstance(metadata, Mapping) else {}
    ties = {
        ROUND: "" if message.round is None else str(message.round),
        TRIAL: ",".join(map(str, trials_of(message))),
        POSITION: str(message.position),
    }
    return message.payload | {"metadata": kept | {key: tie for key, tie in ties.items() if tie}}
