"""A recipe: the files that train a model, and the edits that agents make to them.

Everything here is pure: text in, text out. Packs read recipes from folders, and the lineage stores
them.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import Match, SequenceMatcher
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache
from heapq import nlargest
from itertools import accumulate, pairwise
from pathlib import PurePosixPath

from recipelab.core.errors import EditError
from recipelab.core.trial import Edit

MAX_FILE_CHARACTERS = 400_000
"""A recipe file longer than this is refused: it is data, not a recipe."""
_LINE_END = re.compile(r"\r\n|\r|\n")
"""What ends a line for Python's parser."""

MAX_PATH_BYTES = 200
"""A longer path is refused: every file system must be able to store the recipe."""

MAX_MEANING_CHARACTERS = 150_000
"""The meaning of a longer file is its text: to write out its syntax tree takes seconds."""
COMPARED_CHARACTERS, COMPARED_LINES = 200, 8
"""How many lines are compared with a text that was not found, and how much of each."""
SHOWN_CHARACTERS = 400
"""Characters of the file that are shown where a search text differs from it in white space."""
MAX_LOOSE_WORDS = 2_000
"""A search text of more words has to fit exactly."""
_BLANK = r"[^\S\n]"
MAX_DIFF_STEPS = 2_000_000
"""Steps that a comparison of two texts may take; what is left then counts as replaced."""


@dataclass(frozen=True)
class Recipe:
    """The files of a recipe.

    Attributes:
        files: Path with forward slashes, as ``recipe/train.py``, to text.
    """

    files: Mapping[str, str]

    @cached_property
    def digest(self) -> str:
        """SHA-256 over paths and contents, so that equal recipes are found again."""
        total = hashlib.sha256()
        for path in sorted(self.files):
            for part in (path, self.files[path]):
                data = part.encode("utf-8", "surrogatepass")
                total.update(len(data).to_bytes(8, "big"))
                total.update(data)
        return total.hexdigest()

    @cached_property
    def meaning(self) -> str:
        """SHA-256 over what Python sees of each file: equal recipes but for comments and layout.

        Files that are not Python, or do not parse, count as they are.
        """
        total = hashlib.sha256()
        for path in sorted(self.files):
            total.update(hashlib.sha256(path.encode("utf-8", "surrogatepass")).digest())
            total.update(_meaning(path, self.files[path]))
        return total.hexdigest()

    def editable(self, patterns: Iterable[str]) -> tuple[str, ...]:
        """Return the paths of its files that match one of some globs, in order."""
        globs = tuple(patterns)
        return tuple(path for path in sorted(self.files) if path_matches(path, globs))

    def apply(self, edits: Iterable[Edit], editable: Iterable[str]) -> Recipe:
        """Return the recipe with edits applied in order; this one is unchanged.

        Args:
            edits: Search/replace blocks or whole files.
            editable: Glob patterns of the paths that may change.

        Raises:
            EditError: An edit leaves the editable files, does not apply, or there is none.
        """
        patterns = tuple(editable)
        files = dict(self.files)
        edits = tuple(edits)
        if not edits:
            raise EditError("the proposal has no edits; give at least one")
        for number, edit in enumerate(edits, start=1):
            where = f"edit {number} ({edit.path})"
            _check_path(edit.path, patterns, where)
            files[edit.path] = _edited(files, edit, where)
        return Recipe(files)

    def diff(self, other: Recipe) -> str:
        """Return the unified diff from this recipe to another, as ``git apply`` reads it."""
        parts: list[str] = []
        for path in sorted({*self.files, *other.files}):
            before, after = self.files.get(path), other.files.get(path)
            if before != after:
                parts.append(_file_diff(path, before, after))
        return "".join(parts)

    def merged(self, base: Recipe, theirs: Recipe) -> Recipe | str:
        """Merge the change that leads from one recipe to another into this one, line by line.

        Unlike diff3, and so unlike the ``merge3`` package, it merges changes of neighboring lines:
        edits of a recipe often touch one constant each, line below line. Only changes of the same
        lines, and insertions at the same place, are a conflict.

        Args:
            base: The recipe that both this one and ``theirs`` were made from.
            theirs: The recipe with the change.

        Returns:
            The merged recipe, or the path of a file in which both changed the same lines.
        """
        found: dict[str, str] = {}
        for path in sorted({*base.files, *self.files, *theirs.files}):
            try:
                text = _merged(base.files.get(path), self.files.get(path), theirs.files.get(path))
            except _ConflictError:
                return path
            if text is not None:
                found[path] = text
        return Recipe(found)


