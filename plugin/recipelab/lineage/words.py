"""The words of a text, as the word index holds them, and expressions that ask for them.

Words are cut here and not by the database, so that SQLite and PostgreSQL find the same. Beside its
words, a trial has marks for what filters ask about (``s:kept``); no word holds a colon.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

MAX_WORDS = 3_000
"""Different words of a trial that the index holds; a diff of a whole file may have more."""
WORD_CHARACTERS = 40
QUERY_WORDS = 32

_WORD = re.compile(r"\d+(?:\.\d+)?(?:e[-+]?\d+)?(?!\w)|\w+")


def words_of(*texts: str) -> list[str]:
    """The different words of texts in order: numbers whole, names whole and in their parts."""
    found: dict[str, None] = {}
    for text in texts:
        for word in _WORD.findall(text.casefold()):
            _add(found, word)
            if len(found) >= MAX_WORDS:
                return list(found)
    return list(found)


def _add(found: dict[str, None], word: str) -> None:
    found[word[:WORD_CHARACTERS]] = None
    if "_" in word:
        for part in word.split("_"):
            if part:
                found[part[:WORD_CHARACTERS]] = None


def asked_words(text: str) -> list[str]:
    """The different words that a text asks for, as whole as they are written."""
    found = (word[:WORD_CHARACTERS] for word in _WORD.findall(text.casefold()))
    return list(dict.fromkeys(found))[:QUERY_WORDS]


def mark(kind: str, value: object) -> str:
    """The mark of a value, which may be any text."""
    text = str(value)
    if not (text.isascii() and text.isalnum() and len(text) < WORD_CHARACTERS):
        text = "h" + hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    return f"{kind}:{text}"


def status_mark(status: str | None) -> str:
    """The mark of a status; ``None`` is that of the trials in flight."""
    return mark("s", status) if status else "s:"


Expression = Sequence[Sequence[str]]
"""Words and marks: one of each inner sequence must be there."""


def sqlite_match(wanted: Expression) -> str:
    """The expression as SQLite's FTS5 takes it."""
    return " AND ".join(f"({' OR '.join(_quoted(group, chr(34)))})" for group in wanted)


def postgres_match(wanted: Expression) -> str:
    """The expression as a ``tsquery`` of PostgreSQL."""
    return " & ".join(f"({' | '.join(_quoted(group, chr(39)))})" for group in wanted)


def _quoted(group: Iterable[str], quote: str) -> Iterable[str]:
    # No word holds a quote or a backslash.
    return (f"{quote}{word}{quote}" for word in group)
