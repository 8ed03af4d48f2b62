"""Structured logs that go through the standard library, so that an app's own settings hold.

Inside somebody else's AutoGen app recipelab prints nothing of its own accord. The command line
shows its logs on standard error: see :func:`configure_logs`. No log holds a prompt, a key, or the
text of a recipe.
"""

from __future__ import annotations

import asyncio
import json as json_text
import logging
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TextIO

import structlog
from opentelemetry import trace
from opentelemetry.trace import Span, Status, StatusCode

from recipelab.core.errors import RecipelabError, unknown_name
from recipelab.core.text import plain

NAME = "recipelab"
"""Name of the standard logger above all of recipelab's."""

LEVELS = ("debug", "info", "warning", "error")
"""Names of the levels, from the most talkative to the quietest."""

_FACTS = "recipelab_event"
"""Attribute of a log record that holds an event as facts and not as text."""

Event = MutableMapping[str, Any]

# Without a handler of its own Python would print warnings where an app has set up no logging.
logging.getLogger(NAME).addHandler(logging.NullHandler())


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """A structured logger on top of the standard logger of that name."""
    wrapped: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            _as_text_and_facts,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    return wrapped


@contextmanager
def bound(
    *, campaign: str | None = None, round: int | None = None, trial: int | str | None = None
) -> Iterator[None]:
    """Says what all that is logged meanwhile belongs to, tasks that start meanwhile included.

    Args:
        campaign: Name of the campaign; ``None`` leaves what is bound already.
        round: Number of the round; likewise.
        trial: Number of the trial; likewise.
    """
    given = {"campaign": campaign, "round": round, "trial": trial}
    known = {name: value for name, value in given.items() if value is not None}
    with structlog.contextvars.bound_contextvars(**known):
        yield


def configure_logs(
    *,
    json: bool = False,
    level: str = "warning",
    colors: bool | None = None,
    stream: TextIO | None = None,
) -> None:
    """Shows logs; for the command line alone, as an app has settings of its own.

    What is not recipelab's own is shown from warnings up, whatever the level: below that AutoGen
    logs whole prompts. A second call takes the place of the first.

    Args:
        json: One JSON object a line; else lines for people.
        level: The lowest level that is shown: ``debug``, ``info``, ``warning`` or ``error``.
        colors: Whether lines for people are colored; ``None`` for where they go to a terminal.
        stream: Where to; ``None`` for what is the standard error at the moment of each line.

    Raises:
        RecipelabError: There is no such level; the message lists those there are.
    """
    if level not in LEVELS:
        raise RecipelabError(unknown_name("log level", level, LEVELS))
    number = logging.getLevelNamesMapping()[level.upper()]
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, _Shown):
            root.removeHandler(handler)
    root.addHandler(_Shown(_Lines(json=json, colors=colors), stream))
    root.setLevel(max(number, logging.WARNING))
    logging.getLogger(NAME).setLevel(number)


def hide_cancellations() -> None:
    """Keeps AutoGen from logging a traceback for every agent that is stopped on purpose.

    For the command line alone, which says itself that it was stopped.
    """
    logging.getLogger("autogen_core").addFilter(_is_no_cancellation)


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    # What an agent meets that would still say something when its chat has been stopped.
    gone = type(error).__name__ == "QueueShutDown"
    return not (gone or isinstance(error, asyncio.CancelledError))


_as_line = structlog.processors.KeyValueRenderer(key_order=["event"])


def _as_text_and_facts(
    wrapped: logging.Logger, name: str, event: Event
) -> tuple[tuple[str], dict[str, Any]]:
    """An event as text for the handlers of any app, with the facts beside it for our own."""
    keywords = {key: event.pop(key) for key in ("exc_info", "stack_info") if key in event}
    return (str(_as_line(wrapped, name, dict(event))),), {"extra": {_FACTS: event}, **keywords}


class _Shown(logging.StreamHandler[TextIO]):
    """Writes to a stream, or to what is the standard error then: a display may take its place."""

    def __init__(self, formatter: logging.Formatter, stream: TextIO | None) -> None:
        super().__init__(stream)
        self._given = stream
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = self._given or sys.stderr
        super().emit(record)


class _Lines(logging.Formatter):
    """A record, ours or another's, as a line: JSON, or for people."""

    def __init__(self, *, json: bool, colors: bool | None) -> None:
        super().__init__()
        self._json = json
        self._colors = colors

    def format(self, record: logging.LogRecord) -> str:
        facts: Event = {
            "timestamp": self._time(record.created),
            "level": record.levelname.lower(),
            "event": "",
            "logger": record.name,
            **structlog.contextvars.get_contextvars(),
            **(getattr(record, _FACTS, None) or {"event": record.getMessage()}),
        }
        if record.exc_info:
            facts["exception"] = self.formatException(record.exc_info)
        if self._json:
            return json_text.dumps(facts, default=str)
        colored = sys.stderr.isatty() if self._colors is None else self._colors
        return str(_PEOPLE[colored](None, "", {key: _safe(facts[key]) for key in facts}))

    def _time(self, seconds: float) -> str:
        when = datetime.fromtimestamp(seconds, UTC)
        if self._json:
            return when.isoformat(timespec="milliseconds")
        return f"{when.astimezone():%H:%M:%S}"


def _safe(value: Any) -> Any:
    return plain(value) if isinstance(value, str) else value


_PEOPLE = {
    colored: structlog.dev.ConsoleRenderer(
        colors=colored, pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
    )
    for colored in (False, True)
}


TRIAL_SPAN, PHASE_SPAN = "recipelab.trial", "recipelab.phase"

Value = str | bool | int | float | None


@contextmanager
def span(name: str, facts: Mapping[str, Value]) -> Iterator[Span]:
    """A span around some work; an error that leaves it is recorded and makes it a failed one.

    Args:
        name: Its name, as :data:`TRIAL_SPAN`.
        facts: What is known when it begins; see :func:`describe`.
    """
    with trace.get_tracer("recipelab").start_as_current_span(name) as started:
        describe(started, facts)
        yield started


def describe(target: Span, facts: Mapping[str, Value]) -> None:
    """Adds attributes, each with ``recipelab.`` before its name; ``None`` is left out."""
    known = {f"recipelab.{key}": value for key, value in facts.items() if value is not None}
    target.set_attributes(known)


def fail(target: Span, why: str) -> None:
    """Marks a span as failed."""
    target.set_status(Status(StatusCode.ERROR, why))
