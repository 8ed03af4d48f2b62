"""Write the page's data as JSON in which no text can do anything but be read.

Every text of a campaign was written by agents, by people, or by code that nobody trusts. The JSON
as a whole is cleaned when it is written, so that no field can be forgotten, at the price of one
look at its characters.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from recipelab.core.text import plain

TEXT_CHARACTERS = 200_000
"""Characters of one text that are shown at most; a lineage keeps diffs so long."""

_NOT_STORED = ("items", "artifact")
"""Parts of a seed run that are there for comparisons in one process."""

_MAY_HOLD_ESCAPES = ("\\u00", "\\r", "\\b", "\\f")
# An even number of backslashes before it stands for backslashes, and not for its own.
_CONTROL = re.compile(r"(?<!\\)((?:\\\\)*)\\(?:u00[01][0-9a-f]|[rbf])")


def page_json(value: Any) -> str:
    """Return a value as JSON that is safe to show.

    Control and format characters but for line ends and tabs become U+FFFD, as on a terminal. Times
    become seconds since 1970, records tables, and numbers that JSON lacks ``null``.
    """
    try:
        text = _dumped(value)
    except ValueError:
        text = _dumped(_finite(value))
    if any(escape in text for escape in _MAY_HOLD_ESCAPES):
        text = _CONTROL.sub("\\1\N{REPLACEMENT CHARACTER}", text)
    # Control characters are escapes by now, but for those above ASCII's first 32.
    return plain(text)


def in_script(text: str) -> str:
    """Return JSON as it can stand within a ``script`` element: no tag and no comment begins."""
    return text.replace("<", "\\u003c")


def shortened(text: str, limit: int = TEXT_CHARACTERS) -> str:
    """Return the beginning of a text that is too long to be shown."""
    return text if len(text) <= limit else f"{text[:limit]}…[cut, {len(text):,} characters]"


def _dumped(value: Any) -> str:
    return json.dumps(
        value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_table
    )


def _table(value: Any) -> Any:
    """Return what JSON does not know as what it knows."""
    if isinstance(value, datetime):
        return value.timestamp()
    if is_dataclass(value) and not isinstance(value, type):
        return {name: getattr(value, name) for name in _stored_names(type(value))}
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"no plain data: {value!r}")


@lru_cache(maxsize=64)
def _stored_names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind) if field.name not in _NOT_STORED)


def _finite(value: Any) -> Any:
    """Return a value without numbers that JSON lacks; slow, and needed for forged lineages only."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, str | int | None):
        return value
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return _finite(_table(value))
