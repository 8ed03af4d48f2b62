"""Text from agents, made safe to show on a terminal or in Markdown; files as agents read them."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

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


_SURROGATES = re.compile("[\ud800-\udfff]")


def without_surrogates(text: str) -> str:
    """Return a text that can be sent and stored: half a character becomes U+FFFD."""
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)


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


FILES = "files"
"""Key of the files in a table of :func:`with_files`: characters of each."""


def with_files(table: Mapping[str, Any], files: Mapping[str, str]) -> str:
    """Return a line of JSON, and behind it files as they are, each below a line with its name.

    A model copies from such text exactly; from a text inside of JSON it copies the escapes, too,
    which are 5 to 15 percent more characters.

    Args:
        table: What else there is to say, as plain data.
        files: Text of each file.
    """
    head = dict(table) | {FILES: {path: len(text) for path, text in files.items()}}
    parts = [json.dumps(head, ensure_ascii=False, separators=(",", ":"), default=str)]
    parts += [f"\n--- {path}\n{text}" for path, text in files.items()]
    return "".join(parts)


def read_table(answer: str) -> dict[str, Any]:
    """Return the table that an answer holds, with the texts of its files.

    Args:
        answer: A JSON object, alone or as :func:`with_files` made it.

    Raises:
        ValueError: It is something else, or has been cut.
    """
    table, place = json.JSONDecoder().raw_decode(answer.lstrip())
    rest = answer.lstrip()[place:]
    if not isinstance(table, dict):
        raise ValueError("the answer is no JSON object")
    if not rest.strip():
        return table
    files: dict[str, str] = {}
    sizes = table.get(FILES)
    for path, size in sizes.items() if isinstance(sizes, dict) else ():
        head = f"\n--- {path}\n"
        if not rest.startswith(head) or not isinstance(size, int):
            raise ValueError(f"{path} is not where it should be")
        files[path] = rest[len(head) : len(head) + size]
        rest = rest[len(head) + len(files[path]) :]
        if len(files[path]) < size:
            raise ValueError(f"{path} has been cut")
    if rest:
        raise ValueError("there is more text than the table tells of")
    return table | {FILES: files}
