"""What a client may read by an address: trials, their diffs, what was shown, the transcript."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from recipelab.campaign.campaign import Campaign
from recipelab.core.errors import RecipelabError
from recipelab.mcp.sdk import INVALID, NotThere, Wire
from recipelab.report.transcript import TranscriptFormat
from recipelab.tools.rows import whole_row

SCHEME = "recipelab"

NEWEST = 20
"""Newest trials that have an address in the list; all others are read by the template."""

CHARACTERS = 200_000
"""Characters of a resource at most; a longer one is cut, and says so."""

_ADDRESS = re.compile(
    rf"{SCHEME}://(?P<campaign>[A-Za-z0-9._-]{{1,80}})/(?P<what>view|transcript"
    r"|transcript/round/(?P<round>[0-9]{1,9})"
    r"|trial/(?P<trial>[0-9]{1,9})(?P<part>/diff|/patch|/view|/transcript)?)"
)
"""Every address that there is: a path out of it is none."""

JSON, MARKDOWN, DIFF = "application/json", "text/markdown", "text/x-diff"

_PARTS = {
    "": ("All that came of a trial: figures, gates, failure, log.", JSON),
    "/diff": ("What a trial changed against its parent.", DIFF),
    "/patch": ("What a trial's recipe changes against the baseline.", DIFF),
    "/view": ("What its proposer was shown before it proposed.", MARKDOWN),
    "/transcript": ("The turn that proposed a trial, and the report on it.", MARKDOWN),
}


class Resources:
    """The resources of a campaign.

    Args:
        campaign: The campaign.
        view: Returns what a session would be shown; ``None`` where that cannot be had.
        conceal: Takes the paths of this machine out of a text.
    """

    def __init__(
        self,
        campaign: Campaign,
        view: Callable[[], str] | None,
        conceal: Callable[[str], str],
    ) -> None:
        self._campaign = campaign
        self._view = view
        self._conceal = conceal

    @property
    def _root(self) -> str:
        return f"{SCHEME}://{self._campaign.name}"

    def listed(self) -> list[Wire]:
        """Return the resources that have an address of their own."""
        found = []
        if self._view is not None:
            text = "What is known now: the best, what was tried, what runs."
            found.append(_resource(f"{self._root}/view", "view", text, MARKDOWN))
        text = "The campaign's transcript, the newest part of a long one."
        found.append(_resource(f"{self._root}/transcript", "transcript", text, MARKDOWN))
        for record in reversed(self._campaign.newest_trials(NEWEST)):
            words = str(record.status or "in flight")
            address = f"{self._root}/trial/{record.number}"
            found.append(_resource(address, f"trial {record.number}", words, JSON))
        return found

    def templates(self) -> list[Wire]:
        """Return how the addresses of all trials and rounds are made."""
        rows = [(f"trial/{{number}}{part}", *told) for part, told in _PARTS.items()]
        rows.append(("transcript/round/{number}", "The transcript of a round.", MARKDOWN))
        return [
            {
                "uriTemplate": f"{self._root}/{address}",
                "name": address.replace("/{number}", "").replace("/", " "),
                "description": text,
                "mimeType": kind,
            }
            for address, text, kind in rows
        ]

    def read(self, address: str) -> Wire:
        """Return what is in a resource.

        Raises:
            NotThere: There is none at that address; the message says which there are.
        """
        found = _ADDRESS.fullmatch(address)
        if found is None or found["campaign"] != self._campaign.name:
            valid = [one["uriTemplate"] for one in self.templates()]
            raise NotThere(
                f"no such resource; valid: {self._root}/view, {self._root}/transcript, "
                f"{', '.join(valid)}"
            )
        try:
            text, kind = self._text(found)
        except NotThere:
            raise
        except RecipelabError as error:
            raise NotThere(self._conceal(str(error))) from None
        return {"contents": [{"uri": address, "mimeType": kind, "text": text}]}

    def _text(self, found: re.Match[str]) -> tuple[str, str]:
        campaign = self._campaign
        if found["what"] == "view":
            if self._view is None:
                raise NotThere("the view needs the campaign's pack, which is not here", INVALID)
            return self._conceal(self._view()), MARKDOWN
        if found["trial"] is None:
            number = None if found["round"] is None else int(found["round"])
            said = campaign.transcript(round_number=number).pieces(TranscriptFormat.MARKDOWN)
            return self._conceal(_end(said)), MARKDOWN
        trial, part = int(found["trial"]), found["part"] or ""
        kind = _PARTS[part][1]
        record = campaign.trial(trial)
        match part:
            case "/diff":
                return _cut(record.diff), kind  # Exact, as edits are made of it.
            case "/patch":
                return _cut(campaign.patch(trial)), kind
            case "/view":
                return self._conceal(campaign.seen(trial)), kind
            case "/transcript":
                said = campaign.transcript(trial=trial).pieces(TranscriptFormat.MARKDOWN)
                return self._conceal(_end(said)), kind
            case _:
                row = whole_row(campaign.store, campaign.name, record)
                text = json.dumps(row, ensure_ascii=False, indent=1, default=str)
                return self._conceal(text), kind


def _resource(address: str, name: str, description: str, kind: str) -> dict[str, Any]:
    return {"uri": address, "name": name, "description": description, "mimeType": kind}


def _cut(text: str) -> str:
    if len(text) <= CHARACTERS:
        return text
    return f"{text[:CHARACTERS]}\n... {len(text) - CHARACTERS:,} characters more"


def _end(pieces: Iterable[str]) -> str:
    """Return the end of a long text, as the newest is there."""
    text = "".join(pieces)
    if len(text) <= CHARACTERS:
        return text
    return f"... {len(text) - CHARACTERS:,} characters before\n{text[-CHARACTERS:]}"
