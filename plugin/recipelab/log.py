"""Structured logs that go through the standard library, so that an app's own settings hold.

Inside somebody else's AutoGen app recipelab prints nothing of its own accord.
"""

from __future__ import annotations

import asyncio
import logging

import structlog


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """A structured logger on top of the standard logger of that name."""
    wrapped: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    return wrapped


def hide_cancellations() -> None:
    """Keeps AutoGen from logging a traceback for every agent that is stopped on purpose.

    For the command line alone, which says itself that it was stopped.
    """
    logging.getLogger("autogen_core").addFilter(_is_no_cancellation)


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, asyncio.CancelledError)
