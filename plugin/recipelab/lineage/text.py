"""Text on its way into the store: what no database can hold is replaced, what is long is cut."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

MARK = "…[cut]"
"""Stands where text was cut off."""

HYPOTHESIS_CHARACTERS = 4_000
REASON_CHARACTERS = 4_000
EXCERPT_CHARACTERS = 4_000
SIGNATURE_CHARACTERS = 500
NAME_CHARACTERS = 200
ENVIRONMENT_CHARACTERS = 1_000
LOG_CHARACTERS = 16_000
DIFF_CHARACTERS = 200_000

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def clean(text: str) -> str:
    """Replaces NUL characters and lone surrogates, which databases refuse, by U+FFFD."""
    # Most text is plain, and a recipe is long.
    if text.isascii() and "\0" not in text:
        return text
    return _UNSTORABLE.sub("\ufffd", text)


def cut(text: str, limit: int) -> str:
    """Cleans text and keeps its beginning, the mark included in the limit of characters."""
    text = clean(text)
    return text if len(text) <= limit else text[: limit - len(MARK)] + MARK


def cut_front(text: str, limit: int) -> str:
    """Cleans text and keeps its end: of a log, that is what tells the cause."""
    text = clean(text)
    return text if len(text) <= limit else MARK + text[len(MARK) - limit :]


def to_json(table: Mapping[str, Any]) -> str:
    """JSON of a table with all its text cleaned; numbers that JSON lacks become ``null``.

    Raises:
        TypeError: A value is not plain data.
    """
    return json.dumps(_clean_json(table), ensure_ascii=False, allow_nan=False)


def _clean_json(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {clean(str(key)): _clean_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean_json(item) for item in value]
    return value
