"""A recipe: the files that train a model, and the edits that agents make to them.

Everything here is pure: text in, text out. Reading folders is the pack's work, storing is the
lineage's.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import PurePosixPath

from recipelab.errors import EditError
from recipelab.trial import Edit

MAX_FILE_CHARACTERS = 400_000
"""A recipe file longer than this is refused: it is data, not a recipe."""
MAX_PATH_BYTES = 200
"""A longer path is refused: every file system must be able to store the recipe."""


@dataclass(frozen=True)
class Recipe:
    """The files of a recipe by path.

    Attributes:
        files: Path with forward slashes, as ``recipe/train.py``, to text.
    """

    files: Mapping[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 over paths and contents, so that equal recipes are found again."""
        total = hashlib.sha256()
        for path in sorted(self.files):
            for part in (path, self.files[path]):
                data = part.encode("utf-8", "surrogatepass")
                total.update(len(data).to_bytes(8, "big"))
                total.update(data)
        return total.hexdigest()

    @property
    def meaning(self) -> str:
        """SHA-256 over what Python sees of each file: equal recipes but for comments and layout.

        Files that are not Python, or do not parse, count as they are.
        """
        total = hashlib.sha256()
        for path in sorted(self.files):
            total.update(hashlib.sha256(path.encode("utf-8", "surrogatepass")).digest())
            total.update(_meaning(path.endswith(".py"), self.files[path]))
        return total.hexdigest()

    def editable(self, patterns: Iterable[str]) -> tuple[str, ...]:
        """The paths of its files that match one of some globs, in order."""
        globs = tuple(patterns)
        return tuple(path for path in sorted(self.files) if _matches(path, globs))

    def apply(self, edits: Iterable[Edit], editable: Iterable[str]) -> Recipe:
        """Applies edits in order.

        Args:
            edits: Search/replace blocks or whole files.
            editable: Glob patterns of the paths that may change.

        Returns:
            The edited recipe; this one is unchanged.

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
        """Unified diff from this recipe to another, in the form that ``git apply`` takes."""
        parts: list[str] = []
        for path in sorted({*self.files, *other.files}):
            before, after = self.files.get(path), other.files.get(path)
            if before != after:
                parts.append(_file_diff(path, before, after))
        return "".join(parts)


def stays_inside(path: str) -> bool:
    """Whether a path is a plain one that leads out of no folder it is put below."""
    pure = PurePosixPath(path)
    plain = pure.as_posix() == path and path not in ("", ".") and path.isprintable()
    return plain and not pure.is_absolute() and not {"..", ".git"} & set(pure.parts)


def _matches(path: str, globs: tuple[str, ...]) -> bool:
    # fnmatch lets "*" cross folders, which is what "recipe/*.py" should not do.
    return any(fnmatchcase(path, glob) and path.count("/") == glob.count("/") for glob in globs)


def _check_path(path: str, editable: tuple[str, ...], where: str) -> None:
    clean = stays_inside(path)
    allowed = _matches(path, editable)
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
        result = _replace_once(files[edit.path], edit.search, edit.replace, where)
    if len(result) > MAX_FILE_CHARACTERS:
        raise EditError(f"{where}: the file would pass {MAX_FILE_CHARACTERS:,} characters")
    try:
        result.encode("utf-8")
    except UnicodeEncodeError as error:
        # JSON can name halves of characters, which no file can hold.
        raise EditError(f"{where}: the file would not be Unicode text: {error.reason}") from None
    return result


def _replace_once(text: str, search: str, replace: str, where: str) -> str:
    if not search:
        raise EditError(f"{where}: the search text is empty; to write a whole file, leave it out")
    count = text.count(search)
    if count == 0:
        raise EditError(
            f"{where}: the search text does not occur in the file{_nearest(text, search)}; "
            "read the recipe of the parent and copy the text exactly"
        )
    if count > 1:
        raise EditError(f"{where}: the search text occurs {count} times; add lines until it is one")
    return text.replace(search, replace)


def _nearest(text: str, search: str) -> str:
    """Names the line most like the first line of the search text, to help mend the edit."""
    wanted = next((line.strip() for line in search.splitlines() if line.strip()), "")
    lines = {line.strip(): number for number, line in enumerate(text.splitlines(), start=1)}
    close = difflib.get_close_matches(wanted, lines, n=1, cutoff=0.6)
    return f" (nearest: line {lines[close[0]]}: {close[0][:120]!r})" if close else ""


def _file_diff(path: str, before: str | None, after: str | None) -> str:
    lines = difflib.unified_diff(
        _lines(before),
        _lines(after),
        fromfile="/dev/null" if before is None else f"a/{path}",
        tofile="/dev/null" if after is None else f"b/{path}",
    )
    head = f"diff --git a/{path} b/{path}\n"
    if before is None:
        head += "new file mode 100644\n"
    if after is None:
        head += "deleted file mode 100644\n"
    return head + "".join(_terminated(line) for line in lines)


def _lines(text: str | None) -> list[str]:
    # Only "\n" ends a line for a patch; splitlines() would also split on form feeds and the like.
    *whole, last = (text or "").split("\n")
    return [*(line + "\n" for line in whole), *([last] if last else [])]


def _terminated(line: str) -> str:
    return line if line.endswith("\n") else line + "\n\\ No newline at end of file\n"


def syntax_error(files: Mapping[str, str], *, python: str | None = None) -> str | None:
    """The first syntax error in the Python files, as ``path:line: message``, or ``None``.

    Parsing runs no code, so this is safe on text from agents.

    Args:
        files: The recipe.
        python: The version that it is written for, as ``3.12``. A Python that is older than that
            cannot tell, and then nothing is said: the preflight will.
    """
    if python is not None and tuple(map(int, python.split("."))) > sys.version_info[:2]:
        return None
    for path in sorted(files):
        if not path.endswith(".py"):
            continue
        try:
            ast.parse(files[path], filename=path)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            line = getattr(error, "lineno", None) or 0
            return f"{path}:{line}: {type(error).__name__}: {getattr(error, 'msg', error)}"
    return None


@lru_cache(maxsize=256)
def _meaning(python: bool, text: str) -> bytes:
    if python:
        try:
            text = ast.dump(ast.parse(text))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            python = False
    return hashlib.sha256(bytes([python]) + text.encode("utf-8", "surrogatepass")).digest()
