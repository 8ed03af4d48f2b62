"""Patches: read as the edits of a proposal, and placed so that ``git apply`` finds the files.

Git itself takes them apart: whatever it accepts is accepted, and nothing else is.
"""

from __future__ import annotations

import codecs
import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from recipelab.core.errors import EditError, RecipelabError
from recipelab.core.recipe import stays_inside
from recipelab.core.text_form import BYTES_KEPT, TextForm
from recipelab.core.trial import Edit
from recipelab.exchange.git import git, need_git

MAX_PATCH_BYTES = 4_000_000
"""A longer patch is refused: it carries data, not a change of a recipe."""

MAX_PATCH_FILES = 500
"""A patch of more files is refused: it takes seconds to try, and changes no recipe."""
_FILE_HEADS = re.compile(rb"^(?:diff --git|---|\+\+\+) ", re.MULTILINE)
_BINARY = re.compile(rb"^GIT binary patch\r?$", re.MULTILINE)

NO_BYTES: Mapping[str, bytes] = MappingProxyType({})


def patch_prefix(pack: Path, here: Path) -> str:
    """Return what stands before a recipe's paths in a patch, so that ``git apply`` finds the files.

    Git takes paths from the top of the repository that holds the pack, wherever in it it is called.
    Where there is none, they are those of the pack, for a patch that is applied in its folder.

    Args:
        pack: The pack's folder.
        here: The folder where the patch is to be applied.

    Returns:
        A path that ends with a slash; empty where the pack lies elsewhere, or in no repository.
    """
    pack, here = pack.resolve(), here.resolve()
    top = _repository(pack)
    if top is None or not here.is_relative_to(top) or pack == top:
        return ""
    return f"{pack.relative_to(top).as_posix()}/"


def left_out_by_git(patch: str, pack: Path, here: Path) -> str | None:
    """Return which files ``git apply`` would leave out here; ``None`` if none.

    In a folder of a repository it passes over the files that lie outside of that folder, without a
    word. Where there is no repository, the patch is for the pack's folder.

    Args:
        patch: The diff.
        pack: The pack's folder.
        here: The folder where it is to be applied.
    """
    pack, here = pack.resolve(), here.resolve()
    top = _repository(here)
    paths = re.findall(r"(?m)^\+\+\+ b/(.+)$", patch)
    if top is None:
        missing = [path for path in paths if not (here / path).parent.exists()]
        if not missing or not pack.is_relative_to(here):
            return None
        return f"git apply finds no {missing[0]} in {here}: call it in {pack}, or give --prefix"
    outside = [path for path in paths if not (top / path).is_relative_to(here)]
    if not outside:
        return None
    what = "nothing" if len(outside) == len(paths) else f"not {', '.join(outside)}"
    return f"git apply would apply {what} in {here}: call it in {top}, or give --prefix"


def _repository(folder: Path) -> Path | None:
    """Return the top of the repository that a folder lies in."""
    return next((top for top in (folder, *folder.parents) if (top / ".git").exists()), None)


def _strip_of(files: Mapping[str, str], patch: bytes) -> int:
    """Return how many parts of its paths a patch has before those of the recipe, with ``a/``."""
    tops = {path.split("/")[0] for path in files}
    depths: set[int] = set()
    for line in re.findall(rb"(?m)^(?:---|\+\+\+) [ab]/(.+?)\r?$", patch):
        parts = line.decode("utf-8", "replace").split("\t")[0].split("/")
        depths.add(next((place for place, part in enumerate(parts) if part in tops), 0))
    return 1 + depths.pop() if len(depths) == 1 else 1


