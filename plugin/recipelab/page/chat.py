"""The group chat as the page shows it, and which part of it led to which trial."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from recipelab.core.errors import LineageError
from recipelab.lineage import LineageStore, MessageRecord, TurnRecord
from recipelab.page.shown import shortened
from recipelab.report.transcript.turns import submitted, text_of, trials_of

MOST_MESSAGES = 500
"""Messages in one answer at most."""

TEXT_CHARACTERS = 20_000
"""Characters of a message's text that are shown."""

PART_CHARACTERS = 4_000
"""Characters of one argument, or one answer of a tool, that are shown."""

TURN_MESSAGES = 200
"""Messages before a submission among which its turn is looked for."""

_SMALL = ("name", "arguments", "content", "is_error")


def chat_data(store: LineageStore, campaign: str, first: int, count: int) -> dict[str, Any]:
    """Return some messages of the chat.

    Args:
        store: The lineage.
        campaign: Name of the campaign.
        first: Position of the first one.
        count: How many, at most :data:`MOST_MESSAGES`.
    """
    count = min(max(count, 0), MOST_MESSAGES)
    found = store.some_messages(campaign, after=first - 1, limit=count)
    return {
        "from": first,
        "total": store.message_count(campaign),
        "messages": [message_data(message) for message in found],
    }


def message_data(message: MessageRecord, part: int = PART_CHARACTERS) -> dict[str, Any]:
    """Return a message of the chat.

    Args:
        message: The message.
        part: Characters of one argument, or of an answer of a tool, that are kept.
    """
    content = message.payload.get("content")
    is_text = isinstance(content, str)
    items = [] if is_text or not isinstance(content, list) else content
    usage = message.payload.get("models_usage")
    return {
        "position": message.position,
        "round": message.round,
        "trial": message.trial,
        "trials": trials_of(message),
        "source": message.source,
        "type": message.type,
        "created_at": message.created_at,
        "text": shortened(text_of(message), TEXT_CHARACTERS) if is_text else "",
        "payload": {
            "calls": [_call(item, part) for item in items if isinstance(item, Mapping)],
            "usage": usage if isinstance(usage, Mapping) else None,
        },
    }


def _call(item: Mapping[str, Any], part: int) -> dict[str, Any]:
    """Return a call of a tool, or its answer, without what is long."""
    found: dict[str, Any] = {"id": item.get("call_id") or item.get("id")}
    for key in _SMALL:
        if key in item:
            value = item[key]
            found[key] = shortened(value, part) if isinstance(value, str) else value
    return found


def view_data(store: LineageStore, campaign: str, digest: str) -> dict[str, Any]:
    """Return what a specialist was shown when its turn began.

    Args:
        store: The lineage.
        campaign: Name of the campaign.
        digest: SHA-256 of the text.

    Raises:
        LineageError: No turn of the campaign has shown it.
    """
    first = next((one.first_used_at for one in store.views(campaign) if one.hash == digest), None)
    if first is None:
        raise LineageError(f"no turn of {campaign} has shown a view with the SHA-256 {digest!r}")
    return shown_view(digest, first, store.view_text(digest))


def shown_view(digest: str, first: datetime, text: str) -> dict[str, Any]:
    """Return a view as the page shows it."""
    return {"hash": digest, "first_used_at": first, "text": text}


def turn_positions(store: LineageStore, campaign: str, trial: int) -> list[int]:
    """Return the positions of the messages of the turn that led to a trial, in order.

    A lineage of before the turns were kept is asked for the messages themselves: the turn ends with
    the answer of the tool that submitted the trial, and begins behind the last thing that its
    specialist said in the chat before.
    """
    turn = store.turn_of(campaign, trial)
    if turn is not None:
        return list(store.turn_messages(campaign, turn.number))
    for message in store.messages(campaign, trial=trial):
        if trial in submitted(message):
            before = store.messages_before(
                campaign, message.source, message.position, limit=TURN_MESSAGES
            )
            return _turn([*before, (message.position, message.type)])
    return []


def _turn(heads: Sequence[tuple[int, str]]) -> list[int]:
    found: list[int] = []
    for position, kind in heads:
        found.append(position)
        if not kind.endswith("Event"):
            found = []
    return found


class TurnIndex:
    """Puts the messages of a whole chat together to turns, for all trials at once.

    Args:
        turns: The turns that the lineage knows.
    """

    def __init__(self, turns: Sequence[TurnRecord] = ()) -> None:
        self.turns = {trial: turn for turn in turns for trial in turn.trials}
        self._said: dict[str, list[int]] = {}
        self._open: dict[str, list[int]] = {}
        self._submitted: dict[int, list[int]] = {}

    def add(self, message: MessageRecord) -> None:
        """Add the next message of the chat."""
        self._said.setdefault(message.source, []).append(message.position)
        turn = self._open.setdefault(message.source, [])
        turn.append(message.position)
        for trial in submitted(message):
            self._submitted.setdefault(trial, list(turn))
        if not message.type.endswith("Event"):
            del self._open[message.source]

    def positions(self, trial: int) -> list[int]:
        """Return the positions of the messages of the turn that led to a trial, in order."""
        turn = self.turns.get(trial)
        if turn is None:
            return self._submitted.get(trial, [])
        if turn.first_message is None or turn.last_message is None:
            return []
        said = self._said.get(turn.specialist, [])
        low, high = bisect_left(said, turn.first_message), bisect_right(said, turn.last_message)
        return said[low:high]
