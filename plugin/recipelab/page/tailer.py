"""Tells browsers what has changed: one look at lineage and live folder serves all of them.

A look costs a lookup: SQLite counts the commits of others (``PRAGMA data_version``), PostgreSQL is
asked for its newest rows, and the files of phases that run for their sizes. Only where something is
new is it read and sent.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from recipelab.core.errors import RecipelabError
from recipelab.core.logs import logger
from recipelab.evaluation.live import PHASE
from recipelab.lineage.columns import CampaignWatch
from recipelab.page.data import now_data
from recipelab.page.shown import page_json
from recipelab.page.source import PageCampaign, PageLineage

T = TypeVar("T")

LOOK_SECONDS = 0.2
"""Time between two looks."""

EVENT_SECONDS = 0.5
"""Time between two events at least; logs that grow alone are told half as often."""

HEARTBEAT_SECONDS = 15.0
"""After so long a silence a comment is sent, so that nothing between takes the line for dead."""

InThread = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs a function that reads files in a thread."""

_log = logger(__name__)


class Tailer:
    """Follows one campaign for all browsers that look at it.

    It looks as long as somebody listens.

    Args:
        lineage: The lineage.
        name: Name of the campaign.
        in_thread: Runs what reads.
    """

    def __init__(self, lineage: PageLineage, name: str, in_thread: InThread) -> None:
        self._lineage = lineage
        self._name = name
        self._in_thread = in_thread
        self._listeners: set[asyncio.Event] = set()
        self._newest = ""
        self._number = 0
        self._task: asyncio.Task[None] | None = None
        self._look = _Look()
        self._closed = False

    def close(self) -> None:
        """End the streams of all listeners."""
        self._closed = True
        for listener in self._listeners:
            listener.set()

    async def events(self) -> AsyncIterator[str]:
        """Yield events as they are sent: the state of now first, then each change.

        A listener that is slow gets the newest state, and none of those in between.
        """
        woken = asyncio.Event()
        self._listeners.add(woken)
        seen = -1
        if self._closed:
            return
        if self._task is None or self._task.done():
            self._newest, self._look = "", _Look()
            self._task = asyncio.create_task(self._follow())
        try:
            while not self._closed:
                if self._newest and seen != self._number:
                    seen = self._number
                    woken.clear()
                    yield self._newest
                    continue
                woken.clear()
                try:
                    await asyncio.wait_for(woken.wait(), HEARTBEAT_SECONDS)
                except TimeoutError:
                    yield ": still here\n\n"
        finally:
            self._listeners.discard(woken)
            if not self._listeners and self._task is not None:
                self._task.cancel()
                self._task = None

    async def _follow(self) -> None:
        try:
            while True:
                began = time.monotonic()
                event = await self._in_thread(self._event)
                if event is not None and (event != self._newest or self._look.committed):
                    self._newest = event
                    self._number += 1
                    for listener in self._listeners:
                        listener.set()
                await asyncio.sleep(max(0.0, LOOK_SECONDS - (time.monotonic() - began)))
        finally:
            self._look.close()

    def _event(self) -> str | None:
        """Return what is to be told; ``None`` where nothing is new."""
        try:
            campaign = self._lineage.campaign(self._name)
            if not self._look.is_due(campaign):
                return None
            return _sent("changed", change_data(campaign))
        except (RecipelabError, OSError) as error:
            self._look.close()
            return _sent("trouble", {"error": str(error)})
        except Exception:
            # A fault of this program may not silence the page for ever.
            _log.exception("cannot tell the page of a change", campaign=self._name)
            return None


def _sent(event: str, value: Any) -> str:
    # JSON has no line end of its own, so that it is one line of the stream.
    return f"event: {event}\ndata: {page_json(value)}\n\n"


def change_data(campaign: PageCampaign) -> dict[str, Any]:
    """Return how far a campaign has come, and what goes on in it."""
    reader = campaign.data.reader
    with reader.store.moment():
        now = now_data(reader)
        return {
            "trials": str(reader.store.change_mark(reader.name)),
            "messages": reader.store.message_count(reader.name),
            "state": now["state"],
            "now": now,
        }


class _Look:
    """Knows what was there at the last look, and whether it is time to tell what is new.

    Attributes:
        committed: Whether something was committed to the lineage between what was told last and
            what was told before.
    """

    def __init__(self) -> None:
        self._watch: CampaignWatch | None = None
        self._campaign: PageCampaign | None = None
        self._files: dict[str, tuple[int, int]] = {}
        self._alive: bool | None = None
        self._told = 0.0
        self.committed = self._committed = False
        self._is_new = self._has_grown = False

    def is_due(self, campaign: PageCampaign) -> bool:
        """Return whether something is new, and not told too soon after the last."""
        reader = campaign.data.reader
        if self._watch is None or self._campaign is not campaign:
            self.close()
            self._watch, self._campaign = reader.store.watch(reader.name), campaign
            self._is_new = True
        if self._watch.changed():
            self._is_new = self._committed = True
        files, alive = _live_files(reader.home.live(reader.name)), reader.is_running
        self._is_new |= alive != self._alive or files.keys() != self._files.keys()
        # What the team does is news; a log that has grown can wait.
        self._is_new |= any(
            files[name] != self._files.get(name) for name in files if not name.endswith(PHASE)
        )
        self._has_grown |= files != self._files
        self._files, self._alive = files, alive
        waited = time.monotonic() - self._told
        due = waited >= EVENT_SECONDS and self._is_new
        due |= waited >= 2 * EVENT_SECONDS and self._has_grown
        if due:
            # A note changes nothing that an event tells, and whoever hears of one asks for it.
            self.committed, self._committed = self._committed, False
            self._told, self._is_new, self._has_grown = time.monotonic(), False, False
        return due

    def close(self) -> None:
        """Forget the lineage, as it has gone."""
        if self._watch is not None:
            with suppress(Exception):
                self._watch.close()
        self._watch = self._campaign = None


def _live_files(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of the files that tell what goes on, by name."""
    found = {}
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                facts = entry.stat()
                found[entry.name] = (facts.st_size, facts.st_mtime_ns)
    return found
