"""Sends a campaign to a tracker, from its lineage: at once, or in a thread as its trials end.

The lineage is the queue: a thread remembers the place up to which it has sent, and reads what was
judged since. So nothing piles up in memory while a tracker is down, nothing has to be handed over
by those who run trials, and what was missed can be sent at any later time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path

from recipelab.analysis.course import course_of
from recipelab.core.logs import logger
from recipelab.core.text import shorten
from recipelab.core.trial import Status
from recipelab.lineage import LineageStore
from recipelab.trackers.base import CampaignEnd, Tracker
from recipelab.trackers.facts import campaign_facts, progress_points, trial_facts

PAGE = 100
"""Trials that are looked up at once."""

PROGRESS_SECONDS = 20.0
"""How often the points of a running campaign are sent: all its trials are read for them."""

LOOK_SECONDS = 1.0
"""How often a thread looks for trials that were judged."""

RETRY_SECONDS = 20.0
"""How long a thread waits after a tracker has failed."""

_log = logger(__name__)


class Stopped(Exception):
    """Sending was asked to stop before all was sent."""


class Sender:
    """Sends a campaign's judged trials to a tracker, each once.

    An aborted trial is not sent: it may run again, and then it has an outcome.

    Args:
        store: The lineage.
        campaign: Name of the campaign.
        tracker: The tracker.
        may_stop: Asked before each trial whether to stop.

    Attributes:
        sent: How many trials this object has sent.
    """

    def __init__(
        self,
        store: LineageStore,
        campaign: str,
        tracker: Tracker,
        may_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._store = store
        self._campaign = campaign
        self._tracker = tracker
        self._may_stop = may_stop
        self._known: set[int] | None = None
        self._place = -1
        self._points = 0
        self._told = 0
        self._due = 0.0
        self.sent = 0

    def catch_up(self) -> int:
        """Send the trials that were judged since the last call, and how the best went on.

        Returns:
            How many trials were sent.

        Raises:
            Stopped: It was asked to stop.
            Exception: Whatever the tracker raises. The next call goes on where this one ended.
        """
        before = self.sent
        if (known := self._open()) is None:
            return 0
        place = self._place
        while page := self._store.judged_after(self._campaign, place, limit=PAGE):
            for place, number in page:
                if self._may_stop():
                    raise Stopped
                if number in known or self._send(number, known):
                    # The place of an aborted trial may be another's by the next call.
                    self._place = place
        if self.sent > self._told and time.monotonic() >= self._due:
            self._send_progress()
        return self.sent - before

    def _open(self) -> set[int] | None:
        """Return what the tracker has; ``None`` before the campaign is in the lineage."""
        if self._known is None:
            if self._campaign not in {record.name for record in self._store.campaigns()}:
                return None
            opened = self._tracker.open(campaign_facts(self._store.campaign(self._campaign)))
            self._known, self._points = set(opened.trials), opened.points
        return self._known

    def _send(self, number: int, known: set[int]) -> bool:
        """Send a trial; return whether it has an outcome that stays."""
        record = self._store.trial(self._campaign, number)
        if record.status is None or record.status is Status.ABORTED:
            return False
        self._tracker.trial(trial_facts(self._store, self._campaign, record))
        known.add(number)
        self.sent += 1
        return True

    def _send_progress(self) -> None:
        sent = self.sent
        course = course_of(self._store, self._campaign)
        began = self._store.campaign(self._campaign).created_at
        points = list(islice(progress_points(course, began), self._points, None))
        if points:
            self._tracker.progress(points, self._points)
            self._points += len(points)
        self._told, self._due = sent, time.monotonic() + PROGRESS_SECONDS

    def finish(self, papers: Mapping[str, Path]) -> None:
        """Send what is left, and how the campaign stands.

        Args:
            papers: Files that go with the campaign, by name.

        Raises:
            Stopped: It was asked to stop.
            Exception: Whatever the tracker raises.
        """
        self.catch_up()
        if self._known is None:
            return
        self._send_progress()
        record = self._store.campaign(self._campaign)
        kept = self._store.each_brief(self._campaign, (Status.KEPT,))
        standings = {brief.number: str(brief.standing) for brief in kept if brief.standing}
        self._tracker.end(CampaignEnd(record.state, record.stop_reason or "", standings, papers))


class Follower:
    """Sends a campaign that runs, in a thread of its own: no trial ever waits for a tracker.

    Args:
        spec: How a user named the tracker.
        store: The lineage.
        campaign: Name of the campaign.
        tracker: The tracker.
        warn: Called once, in the thread, with what a person should know of a tracker that fails.
        look_seconds: How often it looks for trials that were judged.
        retry_seconds: How long it waits after the tracker has failed.
    """

    def __init__(
        self,
        spec: str,
        store: LineageStore,
        campaign: str,
        tracker: Tracker,
        warn: Callable[[str], None],
        *,
        look_seconds: float = LOOK_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._spec = spec
        self._campaign = campaign
        self._store = store
        self._tracker = tracker
        self._warn = warn
        self._look_seconds = look_seconds
        self._retry_seconds = retry_seconds
        self._ending = threading.Event()
        self._left = threading.Event()
        self._papers: Mapping[str, Path] = {}
        self._is_done = False
        self._has_warned = False
        self._sender = Sender(store, campaign, tracker, self._left.is_set)
        self._thread = threading.Thread(
            target=self._follow, name=f"recipelab track {spec}", daemon=True
        )

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def end(self, papers: Mapping[str, Path], seconds: float) -> None:
        """Send what is left, for so many seconds at most, and leave the tracker alone then.

        Args:
            papers: Files that go with the campaign, by name.
            seconds: How long it may take.
        """
        self._papers = papers
        self._ending.set()
        self._thread.join(seconds)
        self._left.set()
        if not self._is_done:
            self._warn(
                f"{self._spec} has not got all of campaign {self._campaign}; send the rest with: "
                f"recipelab track {self._campaign} {self._spec}"
            )

    def _follow(self) -> None:
        try:
            while not self._left.is_set():
                is_last = self._ending.is_set()
                try:
                    if is_last:
                        self._sender.finish(self._papers)
                        self._is_done = True
                        return
                    self._sender.catch_up()
                except Stopped:
                    return
                except Exception as error:
                    self._failed(error)
                    if is_last:
                        return
                    self._ending.wait(self._retry_seconds)
                else:
                    self._ending.wait(self._look_seconds)
        finally:
            try:
                self._tracker.close()
            except Exception as error:
                _log.debug("a tracker could not be closed", tracker=self._spec, error=error)

    def _failed(self, error: Exception) -> None:
        _log.debug("a tracker failed", tracker=self._spec, error=error)
        if not self._has_warned and not self._left.is_set():
            self._has_warned = True
            self._warn(
                f"{self._spec} cannot be written now; the campaign goes on, and it is tried again: "
                f"{shorten(str(error) or type(error).__name__, 300)}"
            )
