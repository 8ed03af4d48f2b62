"""Structured logs that go through the standard library, and spans.

Inside somebody else's AutoGen app recipelab sets nothing up: its loggers are standard ones below
``recipelab``, and the app's settings and handlers hold. A script that has set up no logging sees
warnings on standard error, as Python does for every library. The command line shows its logs on
standard error: see :func:`configure_logs`. No log holds a prompt, a key, or the text of a recipe.

An event is logged twice over in one record: as text, which any handler can show, and as facts in an
attribute of the record, from which the command line's own handler makes JSON or colored lines.
"""

from __future__ import annotations

import asyncio
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

TRIAL_SPAN, PHASE_SPAN = "recipelab.trial", "recipelab.phase"

Event = MutableMapping[str, Any]
Value = str | bool | int | float | None

_FACTS = "recipelab_event"
"""Attribute of a log record that holds an event as facts."""


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return a structured logger on top of the standard logger of that name."""
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
    """Add to every event that is logged meanwhile what it belongs to.

    Tasks that start meanwhile are included. ``None`` leaves what is bound already.

    Args:
        campaign: Name of the campaign.
        round: Number of the round.
        trial: Number of the trial.
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
    """Show logs; for the command line alone, as an app has settings of its own.

    The logs of other libraries, and Python's own warnings, are for developers: they are shown from
    errors up, and from the level ``info`` on from warnings up. Below that AutoGen logs whole
    prompts. A second call takes the place of the first.

    Args:
        json: Whether to write one JSON object a line; else lines for people.
        level: The lowest level that is shown: ``debug``, ``info``, ``warning`` or ``error``.
        colors: Whether lines for people are colored; ``None`` for if they go to a terminal.
        stream: Where to write; ``None`` for the standard error of the moment of each line.

    Raises:
        RecipelabError: There is no such level; the valid ones are listed.
    """
    if level not in LEVELS:
        raise RecipelabError(unknown_name("log level", level, LEVELS))
    number = logging.getLevelNamesMapping()[level.upper()]
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, _CommandLineHandler):
            root.removeHandler(handler)
    root.addHandler(_CommandLineHandler(_json_lines() if json else _lines(colors), stream))
    root.setLevel(logging.WARNING if number < logging.WARNING else logging.ERROR)
    logging.captureWarnings(capture=True)
    logging.getLogger(NAME).setLevel(number)


def hide_told_errors() -> None:
    """Keep AutoGen from logging tracebacks of what the command line tells by itself.

    These are agents that are stopped on purpose, and errors that end the command with a message.
    """
    logging.getLogger("autogen_core").addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    # An agent meets the first if it sends a message when its chat has been stopped, and the second
    # when another agent has ended the chat by an error.
    late = type(error).__name__ == "QueueShutDown" or "GroupChatError" in str(error)
    return not (late or isinstance(error, asyncio.CancelledError | RecipelabError))


def _as_text(event: Event) -> str:
    """Return an event as a handler without knowledge of facts shows it: words, then values."""
    facts = (f"{key}={value!r}" for key, value in event.items() if key != "event")
    return " ".join([plain(str(event["event"])), *facts])


def _as_text_and_facts(
    wrapped: logging.Logger, name: str, event: Event
) -> tuple[tuple[str], dict[str, Any]]:
    """Return the arguments of the standard logger: the event as text, and its facts beside it."""
    keywords = {key: event.pop(key) for key in ("exc_info", "stack_info") if key in event}
    return (_as_text(event),), {"extra": {_FACTS: event}, **keywords}


class _CommandLineHandler(logging.StreamHandler[TextIO]):
    """Writes to a given stream, or to the standard error of the moment.

    A live display takes the place of the standard error while it is shown.
    """

    def __init__(self, formatter: logging.Formatter, stream: TextIO | None) -> None:
        super().__init__(stream)
        self._given = stream
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = self._given or sys.stderr
        super().emit(record)


def _json_lines() -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[_facts_of_record, structlog.processors.format_exc_info],
        processors=[_timestamp, structlog.processors.JSONRenderer(default=str)],
    )


def _lines(colors: bool | None) -> logging.Formatter:
    renderers = {
        colored: structlog.dev.ConsoleRenderer(
            colors=colored, pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
        )
        for colored in (False, True)
    }

    def render(wrapped: Any, name: str, event: Event) -> str:
        safe = {key: plain(fact) if isinstance(fact, str) else fact for key, fact in event.items()}
        colored = sys.stderr.isatty() if colors is None else colors
        return str(renderers[colored](wrapped, name, safe))

    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[_facts_of_record, structlog.processors.format_exc_info],
        processors=[_clock_time, render],
    )


def _facts_of_record(wrapped: Any, name: str, event: Event) -> Event:
    """Return the facts of a record, ours or another library's, in the order of a line."""
    record: logging.LogRecord = event["_record"]
    facts: Event = {
        "timestamp": datetime.fromtimestamp(record.created, UTC),
        "level": record.levelname.lower(),
        "event": event["event"],
        "logger": record.name,
        **structlog.contextvars.get_contextvars(),
        **getattr(record, _FACTS, {}),
    }
    if record.exc_info:
        facts["exc_info"] = record.exc_info
    return facts


def _timestamp(wrapped: Any, name: str, event: Event) -> Event:
    event["timestamp"] = event["timestamp"].isoformat(timespec="milliseconds")
    return event


def _clock_time(wrapped: Any, name: str, event: Event) -> Event:
    event["timestamp"] = f"{event['timestamp'].astimezone():%H:%M:%S}"
    return event


@contextmanager
def span(name: str, facts: Mapping[str, Value]) -> Iterator[Span]:
    """Make a span around some work; an error that leaves it is recorded and marks it as failed.

    Args:
        name: Its name, as :data:`TRIAL_SPAN`.
        facts: What is known when it begins; see :func:`set_facts`.
    """
    with trace.get_tracer(NAME).start_as_current_span(name) as started:
        set_facts(started, facts)
        yield started


def set_facts(target: Span, facts: Mapping[str, Value]) -> None:
    """Add attributes to a span, each named ``recipelab.KEY``; ``None`` is left out."""
    known = {f"recipelab.{key}": value for key, value in facts.items() if value is not None}
    target.set_attributes(known)


def fail(target: Span, reason: str) -> None:
    """Mark a span as failed."""
    target.set_status(Status(StatusCode.ERROR, reason))
