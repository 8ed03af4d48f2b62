"""OpenTelemetry spans of trials and phases.

Only OpenTelemetry's API is used: without a tracer provider of the user's nothing is recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.trace import Span, Status, StatusCode

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
