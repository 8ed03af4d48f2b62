"""A patch that a person made, turned into edits of a recipe."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from recipelab.errors import EditError, RecipelabError
from recipelab.exchange.git_program import git, need_git
from recipelab.recipe import stays_inside
from recipelab.trial import Edit

MAX_PATCH_BYTES = 4_000_000
"""A longer patch is refused: it carries data, not a change of a recipe."""


def edits_of_patch(files: Mapping[str, str], patch: bytes) -> tuple[Edit, ...]:
    """Applies a unified diff to the files of a recipe.

    Git itself applies it, so that whatever ``git diff`` writes is read: several files, new files,
    renames, quoted names, missing newlines at the end. Contexts must fit exactly; line numbers
    need not.

    Args:
        files: The recipe: path to text.
        patch: The diff, with paths as the recipe has them below ``a/`` and ``b/``.

    Returns:
        The whole new content of each file that it changes, in the order of their paths.

    Raises:
        EditError: It does not apply, or says what edits cannot: to delete a file, make a link, or
            write something other than UTF-8 text.
        RecipelabError: Git is missing.
    """
    need_git("to read a patch recipelab")
    if not patch.strip():
        raise EditError("the patch is empty; make one with: git diff --relative")
    if len(patch) > MAX_PATCH_BYTES:
        raise EditError(f"the patch has {len(patch):,} bytes; at most {MAX_PATCH_BYTES:,} are read")
    after = _applied_somehow(files, patch)
    for path in files:
        if path not in after:
            raise EditError(
                f"the patch deletes or renames {path}; a trial can only change and add files, so "
                "leave it (it may be empty)"
            )
    changed = [path for path in sorted(after) if after[path] != files.get(path)]
    if not changed:
        raise EditError("the patch changes the text of no file")
    return tuple(Edit(path, None, after[path]) for path in changed)


def _applied_somehow(files: Mapping[str, str], patch: bytes) -> dict[str, str]:
    """Applies a patch as it is, or as it was before its line ends became those of Windows."""
    # Recipes are read with plain line ends, so a patch of files that had others fits only so.
    plain = patch.replace(b"\r\n", b"\n")
    if patch.count(b"\n") == patch.count(b"\r\n"):
        patch = plain
    try:
        return _applied(files, patch)
    except EditError:
        if patch == plain:
            raise
    return _applied(files, plain)


def _applied(files: Mapping[str, str], patch: bytes) -> dict[str, str]:
    with tempfile.TemporaryDirectory(prefix="recipelab-patch-") as name:
        folder = Path(name)
        for path, text in files.items():
            if not stays_inside(path):
                raise EditError(f"the recipe has a file that cannot be written: {path!r}")
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(text.encode("utf-8"))
        try:
            git(folder, "apply", "--whitespace=nowarn", "-", stream=patch)
        except RecipelabError as error:
            known = ", ".join(sorted(files))
            raise EditError(
                f"the patch does not apply: {error}; it must fit the parent's files: {known} "
                "(in a folder of a repository, make it with: git diff --relative)"
            ) from None
        return _read(folder)


def _read(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for file in sorted(folder.rglob("*")):
        path = file.relative_to(folder).as_posix()
        if file.is_symlink():
            raise EditError(f"the patch makes a link of {path}; only plain files can be tried")
        if file.is_file():
            try:
                found[path] = file.read_bytes().decode("utf-8")
            except UnicodeDecodeError:
                raise EditError(f"the patch makes {path} other than UTF-8 text") from None
    return found
