"""A recipe as a list of words, read without parsing it.

A recipe may be written for a later Python than the one that reads it, and what does not parse must
not pass for that. So rules look at words, and at the top-level definition that each stands in.
"""

import ast
import io
import re
import tokenize
import unicodedata
from dataclasses import dataclass

_SKIPPED = {tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
_FIELDS = getattr(tokenize, "FSTRING_MIDDLE", -1)
_MARKS = {getattr(tokenize, "FSTRING_START", -1), getattr(tokenize, "FSTRING_END", -1)}
_FORMATTED = re.compile(r"(?i)(f|rf|fr)['\"]")
_COOKIE = re.compile(r"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_HEADS = ("def", "class")


class Unreadable(Exception):
    """A text is none of Python's, or is not the same text to Python as to a reader.

    Attributes:
        line: Where.
    """

    def __init__(self, line, words):
        super().__init__(words)
        self.line = line


@dataclass(frozen=True)
class Word:
    """One word of a recipe.

    Attributes:
        kind: ``name``, ``text``, ``number``, ``mark``, ``end`` (of a logical line), or ``echo``: a
            name inside of a text that may be code.
        text: What it says; a name as Python reads it, a text without quotes and escapes.
        line: Where it stands.
        owner: The top-level definition that it stands in, or nothing.
        head: Whether it names that definition.
    """

    kind: str
    text: str
    line: int
    owner: str
    head: bool = False


def words_of(text):
    """Return all words of a recipe, in order.

    Raises:
        Unreadable: It cannot be split into words, or claims an encoding of its own.
    """
    # To Python each of them ends a line, and with it a comment.
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    _refuse_encodings(text)
    lines = _logical_lines(text)
    owner, depth, found = "", 0, []
    for line in lines:
        depth += sum(_step(token) for token in line)
        kept = [token for token in line if token.type not in _SKIPPED]
        if not kept:
            continue
        if depth == 0:
            owner = _defined(kept)
        found += _words(kept, owner, named=depth == 0 and owner != "")
    return found


def named(words, names):
    """Return the words that are, or may be, one of some names."""
    return [word for word in words if word.kind in {"name", "echo"} and word.text in names]


def sure(words):
    """Return the words without those that may be mere text, so that neighbors are neighbors."""
    return [word for word in words if word.kind != "echo"]


def follows(words, at, *texts):
    """Return whether some words follow a place."""
    return tuple(word.text for word in words[at + 1 : at + 1 + len(texts)]) == texts


def statements(words):
    """Return the words of each statement, without its end."""
    found = [[]]
    for word in sure(words):
        if word.kind == "end" or (word.kind == "mark" and word.text == ";"):
            found.append([])
        else:
            found[-1].append(word)
    return [statement for statement in found if statement]


def _refuse_encodings(text):
    """Python would decode such a file in another way than the evaluator has."""
    for number, line in enumerate(text.split("\n")[:2], 1):
        cookie = _COOKIE.match(line)
        if cookie and cookie[1].lower().replace("_", "-") not in {"utf-8", "utf8"}:
            raise Unreadable(number, f"is written in {cookie[1]}")
    for sign in "\0\f":
        if sign in text:
            number = text[: text.index(sign)].count("\n") + 1
            raise Unreadable(number, f"holds the character {sign!r}")


def _logical_lines(text):
    """Return the tokens, a list for each logical line."""
    lines, line = [], []
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.ERRORTOKEN and token.string.strip():
                raise Unreadable(token.start[0], f"is not Python: {token.string[:20]!r}")
            line.append(token)
            if token.type == tokenize.NEWLINE:
                lines.append(line)
                line = []
    except (tokenize.TokenError, SyntaxError, ValueError) as error:
        raise Unreadable(_place(error), f"is not Python: {error}"[:200]) from None
    return [*lines, line]


def _place(error):
    """Return the line that an error of the tokenizer names, or 0."""
    place = error.args[1] if len(error.args) > 1 and isinstance(error.args[1], tuple) else ()
    at = place[0] if place and isinstance(place[0], int) else 0
    return getattr(error, "lineno", None) or at


def _step(token):
    return {tokenize.INDENT: 1, tokenize.DEDENT: -1}.get(token.type, 0)


def _defined(tokens):
    """Return the name that a logical line defines, or an empty text."""
    names = [token.string for token in tokens[:3]]
    names = names[1:] if names[0] == "async" else names
    return unicodedata.normalize("NFKC", names[1]) if names[0] in _HEADS and names[1:] else ""


def _words(tokens, owner, *, named):
    """Return the words of one logical line."""
    # Before Python 3.12 an f-string is one token, and quotes inside of it seem to end it: what
    # stands between them looks like code, and code like text. So there all texts are read as both.
    mixed = any(_FORMATTED.match(token.string) for token in tokens if token.type == tokenize.STRING)
    found = []
    for token in tokens:
        kind, text, line = _kind(token), _plain(token), token.start[0]
        head = named and kind == "name" and text == owner
        named = named and not head
        if kind:
            found.append(Word(kind, text, line, owner, head))
        if mixed and kind == "text":
            found += [Word("echo", name, line, owner) for name in re.findall(r"[^\W\d]\w*", text)]
    return found


def _kind(token):
    if token.type in {tokenize.STRING, _FIELDS}:
        return "text"
    if token.type in _MARKS:
        return ""
    kinds = {tokenize.NAME: "name", tokenize.NUMBER: "number", tokenize.NEWLINE: "end"}
    return kinds.get(token.type, "mark")


def _plain(token):
    if token.type == tokenize.NAME:
        return unicodedata.normalize("NFKC", token.string)
    return _content(token.string) if token.type == tokenize.STRING else token.string


def _content(quoted):
    """Return the content of a quoted text, with escapes resolved unless it has fields."""
    try:
        value = ast.literal_eval(quoted)
    except (ValueError, SyntaxError, MemoryError):
        return quoted.lstrip("rbfuRBFU").strip("'\"")
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
