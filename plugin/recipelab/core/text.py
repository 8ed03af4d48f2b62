"""Text from agents, made safe to show on a terminal or in Markdown."""

from __future__ import annotations

import re
import unicodedata

_KEPT = "\n\t"


class _PlainCharacters(dict[int, int]):
    """Code point to the one that is shown for it, worked out when it is first met."""

    def __missing__(self, code: int) -> int:
        char = chr(code)
        is_plain = char in _KEPT or unicodedata.category(char)[0] != "C"
        self[code] = code if is_plain else ord("\N{REPLACEMENT CHARACTER}")
        return self[code]


_PLAIN_CHARACTERS = _PlainCharacters()


def plain(text: str) -> str:
    """Return the text without control and format characters: it cannot steer a terminal."""
    return text if text.isprintable() else text.translate(_PLAIN_CHARACTERS)


def shorten(text: str, length: int) -> str:
    """Return the text on one line without control characters, cut to ``length`` characters."""
    line = " ".join(plain(text).split())
    return line if len(line) <= length else line[: length - 1] + "…"


def duration(seconds: float) -> str:
    """Return a time in words that need not be exact, as ``45 s``, ``14 min`` or ``2 h 05 min``."""
    seconds = max(0.0, seconds)
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    hours, rest = divmod(minutes, 60)
    if not hours:
        return f"{minutes} min"
    return f"{hours} h {rest:02d} min" if hours < 48 else f"{hours / 24:.1f} days"


def fenced(text: str, language: str = "") -> str:
    """Return a Markdown code block that the text cannot break out of."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{plain(text).rstrip()}\n{fence}"


_MARKUP = re.compile(
    r"[\\`*~]"
    r"|<(?=[A-Za-z/!?])"  # a tag or a link
    r"|\](?=[(\[:]|$)"  # the middle of a link, or of its definition
    r"|&(?=[#\w])"  # a character reference
    r"|(?<!\w)_|_(?!\w)"  # within a word it is just a letter
)
_LINE_START = re.compile(r"^(?:[-+#=>|]|(\d{1,9})(?=[.)]))")


def in_markdown(text: str) -> str:
    """Return the text so that Markdown shows it as it is within a line: no link, image or HTML."""
    return _MARKUP.sub(r"\\\g<0>", plain(text))


def at_line_start(escaped: str) -> str:
    """Return escaped text that begins no heading, list, quote or table at the start of a line."""
    return _LINE_START.sub(lambda found: f"{found[1]}\\" if found[1] else f"\\{found[0]}", escaped)


def lines_in_markdown(text: str) -> list[str]:
    """Return the lines of a text so that Markdown shows them as they are, without indentation."""
    lines = plain(text).replace("\t", " ").strip().split("\n")
    return [at_line_start(in_markdown(line.strip())) for line in lines]


def inline_code(text: str) -> str:
    """Return a name as inline code in Markdown that it cannot break out of."""
    text = " ".join(plain(text).split())
    fence = "`"
    while fence in text:
        fence += "`"
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}"