def edits_of_patch(
    files: Mapping[str, str], patch: bytes, forms: Mapping[str, TextForm] | None = None
) -> tuple[Edit, ...]:
    """Apply a unified diff to the files of a recipe.

    Git itself applies it, so that whatever ``git diff`` writes is read: several files, new files,
    renames, quoted names, missing newlines at the end. Contexts must fit exactly; line numbers
    need not.

    Args:
        files: The recipe: path to text.
        patch: The diff, with paths as the recipe has them below ``a/`` and ``b/``, or as the user's
            repository has them.
        forms: The user's own files, which it may have been made of: with other line ends, a byte
            order mark, another encoding.

    Returns:
        The whole new content of each file that it changes, in the order of their paths.

    Raises:
        EditError: It does not apply, is too large, or does something that edits cannot: deletes a
            file, makes a link, or writes something other than UTF-8 text.
        RecipelabError: Git is missing.
    """
    need_git("to read a patch recipelab")
    patch = _without_mark(patch)
    if not patch.strip():
        raise EditError("the patch is empty; make one with: git diff --relative")
    if len(patch) > MAX_PATCH_BYTES:
        raise EditError(f"the patch has {len(patch):,} bytes; at most {MAX_PATCH_BYTES:,} are read")
    # A patch names each file three times; lines of text that look alike are not many.
    if len(heads := _FILE_HEADS.findall(patch)) > 3 * MAX_PATCH_FILES:
        raise EditError(
            f"the patch is of some {len(heads) // 3:,} files; at most {MAX_PATCH_FILES} are read"
        )
    if _BINARY.search(patch):
        # Compressed, a few kilobytes of it can stand for gigabytes.
        raise EditError("the patch holds binary data (GIT binary patch); a recipe has only text")
    after = _apply_despite_line_ends(files, patch, forms or {})
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


def _without_mark(patch: bytes) -> bytes:
    """Return a patch as Git reads it, whatever a shell of Windows made of its encoding.

    Raises:
        EditError: It begins as UTF-16 does, and is none.
    """
    if patch.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return patch.decode("utf-16").encode("utf-8", BYTES_KEPT)
        except UnicodeError:
            raise EditError("the patch is damaged UTF-16; write it as UTF-8") from None
    return patch.removeprefix(codecs.BOM_UTF8)


def _apply_despite_line_ends(
    files: Mapping[str, str], patch: bytes, forms: Mapping[str, TextForm]
) -> dict[str, str]:
    """Apply a patch as it is, or as it was before its line ends became those of Windows."""
    with suppress(EditError, UnicodeEncodeError):
        own = {
            path: forms[path].bytes_of(text)
            for path, text in files.items()
            if path in forms and forms[path].raw != forms[path].text.encode("utf-8")
        }
        if own:
            return _apply(files, patch, own)
    # Recipes are read with Unix line ends, so a patch of files that had others fits only so.
    unix = patch.replace(b"\r\n", b"\n")
    if patch.count(b"\n") == patch.count(b"\r\n"):
        patch = unix
    try:
        return _apply(files, patch)
    except EditError:
        if patch == unix:
            raise
    return _apply(files, unix)


def _apply(
    files: Mapping[str, str], patch: bytes, own: Mapping[str, bytes] = NO_BYTES
) -> dict[str, str]:
    """Apply a patch by Git in a folder of its own.

    Args:
        files: The files.
        patch: The patch.
        own: The bytes of files that are not written as plain UTF-8.

    Raises:
        EditError: It does not apply.
    """
    with tempfile.TemporaryDirectory(prefix="recipelab-patch-") as name:
        folder = Path(name)
        for path, text in files.items():
            if not stays_inside(path):
                raise EditError(f"the recipe has a file that cannot be written: {path!r}")
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(own.get(path) or text.encode("utf-8"))
        try:
            strip = f"-p{_strip_of(files, patch)}"
            git(folder, "apply", "--whitespace=nowarn", strip, "-", stream=[patch])
        except RecipelabError as error:
            known = ", ".join(sorted(files))
            raise EditError(
                f"the patch does not apply: {error}; it must fit the parent's files: {known} "
                "(in a folder of a repository, make it with: git diff --relative)"
            ) from None
        return _texts_of(folder, own)


def _texts_of(folder: Path, own: Mapping[str, bytes]) -> dict[str, str]:
    found: dict[str, str] = {}
    for file in sorted(folder.rglob("*")):
        path = file.relative_to(folder).as_posix()
        if file.is_symlink():
            raise EditError(f"the patch makes a link of {path}; only plain files can be tried")
        if file.is_file():
            content = file.read_bytes()
            form = TextForm.read(content) if path in own else None
            try:
                found[path] = form.text if form is not None else content.decode("utf-8")
            except UnicodeDecodeError:
                raise EditError(f"the patch makes {path} other than UTF-8 text") from None
    return found
