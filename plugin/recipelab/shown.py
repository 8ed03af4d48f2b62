"""Text from agents, made safe to show on a terminal or in Markdown."""

from __future__ import annotations

import unicodedata

_KEPT = "\n\t"


def plain(text: str) -> str:
    """The text without control and format characters, so that it cannot steer a terminal."""
    return "".join(
        char
        if char in _KEPT or unicodedata.category(char)[0] != "C"
        else "\N{REPLACEMENT CHARACTER}"
        for char in text
    )


def short(text: str, length: int) -> str:
    """The first line of the text, cut to a length."""
    line = " ".join(plain(text).split())
    return line if len(line) <= length else line[: length - 1] + "…"


def fenced(text: str, language: str = "") -> str:
    """A Markdown code block that the text cannot break out of."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{plain(text).rstrip()}\n{fence}"
