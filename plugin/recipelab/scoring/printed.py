"""Finds the numbers that a training prints: ``val_loss 1.23``, ``key=1.23``, JSON lines.

It is for recipes that score themselves. Whoever may edit the recipe may print any number, so what
is read here proves nothing; it is only ever as good as the recipe is honest.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

from .predictions import PredictionFile

LOG_FILE = "log.txt"
"""The file in which predict hands on what training has printed."""
LOG_BYTES = 64_000_000
"""The longest log that is read."""
LAST_LINE = "recipelab: the command ended with exit status "
"""Begins the last line of a whole log; what follows is the status."""

_WORD = r"[A-Za-z_][\w./@-]*"
_NUMBER = r"[-+]?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_PAIR = re.compile(
    rf"(?<![\w./@-])(?P<key>{_WORD}(?:[ \t]{_WORD}){{0,3}})"
    r"(?:[\"']?[ \t]{0,40}[:=]{1,2}|[ \t]{1,40})[ \t]{0,40}[\"']?"
    rf"(?P<number>{_NUMBER}|[-+]?(?:nan|inf(?:inity)?)\b)",
    re.IGNORECASE,
)
_COLORS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_LINE_END = re.compile(r"[\r\n]+")
_LONGEST_LINE = 4_000
_MOST_DEPTH = 4


def printed_pairs(text: str) -> Iterator[tuple[str, float]]:
    """Yield each name with the number behind it, in the order in which they were printed.

    A name is up to four words. Names inside of a JSON object that stands on a line of its own have
    dots between the levels, as ``val.loss``.

    Args:
        text: What was printed. Colors are left out; a carriage return ends a line.
    """
    for line in _LINE_END.split(_COLORS.sub("", text)):
        line = line.strip()[:_LONGEST_LINE]
        if line.startswith("{") and (table := _json_table(line)) is not None:
            yield from _leaves(table, "", 0)
            continue
        for match in _PAIR.finditer(line):
            yield " ".join(match["key"].split()), float(match["number"].replace(",", ""))


def last_number(text: str, key: str) -> float | None:
    """Return the number that was printed last under a name; ``None`` if there is none.

    A name that ends with the words of ``key`` counts where none is ``key`` itself, so that
    ``loss`` is found in ``final loss: 1.2`` unless the recipe prints a plain ``loss``, too.
    """
    exact = near = None
    for name, value in printed_pairs(text):
        if name == key:
            exact = value
        elif name.endswith((f" {key}", f".{key}")):
            near = value
    return near if exact is None else exact


def printed_number(key: str) -> float:
    """Return the number that the recipe printed last under a name, in a scorer.

    Raises:
        MalformedPredictions: The log is torn, the training failed, it printed no such number, or
            the number is not finite.
    """
    file = PredictionFile(LOG_FILE)
    # Programs print what they like; a number is ASCII.
    text = file.read_bytes(LOG_BYTES).decode("utf-8", "replace")
    head, mark, status = text.rpartition(LAST_LINE)
    if not mark or status != "0\n" or LAST_LINE in head:
        file.malformed("it is no whole log of a training that ended well")
    value = last_number(head, key)
    if value is None:
        file.malformed(f"the training printed no line such as '{key}: 1.23'")
    if not math.isfinite(value):
        file.malformed(f"the training printed {key} {value}")
    return value


def _json_table(line: str) -> dict[str, Any] | None:
    try:
        table = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return table if isinstance(table, dict) else None


def _leaves(table: dict[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, float]]:
    for key, value in table.items():
        if isinstance(value, dict) and depth < _MOST_DEPTH:
            yield from _leaves(value, f"{prefix}{key}.", depth + 1)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            try:
                yield f"{prefix}{key}", float(value)
            except OverflowError:
                yield f"{prefix}{key}", math.inf
