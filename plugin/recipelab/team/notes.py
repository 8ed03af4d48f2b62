"""What a campaign tells people besides its trials: to a listener, and as messages of the stream.

These are ordinary text messages of the team, so that a console, AutoGen Studio, a saved state and
JSON take them, and a larger team needs to know no type of ours. :data:`NOTE` in their metadata sets
them apart. Specialists do not hear them.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from autogen_agentchat.messages import BaseAgentEvent, BaseChatMessage, TextMessage

from recipelab.core.logs import logger
from recipelab.core.trial import Phase
from recipelab.lineage import TrialRecord

NOTE = "note"
"""Key of the metadata of a message that a person should read; the value is its level."""

INFO, WARNING = "info", "warning"
"""The levels of notes: what is good to know, and what may cost somebody something."""

_log = logger(__name__)


class Listener:
    """Hears how a campaign goes on; this one logs warnings and ignores the rest."""

    def note(self, text: str) -> None:
        """Hear something that a person should know."""

    def warning(self, text: str) -> None:
        """Hear of something that may cost time, money or safety."""
        _log.warning(text)

    def phase(self, trial: int, phase: Phase, seed: int | None) -> None:
        """Hear that a phase of a trial begins."""

    def judged(self, record: TrialRecord) -> None:
        """Hear that a trial was judged."""

    def message(self, message: BaseAgentEvent | BaseChatMessage) -> None:
        """Hear a message of the group chat."""


class Notes:
    """Hands what is told to the listener, and to the stream of the run that goes on.

    It may be told something by any thread.

    Args:
        source: Name of the team.
        listener: Returns who listens.
        keep: Called with each message that goes into a stream.
    """

    def __init__(
        self,
        source: str,
        listener: Callable[[], Listener],
        keep: Callable[[BaseChatMessage], None],
    ) -> None:
        self._source = source
        self._listener = listener
        self._keep = keep
        self._put: Callable[[TextMessage], None] | None = None
        self._told: set[str] = set()
        self._waiting: list[TextMessage] = []
        self._to_lineage: Callable[[TextMessage], None] | None = None

    def say(self, text: str) -> None:
        """Tell what is good to know."""
        self._listener().note(text)
        self._stream(text, INFO)

    def warn(self, text: str) -> None:
        """Tell what may cost time, money or safety."""
        self._listener().warning(text)
        self._stream(text, WARNING)

    def warn_once(self, text: str) -> None:
        """Tell the same, but no text twice in a run."""
        if text not in self._told:
            self._told.add(text)
            self.warn(text)

    def _stream(self, text: str, level: str) -> None:
        if self._put is not None:
            self._put(TextMessage(content=text, source=self._source, metadata={NOTE: level}))

    @contextmanager
    def kept(self, keep: Callable[[TextMessage], None]) -> Iterator[None]:
        """Hand messages to ``keep``, too, for as long as the context lasts.

        Those that were told before, while the campaign was not open yet, come first.
        """
        for message in self._waiting:
            keep(message)
        self._waiting.clear()
        self._to_lineage = keep
        try:
            yield
        finally:
            self._to_lineage = None

    @contextmanager
    def streamed(self, put: Callable[[TextMessage], None]) -> Iterator[None]:
        """Hand messages to ``put`` in the thread of this context, for as long as it lasts."""
        loop, thread = asyncio.get_running_loop(), threading.get_ident()

        def put_kept(message: TextMessage) -> None:
            self._keep(message)
            (self._to_lineage or self._waiting.append)(message)
            put(message)

        def put_from_anywhere(message: TextMessage) -> None:
            if threading.get_ident() == thread:
                put_kept(message)
            else:
                loop.call_soon_threadsafe(put_kept, message)

        self._told.clear()
        self._waiting.clear()
        self._put = put_from_anywhere
        try:
            yield
        finally:
            self._put = None
