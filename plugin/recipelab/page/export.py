"""A campaign as one HTML file that opens anywhere, offline: a report, or a replay of it.

The file holds the page's program and style, which its own security policy names by their hashes,
and the data as text that no browser runs. Large parts are compressed and are unpacked when they are
first looked at, so that a file of 10,000 trials opens at once.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import sys
import webbrowser
from base64 import b64encode
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

from recipelab.core.errors import RecipelabError
from recipelab.core.recipe import Recipe
from recipelab.core.text import plain
from recipelab.core.trial import SeedRun, Status
from recipelab.lineage import TrialRecord
from recipelab.lineage.columns import Fix
from recipelab.lineage.values import cut_front
from recipelab.page.chat import TurnIndex, message_data, shown_view
from recipelab.page.data import CampaignData, campaign_row
from recipelab.page.detail import Around, beside_runs, mended, trial_data
from recipelab.page.shown import in_script, page_json

DETAIL_TRIALS = 100
"""Trials in a chunk of the data."""

CHAT_MESSAGES = 200
"""Messages in a chunk of the data, by their positions."""

SHARD_VIEWS = 50
"""Views in a chunk of the data."""

MOST_DIFFS = 1_000
"""Trials up to which each has its diff from the start and the curve of each seed run; beyond, kept
ones alone have the diff, and all the mean of their curves."""

DIGITS = 7
"""Significant digits of what seed runs measured."""

MOST_MESSAGES = 30_000
"""Messages up to which all are in the file; beyond, only what was said, and what is about trials.
"""

LOG_CHARACTERS = 8_000_000
"""Characters of logs in the file in all, shared by the trials."""

LEAST_LOG = 400
"""Characters of a trial's log that are kept at least."""

ANSWER_CHARACTERS = 1_500
"""Characters of a tool's answer that are kept."""

BESIDE_RUNS = 8
"""Seed runs of the recipe that a trial was compared with that are kept."""

COMPRESSION = 6
_THREADS = 2
_AHEAD = 4
"""Chunks that wait to be written while others are compressed."""


class Mode(StrEnum):
    """How the page shows the data of a file."""

    REPORT = "report"
    """As it is."""
    REPLAY = "replay"
    """As it was, from its first trial on, at any speed."""


@dataclass(frozen=True)
class Bundle:
    """The program and the style of the page.

    Attributes:
        script: The program.
        style: The style sheet.
    """

    script: str
    style: str

    @classmethod
    def load(cls) -> Bundle:
        """Return the bundle that the package carries.

        Raises:
            RecipelabError: The package was made without it.
        """
        folder = files("recipelab.page") / "static"
        try:
            script, style = (
                (folder / name).read_text(encoding="utf-8") for name in ("page.js", "page.css")
            )
        except OSError:
            raise RecipelabError(
                "this recipelab has no built page (recipelab/page/static): install a released "
                "wheel, or build it: make page"
            ) from None
        # Neither may end the element that it stands in; within both languages these are the same.
        return cls(script.replace("</script", "<\\/script"), style.replace("</style", "<\\/style"))

    @property
    def policy(self) -> str:
        """The content security policy of a file: this program and this style, and nothing else."""
        script, style = (
            b64encode(hashlib.sha256(text.encode()).digest()).decode()
            for text in (self.script, self.style)
        )
        return (
            f"default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; "
            "img-src data: blob:; base-uri 'none'; form-action 'none'"
        )