class _ConflictError(Exception):
    """Both changed the same lines."""


class LineComparison(SequenceMatcher[str]):
    """Compares lines as difflib does, in a bounded number of steps.

    Where lines repeat or changes are many, difflib takes time in the square of their number, and
    the texts come from agents.
    """

    def __init__(self, a: list[str], b: list[str], *, autojunk: bool = True) -> None:
        super().__init__(None, a, b, autojunk)
        places: Mapping[str, list[int]] = getattr(self, "b2j")  # noqa: B009  typeshed lacks it
        steps = (1 + len(places.get(line, ())) for line in a)
        self._steps = [0, *accumulate(steps)]
        self._left = MAX_DIFF_STEPS

    def find_longest_match(
        self, alo: int = 0, ahi: int | None = None, blo: int = 0, bhi: int | None = None
    ) -> Match:
        """Return the longest match, or none where it would take more steps than are left."""
        end = len(self._steps) - 1 if ahi is None else ahi
        self._left -= self._steps[end] - self._steps[alo]
        if self._left < 0:
            return Match(alo, blo, 0)
        return super().find_longest_match(alo, ahi, blo, bhi)


def _merged(base: str | None, ours: str | None, theirs: str | None) -> str | None:
    if base == theirs or ours == theirs:
        return ours
    if base == ours:
        return theirs
    if base is None or ours is None or theirs is None:
        raise _ConflictError
    lines = base.splitlines(keepends=True)
    changes = sorted({*_changes(lines, ours), *_changes(lines, theirs)})
    for one, other in pairwise(changes):
        # Lines that are inserted at the edge of a change could go to either side of it.
        inserts = one[0] == one[1] or other[0] == other[1]
        if other[0] < one[1] or (inserts and other[0] == one[1]):
            raise _ConflictError
    for start, end, new in reversed(changes):
        lines[start:end] = new
    return "".join(lines)


def _changes(base: list[str], text: str) -> list[tuple[int, int, tuple[str, ...]]]:
    """Return the lines of the base that a text changes, from and up to, and what replaces them."""
    lines = text.splitlines(keepends=True)
    codes = LineComparison(base, lines, autojunk=False).get_opcodes()
    return [(i, j, tuple(lines[k:m])) for tag, i, j, k, m in codes if tag != "equal"]


def stays_inside(path: str) -> bool:
    """Return whether a path is relative, printable, and cannot leave the folder it is put below."""
    pure = PurePosixPath(path)
    plain = pure.as_posix() == path and path not in ("", ".") and path.isprintable()
    return plain and not pure.is_absolute() and not {"..", ".git"} & set(pure.parts)


def path_matches(path: str, globs: Iterable[str]) -> bool:
    """Return whether a path matches one of some globs.

    In a glob ``*`` and ``?`` stay inside one folder, as ``[...]`` does; ``**`` stands for any
    folders, also none, and at the end for all files below.
    """
    parts = path.split("/")
    return any(_parts_match(parts, glob.split("/")) for glob in globs)


def _parts_match(parts: list[str], glob: list[str]) -> bool:
    reached = {0}
    for part in glob:
        if part == "**":
            reached = set(range(min(reached), len(parts) + 1)) if reached else reached
        else:
            reached = {n + 1 for n in reached if n < len(parts) and fnmatchcase(parts[n], part)}
    return len(parts) in reached


def _check_path(path: str, editable: tuple[str, ...], where: str) -> None:
    clean = stays_inside(path)
    allowed = path_matches(path, editable)
    storable = path.isprintable() and "\\" not in path
    if not clean or not allowed or not storable or len(path.encode()) > MAX_PATH_BYTES:
        raise EditError(
            f"{where}: this path may not be edited; editable: {', '.join(editable) or '(none)'}"
        )


def _edited(files: Mapping[str, str], edit: Edit, where: str) -> str:
    if edit.search is None:
        result = edit.replace
    elif edit.path not in files:
        raise EditError(f"{where}: no such file; files: {', '.join(sorted(files))}")
    else:
        search, replace, text = edit.search, edit.replace, files[edit.path]
        if "\r" not in text:
            search, replace = _unix(search), _unix(replace)
        result = _replace_once(text, search, replace, where)
    if len(result) > MAX_FILE_CHARACTERS:
        raise EditError(f"{where}: the file would pass {MAX_FILE_CHARACTERS:,} characters")
    try:
        result.encode("utf-8")
    except UnicodeEncodeError as error:
        # JSON can name halves of characters, which no file can hold.
        raise EditError(f"{where}: the file would not be Unicode text: {error.reason}") from None
    return result


