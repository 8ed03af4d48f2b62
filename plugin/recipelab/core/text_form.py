"""The form of a text file: its encoding, its byte order mark, and how its lines end.

Recipes are texts with Unix line ends, so that edits of agents fit whatever editor a file was
written with. The form brings a changed text back into that of its file: a line that nobody changed
keeps its bytes, so that a patch applies to the user's own file.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from recipelab.core.recipe import LineComparison, Recipe

_LINE = re.compile(r"([^\r\n]*)(\r\n|\r|\n|\Z)")
_END = re.compile(r"\r\n|\r")
_COOKIE = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)", re.ASCII)
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\f\x08\x1b"))
"""Characters that no text has."""

BYTES_KEPT = "surrogateescape"
"""How bytes that are no UTF-8 are kept in a text, and written out again."""


@dataclass(frozen=True)
class TextForm:
    """A text file as it lies on disk.

    Attributes:
        raw: Its bytes.
        text: What it says, with Unix line ends and without a byte order mark.
        encoding: Its encoding.
    """

    raw: bytes
    text: str
    encoding: str

    @classmethod
    def read(cls, raw: bytes) -> TextForm | None:
        """Return the text that bytes hold; ``None`` if they are no text.

        What is no UTF-8 has the encoding that its first two lines name, as Python has it, and is
        taken for Latin-1 otherwise, in which every byte is a letter.
        """
        body = raw.removeprefix(codecs.BOM_UTF8)
        if body.translate(None, _CONTROLS) != body:
            return None
        for encoding in ("utf-8", _named_encoding(raw), "latin-1"):
            try:
                text = body.decode(encoding)
                if text.encode(encoding) == body:
                    return cls(raw, _END.sub("\n", text), encoding)
            except (UnicodeError, LookupError):
                continue
        return None

    def bytes_of(self, text: str) -> bytes:
        """Return a changed text in the form of this file.

        Raises:
            UnicodeEncodeError: The file's encoding has no such character.
        """
        if text == self.text:
            return self.raw
        mark = codecs.BOM_UTF8 if self.raw.startswith(codecs.BOM_UTF8) else b""
        original = self.raw.removeprefix(mark).decode(self.encoding)
        ends = [match[2] for match in _LINE.finditer(original)]
        usual = Counter(filter(None, ends)).most_common(1)
        if usual and usual[0][0] != "\n":
            text = _END.sub("\n", text)
        lines = text.split("\n")
        if not usual or set(ends) <= {usual[0][0], ""}:
            whole = (usual[0][0] if usual else "\n").join(lines)
        else:
            whole = _with_ends(self.text.split("\n"), lines, ends, usual[0][0])
        return mark + whole.encode(self.encoding)


def _named_encoding(raw: bytes) -> str:
    """Return the encoding that one of the first two lines names."""
    for line in raw.split(b"\n", 2)[:2]:
        if match := _COOKIE.match(line):
            return match[1].decode("ascii")
    return "utf-8"


def _with_ends(before: list[str], after: list[str], ends: list[str], usual: str) -> str:
    """Return changed lines with the ends that they had, and the usual one where they are new."""
    found: list[str] = []
    for tag, i, j, k, m in LineComparison(before, after, autojunk=False).get_opcodes():
        old = ends[i:j] if tag in ("equal", "replace") else []
        found += [*old[: m - k], *[usual] * (m - k - len(old))]
    found = [*(end or usual for end in found[:-1]), ""]
    for number, end in enumerate(found[:-1]):
        # Together with the next one it would be one end of a line.
        if end == "\r" and not after[number + 1] and found[number + 1].startswith("\n"):
            found[number] = "\n"
    return "".join(line + end for line, end in zip(after, found, strict=True))


def original_patch(before: Recipe, after: Recipe, forms: Mapping[str, TextForm]) -> str:
    """Return the diff between two recipes as ``git apply`` wants it for the user's own files.

    Args:
        before: The recipe with the files as they are.
        after: The recipe with the changes.
        forms: The forms of the user's files, by path; a file that is missing has Unix line ends.

    Returns:
        The diff; bytes that are no UTF-8 are kept as :data:`BYTES_KEPT` says.
    """
    return _as_on_disk(before, forms).diff(_as_on_disk(after, forms))


def _as_on_disk(recipe: Recipe, forms: Mapping[str, TextForm]) -> Recipe:
    return Recipe(
        {
            path: forms[path].bytes_of(text).decode("utf-8", BYTES_KEPT) if path in forms else text
            for path, text in recipe.files.items()
        }
    )
