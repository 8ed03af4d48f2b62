"""Tells an outage of a provider from what it refuses for good.

Providers' libraries have no error in common, so this looks at what most of them carry.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BUSY = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
"""HTTP status codes that pass: time-outs, limits of rate, faults and overload of the server."""

_UNREACHABLE = frozenset(
    [
        "ConnectError",
        "ConnectTimeout",
        "ReadTimeout",
        "ReadError",
        "WriteError",
        "PoolTimeout",
        "RemoteProtocolError",
        "APIConnectionError",
        "APITimeoutError",
    ]
)
"""Names of errors of connections, as the libraries of providers have them."""

_SPENT = ("insufficient_quota", "billing", "credit balance")
"""Words of a limit that no waiting lifts."""


def outage(error: BaseException | None) -> str | None:
    """What is wrong with the provider; ``None`` if waiting does not help.

    Args:
        error: What its library raised.
    """
    if error is None or any(word in str(error).lower() for word in _SPENT):
        return None
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return f"HTTP {status}" if status in BUSY else None
    name = type(error).__name__
    if name in _UNREACHABLE or isinstance(error, ConnectionError | TimeoutError):
        return name
    return None


def wait_asked_for(error: BaseException | None) -> float | None:
    """The pause that a provider asks for in its ``Retry-After`` header, in seconds."""
    response = getattr(error, "response", None)
    headers: Mapping[str, Any] | None = getattr(response, "headers", None)
    told = headers.get("retry-after") if headers is not None else None
    try:
        return max(0.0, float(told)) if told is not None else None
    except ValueError:
        return None  # a date: the pauses of our own will do