def _unix(text: str) -> str:
    """Return a text with Unix line ends and without a byte order mark, as recipes have them."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n")


def _replace_once(text: str, search: str, replace: str, where: str) -> str:
    if not search:
        raise EditError(f"{where}: the search text is empty; to write a whole file, leave it out")
    count = text.count(search)
    if count > 1:
        raise EditError(f"{where}: the search text occurs {count} times; add lines until it is one")
    if count == 1:
        return text.replace(search, replace)
    fits = _fits_but_for_blanks(text, search)
    if len(fits) == 1 and (shifted := _in_its_blanks(text, fits[0], search, replace)) is not None:
        return text[: fits[0].start()] + shifted + text[fits[0].end() :]
    if fits:
        line = text.count("\n", 0, fits[0].start()) + 1
        last = text.count("\n", 0, fits[0].end()) + 1
        there = "\n".join(text.split("\n")[line - 1 : last])
        more = f" (and in {len(fits) - 1} other places)" if len(fits) > 1 else ""
        raise EditError(
            f"{where}: the search text differs from line {line} in white space alone{more}; the "
            f"file has {there[:SHOWN_CHARACTERS]!r}"
        )
    raise EditError(
        f"{where}: the search text does not occur in the file{_nearest(text, search)}; "
        "read the recipe of the parent and copy the text exactly"
    )


def _fits_but_for_blanks(text: str, search: str) -> list[re.Match[str]]:
    """Return where a text occurs if blanks of any kind and number are the same.

    Lines end where they end in the search text, and what is no blank there is none in the file.
    """
    lines = [re.findall(r"[^\s\u00a0\u200b\ufeff]+", line) for line in search.strip().split("\n")]
    if not any(lines) or sum(map(len, lines)) > MAX_LOOSE_WORDS:
        return []
    words = (rf"{_BLANK}+".join(map(re.escape, line)) for line in lines)
    body = rf"{_BLANK}*\n{_BLANK}*".join(words)
    head = rf"(?m:^{_BLANK}+)?" if search[:1].isspace() else ""
    return list(re.finditer(f"{head}{body}", text))


def _in_its_blanks(text: str, fit: re.Match[str], search: str, replace: str) -> str | None:
    """Return the replacement indented as the file is; ``None`` if that would be a guess.

    That is one where a line is indented further or less than in the search text, and not only by
    other characters.
    """
    if "\n" not in search.strip("\n") and not search[:1].isspace():
        return replace
    theirs, ours = search.strip("\n").split("\n"), fit[0].split("\n")
    if len(theirs) != len(ours) or (fit.start() and text[fit.start() - 1] != "\n"):
        return None
    known: dict[str, str] = {}
    for one, other in zip(theirs, ours, strict=True):
        if not one.strip() or not other.strip():
            continue
        given, there = _indent(one), _indent(other)
        if not any(_columns(given, tab) == _columns(there, tab) for tab in (2, 4, 8)):
            return None
        known.setdefault(given, there)
    lines = []
    for line in replace.strip("\n").split("\n") if search.endswith("\n") else replace.split("\n"):
        own = max((i for i in known if line.startswith(i)), key=len, default=None)
        lines.append(line if own is None else known[own] + line[len(own) :])
    return "\n".join(lines) + ("\n" if search.endswith("\n\n") else "")


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _columns(indent: str, tab: int) -> int:
    return len(indent.replace("\u00a0", " ").expandtabs(tab))


def _nearest(text: str, search: str) -> str:
    """Name the line that is most like the first line of the search text, to help fix the edit."""
    wanted = next((line.strip() for line in search.splitlines() if line.strip()), "")
    wanted = wanted[:COMPARED_CHARACTERS]
    lines = {
        line.strip()[:COMPARED_CHARACTERS]: number
        for number, line in enumerate(text.splitlines(), start=1)
    }
    pairs = Counter(map("".join, pairwise(wanted)))

    def common(line: str) -> int:
        return (pairs & Counter(map("".join, pairwise(line)))).total()

    # To compare every line takes long, and they come from agents: those with most in common are.
    likely = nlargest(COMPARED_LINES, lines, key=common)
    close = difflib.get_close_matches(wanted, likely, n=1, cutoff=0.6)
    return f" (nearest: line {lines[close[0]]}: {close[0][:120]!r})" if close else ""


def _file_diff(path: str, before: str | None, after: str | None) -> str:
    lines = _hunks(_lines(before), _lines(after))
    head = f"diff --git a/{path} b/{path}\n"
    if before is None:
        head += "new file mode 100644\n"
    if after is None:
        head += "deleted file mode 100644\n"
    if before or after:
        old = "/dev/null" if before is None else f"a/{path}"
        head += f"--- {old}\n+++ {'/dev/null' if after is None else f'b/{path}'}\n"
    return head + "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def _hunks(before: list[str], after: list[str]) -> Iterator[str]:
    """Yield the lines of a unified diff below its head."""
    for group in LineComparison(before, after).get_grouped_opcodes():
        (_, old, _, new, _), (_, _, old_end, _, new_end) = group[0], group[-1]
        yield f"@@ -{_span(old, old_end)} +{_span(new, new_end)} @@\n"
        for tag, i, j, k, m in group:
            if tag == "equal":
                yield from (f" {line}" for line in before[i:j])
                continue
            yield from (f"-{line}" for line in before[i:j])
            yield from (f"+{line}" for line in after[k:m])


def _span(start: int, end: int) -> str:
    """Return the place of lines in the head of a hunk: the first one from 1, and how many."""
    if end - start == 1:
        return str(end)
    # Of no lines, the one before them.
    return f"{start + (end > start)},{end - start}"


def _lines(text: str | None) -> list[str]:
    # Only "\n" ends a line for a patch; splitlines() would also split on form feeds and the like.
    *whole, last = (text or "").split("\n")
    return [*(line + "\n" for line in whole), *([last] if last else [])]


def syntax_error(files: Mapping[str, str], *, python: str | None = None) -> str | None:
    """Return the first syntax error in the Python files, as ``path:line: message``.

    Parsing runs no code, so this is safe on text from agents.

    Args:
        files: The recipe.
        python: The version that it is written for, as ``3.12``. An older Python than that cannot
            tell, so ``None`` is returned, and the preflight will find the error.
    """
    if python is not None and tuple(map(int, python.split("."))) > sys.version_info[:2]:
        return None
    for path in sorted(files):
        if path.endswith(".py") and (error := _parsed(files[path]).error):
            return f"{path}:{error}"
    return None


@dataclass(frozen=True)
class _Parsed:
    """What the parser makes of a text: its first error, or a digest of its meaning."""

    error: str = ""
    meaning: bytes | None = None


def _meaning(path: str, text: str) -> bytes:
    meaning = _parsed(text).meaning if path.endswith(".py") else None
    return meaning or hashlib.sha256(b"\0" + text.encode("utf-8", "surrogatepass")).digest()


@lru_cache(maxsize=256)
def _parsed(text: str) -> _Parsed:
    try:
        module = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None) or 0
        return _Parsed(f"{line}: {type(error).__name__}: {getattr(error, 'msg', error)}")
    if len(text) > MAX_MEANING_CHARACTERS:
        return _Parsed()
    try:
        meanings = [_segment_meaning(segment) for segment in _segments(text, module)]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        # A statement may not parse without those above it, or hold a number that is too long to
        # write out.
        return _Parsed()
    return _Parsed(meaning=hashlib.sha256(b"\1" + b"".join(meanings)).digest())


def _segments(text: str, module: ast.Module) -> Iterator[str]:
    """Yield the lines of each statement; statements that share a line come together."""
    lines = _LINE_END.split(text)
    begin, end = 0, 0
    for statement in module.body:
        decorators = getattr(statement, "decorator_list", [])
        first = min([statement.lineno, *(node.lineno for node in decorators)])
        if first > end:
            if end:
                yield "\n".join(lines[begin - 1 : end])
            begin = first
        end = statement.end_lineno or statement.lineno
    if end:
        yield "\n".join(lines[begin - 1 : end])


# An edit changes few statements of a recipe, and to write out the syntax tree of the others again
# would take longer than all the rest of a check.
@lru_cache(maxsize=4096)
def _segment_meaning(segment: str) -> bytes:
    return b"".join(
        hashlib.sha256(ast.dump(statement).encode("utf-8", "surrogatepass")).digest()
        for statement in ast.parse(segment).body
    )
