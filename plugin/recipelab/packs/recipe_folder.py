"""The folder of a starting recipe, as it lies on disk: texts, what rides along, what is left out.

Ordinary repositories hold more than text. Pictures, notebooks and weights ride along: phases of the
recipe see them, and nobody can edit them. What belongs to tools and not to the recipe, as ``.git``,
is left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from recipelab.core.content import MAX_TEXT_BYTES, leads_inside, read_limited
from recipelab.core.errors import PackError
from recipelab.core.recipe import MAX_FILE_CHARACTERS, path_matches, stays_inside
from recipelab.core.text_form import TextForm

LEFT_OUT = (
    *(".git", ".hg", ".svn", ".DS_Store", "Thumbs.db", "desktop.ini", "__pycache__", "*.pyc"),
    *(".ipynb_checkpoints", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".tox", ".nox"),
    *(".venv", "node_modules", ".idea", ".vscode", ".recipelab"),
)
"""Names of what no recipe needs, as patterns."""

NOTEBOOK = ".ipynb"
"""Suffix of files that are text and that nobody edits as text."""


@dataclass(frozen=True)
class RecipeFolder:
    """What lies in the folder of a starting recipe. Paths begin with the folder's own name.

    Attributes:
        texts: The files that agents can read.
        carried: Files that ride along, read-only, with where they lie.
        executable: Files that may be run.
        left_out: Files and folders that are no part of the recipe, each with the reason.
    """

    texts: Mapping[str, TextForm]
    carried: Mapping[str, Path]
    executable: frozenset[str]
    left_out: Mapping[str, str]

    def bytes_of(self, path: str, text: str) -> bytes:
        """Return the text of a recipe's file as it is written to disk: in the form of its own file.

        Raises:
            UnicodeEncodeError: The encoding of its file has no such character.
        """
        form = self.texts.get(path)
        return form.bytes_of(text) if form is not None else text.encode("utf-8")


def read_recipe_folder(root: Path, folder: str, editable: tuple[str, ...]) -> RecipeFolder:
    """Read the folder of a starting recipe.

    Args:
        root: The pack's folder; no link may lead out of it, as what files say goes to models.
        folder: The recipe's folder in it.
        editable: Globs of the files that agents may change; a notebook is text if one matches.

    Raises:
        PackError: A file cannot be read, or a link leads out of the pack.
    """
    texts: dict[str, TextForm] = {}
    carried: dict[str, Path] = {}
    executable: set[str] = set()
    left_out: dict[str, str] = {}
    for path, file in _walk(root, root / folder, folder, left_out):
        if os.stat(file).st_mode & 0o111:
            executable.add(path)
        form = _text_of(file)
        data = form is None or (path.endswith(NOTEBOOK) and not path_matches(path, editable))
        if data or form is None:
            carried[path] = file
        else:
            texts[path] = form
    return RecipeFolder(texts, carried, frozenset(executable), left_out)


def _text_of(file: Path) -> TextForm | None:
    """Return the text of a file; ``None`` if it is none, or too long for one."""
    try:
        if os.stat(file).st_size > MAX_TEXT_BYTES:
            return None
        form = TextForm.read(read_limited(file))
    except OSError as error:
        raise PackError(f"{file}: cannot be read: {error.strerror}") from None
    return form if form is not None and len(form.text) <= MAX_FILE_CHARACTERS else None


def _walk(root: Path, top: Path, name: str, left_out: dict[str, str]) -> Iterator[tuple[str, Path]]:
    """Yield the files of a folder with their paths, sorted; note what is left out."""
    todo = [(name, top)]
    seen = {os.path.realpath(top)}
    found: list[tuple[str, Path]] = []
    while todo:
        prefix, folder = todo.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise PackError(f"{folder}: cannot be read: {error.strerror}") from None
        for entry in entries:
            path, file = f"{prefix}/{entry.name}", Path(entry.path)
            if any(fnmatchcase(entry.name, pattern) for pattern in LEFT_OUT):
                left_out[path] = "of a tool"
            elif not stays_inside(path):
                left_out[ascii(path)[1:-1]] = "its name cannot be written everywhere"
            elif entry.is_symlink() and not leads_inside(file, root):
                raise PackError(
                    f"{file}: a link that leads out of the pack; put the file itself there"
                )
            elif entry.is_dir():
                if (real := os.path.realpath(file)) in seen and entry.is_symlink():
                    left_out[path] = "a link in a circle"
                else:
                    seen.add(real)
                    todo.append((path, file))
            elif entry.is_file():
                found.append((path, file))
            else:
                left_out[path] = "neither a file nor a folder"
    yield from sorted(found)
