"""The lineage behind a server: opened when it is asked for, and anew when it was away."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

from recipelab.campaign.planning import open_lineage
from recipelab.campaign.steering import CampaignSteering
from recipelab.core.content import Home
from recipelab.core.errors import LineageError, RecipelabError
from recipelab.lineage import LineageStore
from recipelab.lineage.opening import sqlite_file
from recipelab.page.chat import turn_positions
from recipelab.page.data import CampaignData
from recipelab.page.detail import LiveAround


class Unavailable(RecipelabError):
    """The lineage cannot be read for now: it is gone, locked or out of reach."""


class PageCampaign:
    """A campaign that the server shows, and lets people steer.

    Args:
        steering: The campaign.

    Attributes:
        steering: The campaign.
        data: Reads it for the page.
        around: Looks up what stands around its trials.
    """

    def __init__(self, steering: CampaignSteering) -> None:
        self.steering = steering
        self.data = CampaignData(steering)
        store, name = steering.store, steering.name
        self.around = LiveAround(store, name, lambda number: turn_positions(store, name, number))


class PageLineage:
    """Opens a lineage, and opens it anew where its file was replaced or the server was away.

    Threads may share it.

    Args:
        home: Folder of the campaigns' papers.
        target: Path or URL of the lineage; ``None`` for that of the home.
    """

    def __init__(self, home: Home, target: str | Path | None = None) -> None:
        self.home = home
        self._target = target
        self._file = sqlite_file(home.lineage if target is None else target)
        self._lock = threading.Lock()
        self._store: LineageStore | None = None
        self._identity: tuple[int, int] | None = None
        self._campaigns: dict[str, PageCampaign] = {}

    def store(self) -> LineageStore:
        """Return the open lineage.

        Raises:
            Unavailable: It is gone, or cannot be opened.
        """
        with self._lock:
            try:
                identity = self._identity_now()
                if self._store is None or identity != self._identity:
                    self._forget()
                    self._store = open_lineage(self.home, self._target, create=False)
                    self._identity = identity
            except (RecipelabError, OSError) as error:
                self._forget()
                raise Unavailable(str(error)) from error
            return self._store

    def _identity_now(self) -> tuple[int, int] | None:
        """Return what tells the file from another that takes its place."""
        if self._file is None:
            return None
        try:
            facts = os.stat(self._file)
        except OSError as error:
            raise Unavailable(f"no lineage at {self._file}: {error.strerror}") from None
        return facts.st_dev, facts.st_ino

    def _forget(self) -> None:
        self._campaigns = {}
        if self._store is not None:
            with suppress(Exception):
                self._store.close()
        self._store = None

    def campaign(self, name: str) -> PageCampaign:
        """Return a campaign.

        Raises:
            LineageError: There is none of that name; the message lists those there are.
            Unavailable: The lineage cannot be read.
        """
        store = self.store()
        with self._lock:
            known = self._campaigns.get(name)
        if known is not None:
            return known
        try:
            record = store.campaign(name)
        except LineageError as error:
            raise as_unavailable(error) from error.__cause__
        found = PageCampaign(CampaignSteering(store, record.name, home=self.home))
        with self._lock:
            return self._campaigns.setdefault(name, found) if store is self._store else found

    def close(self) -> None:
        """Close the lineage."""
        with self._lock:
            self._forget()


def as_unavailable(error: RecipelabError) -> RecipelabError:
    """Return an error of the database as :class:`Unavailable`, and any other as it is."""
    # What the caller asked wrongly has no cause below it.
    is_outage = isinstance(error, LineageError) and error.__cause__ is not None
    return Unavailable(str(error)) if is_outage else error