_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>"""
_BODY = """</style>
</head>
<body>
<div id="app"></div>
<noscript>This page needs JavaScript: it shows data that lies compressed within it.</noscript>
<script id="recipelab-data" type="application/json">"""
_DATA_END = "</script>\n<script>"
_END = "</script>\n</body>\n</html>\n"


def write_page(
    path: Path, campaigns: Sequence[CampaignData], mode: Mode, *, bundle: Bundle | None = None
) -> None:
    """Write campaigns as one HTML file.

    Args:
        path: The file.
        campaigns: The campaigns; the first one is shown first.
        mode: How the page shows them.
        bundle: The page's program and style; ``None`` for those of the package.

    Raises:
        RecipelabError: The package was made without the page.
        OSError: The file cannot be written.
    """
    bundle = bundle or Bundle.load()
    names = ", ".join(data.name for data in campaigns)
    title = escape(plain(f"{names}: recipelab {mode}"))
    with path.open("w", encoding="utf-8", newline="\n") as out:
        out.write(_HEAD.format(policy=escape(bundle.policy), title=title))
        out.write(bundle.style)
        out.write(_BODY)
        _write_data(out, campaigns, mode)
        out.write(_DATA_END)
        out.write(bundle.script)
        out.write(_END)


def _write_data(out: IO[str], campaigns: Sequence[CampaignData], mode: Mode) -> None:
    """Write the data as JSON in which no tag can begin."""
    out.write(f'{{"mode": "{mode}", "chunks": {{')
    before = ""
    for name, text in _packed_chunks(campaigns):
        out.write(f"{before}{in_script(json.dumps(name))}: {text}")
        before = ",\n"
    out.write("}}")


def _packed_chunks(campaigns: Sequence[CampaignData]) -> Iterator[tuple[str, str]]:
    """Yield the chunks by name: small ones as JSON, large ones compressed, as JSON strings."""
    rows = [campaign_row(data.store, data.reader.home, data.reader.record) for data in campaigns]
    yield "campaigns", in_script(page_json(rows))
    # Compression leaves the interpreter free for the trials that follow.
    with ThreadPoolExecutor(_THREADS) as pool:
        waiting: list[tuple[str, Future[str]]] = []
        for data in campaigns:
            for name, value in CampaignChunks(data).chunks():
                waiting.append((name, pool.submit(_packed, value)))
                while len(waiting) > _AHEAD:
                    key, packed = waiting.pop(0)
                    yield key, packed.result()
        yield from ((key, packed.result()) for key, packed in waiting)


def _packed(value: Any) -> str:
    content = page_json(value).encode()
    return f'"{b64encode(gzip.compress(content, COMPRESSION, mtime=0)).decode()}"'


class CampaignChunks:
    """Cuts the data of a campaign into chunks; each part of the lineage is read once.

    Args:
        data: The campaign.
    """

    def __init__(self, data: CampaignData) -> None:
        self._data = data
        self._store = data.store
        self._name = data.name
        self._turns = TurnIndex(self._store.turns(self._name))
        self._shards: list[list[str]] = []
        self._beside: dict[int, tuple[SeedRun, ...]] = {}

    def chunks(self) -> Iterator[tuple[str, Any]]:
        """Yield name and value of each chunk."""
        trials = self._data.trials()
        yield f"trials:{self._name}", trials
        # The chat first: it tells which messages led to which trial.
        for place, messages in self._chat():
            yield f"chat:{self._name}:{place}", messages
        yield from self._shown_views()
        yield from self._details(len(trials["columns"]["number"]))
        yield f"campaign:{self._name}", self._data.campaign() | {"views": self._shards}

    def _shown_views(self) -> Iterator[tuple[str, Any]]:
        """Yield what specialists were shown, as far as a trial came of it."""
        wanted = {turn.view for turn in self._turns.turns.values()}
        chunk: list[dict[str, Any]] = []
        for record, text in self._store.each_view(self._name):
            if record.hash not in wanted:
                continue
            chunk.append(shown_view(record.hash, record.first_used_at, text))
            if len(chunk) == SHARD_VIEWS:
                yield self._shard(chunk)
                chunk = []
        if chunk:
            yield self._shard(chunk)

    def _shard(self, views: list[dict[str, Any]]) -> tuple[str, Any]:
        self._shards.append([view["hash"] for view in views])
        return f"view:{self._name}:{len(self._shards) - 1}", views

    def _chat(self) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        total = self._store.message_count(self._name)
        spoken = total > MOST_MESSAGES
        place, chunk = 0, list[dict[str, Any]]()
        for message in self._store.each_message(self._name, spoken=spoken):
            if message.position // CHAT_MESSAGES != place:
                if chunk:
                    yield place, chunk
                place, chunk = message.position // CHAT_MESSAGES, []
            self._turns.add(message)
            chunk.append(message_data(message, ANSWER_CHARACTERS))
        if chunk:
            yield place, chunk

    def _details(self, trials: int) -> Iterator[tuple[str, Any]]:
        log = max(LEAST_LOG, LOG_CHARACTERS // max(1, trials))
        fixes = self._store.fixes(self._name)
        start = self._store.files(self._name, 0) if trials else {}
        place, chunk = 0, list[dict[str, Any]]()
        for record in self._store.each_trial(self._name):
            if record.number // DETAIL_TRIALS != place:
                yield f"detail:{self._name}:{place}", chunk
                place, chunk = record.number // DETAIL_TRIALS, []
            whole = trials <= MOST_DIFFS or record.status is Status.KEPT
            around = self._around(record, fixes, start if whole else None)
            told = _with_short_log(record, log)
            chunk.append(trial_data(told, around, digits=DIGITS, every_curve=trials <= MOST_DIFFS))
        if chunk:
            yield f"detail:{self._name}:{place}", chunk

    def _around(
        self, record: TrialRecord, fixes: Sequence[Fix], start: dict[str, str] | None
    ) -> Around:
        failure = record.outcome.failure if record.outcome else None
        turn = self._turns.turns.get(record.number)
        fixed_by, mends = mended(fixes, record.number, failure)
        return Around(
            # The page knows these from the parents of all trials.
            children=None,
            siblings=None,
            fixed_by=fixed_by,
            fixes=mends,
            chat=self._turns.positions(record.number),
            view=None if turn is None else turn.view,
            diff_from_start=None if start is None else self._diff(record, start),
            beside_runs=self._compared_with(record)[:BESIDE_RUNS],
        )

    def _diff(self, record: TrialRecord, start: dict[str, str]) -> str | None:
        if record.parents == (0,):
            return record.diff
        files = self._store.files(self._name, record.number)
        return Recipe(start).diff(Recipe(files)) if files else None

    def _compared_with(self, record: TrialRecord) -> tuple[SeedRun, ...]:
        """Return the runs of the recipe that a trial was compared with, which many share."""
        evidence = record.outcome.evidence if record.outcome else None
        if evidence is None:
            return ()
        if evidence.against not in self._beside:
            self._beside[evidence.against] = beside_runs(self._store, self._name, record)
        return self._beside[evidence.against]


def _with_short_log(record: TrialRecord, characters: int) -> TrialRecord:
    outcome = record.outcome
    if outcome is None or len(outcome.log_tail) <= characters:
        return record
    return replace(
        record, outcome=replace(outcome, log_tail=cut_front(outcome.log_tail, characters))
    )


def open_in_browser(url: str) -> bool:
    """Open an address in a browser with a window; one that would take the terminal is left alone.

    Returns:
        Whether one was opened.
    """
    has_window = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform == "linux" and not has_window:
        return False
    return webbrowser.open(url)
