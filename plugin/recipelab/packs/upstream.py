"""A recipe that starts from somebody else's repository: how it is fetched, and what is protected.

The files come from the user's own clone or, if the user agrees, by git from the address that the
pack names; always at the pinned commit, always checked by hash. They are kept once per user beside
the data and never in a pack.

Where such a recipe scores itself, the functions that do so are protected: :func:`changed_names`
finds edits of them.
"""

from __future__ import annotations

import ast
import hashlib
import lzma
import re
import subprocess
import tempfile
from base64 import b85decode
from collections.abc import Mapping, Sequence
from pathlib import Path

from recipelab.core.content import cache_root, make_private
from recipelab.core.errors import DataError, PackError
from recipelab.packs.sections import Protected, Upstream, UpstreamFile

GIT_SECONDS = 600

_COMPRESSED = re.compile(r"b85decode\(\s*(\"|')(?P<text>[^\"']*)\1")


def upstream_texts(upstream: Upstream, pack: str, profile: str) -> dict[str, str]:
    """Return the files of upstream as a recipe has them, by their place in the recipe.

    Args:
        upstream: The repository and its files.
        pack: Name of the pack, for the error.
        profile: Name of the profile, for the error.

    Raises:
        PackError: They were not fetched yet, are not what they were, or do not have the texts that
            the pack replaces.
    """
    texts = {}
    for item in upstream.files:
        path = _kept_path(upstream, item)
        raw = path.read_bytes() if path.is_file() else b""
        if _sha256_of(raw) != item.sha256:
            raise PackError(
                f"{item.path} of {upstream.name} is not here; fetch it with: "
                f"recipelab packs fetch {pack} --profile {profile} [--source CLONE]"
            )
        texts[item.target] = _replaced(_source_text(raw, item), item)
    return texts


def missing_files(upstream: Upstream) -> tuple[UpstreamFile, ...]:
    """Return the files that are still to be fetched."""
    missing = []
    for item in upstream.files:
        path = _kept_path(upstream, item)
        if not path.is_file() or _sha256_of(path.read_bytes()) != item.sha256:
            missing.append(item)
    return tuple(missing)


def take_from_clone(upstream: Upstream, clone: Path) -> None:
    """Keep the files of a clone: from the pinned commit, or else as they lie there.

    Args:
        upstream: The repository and its files.
        clone: Folder of a clone, or of a bare repository.

    Raises:
        DataError: A file is missing or differs; nothing is kept then.
    """
    if not clone.is_dir():
        raise DataError(f"no folder {clone}; --source is a clone of {upstream.name}")
    contents = {item: _read_from_clone(upstream, clone, item) for item in upstream.files}
    for item, raw in contents.items():
        path = _kept_path(upstream, item)
        make_private(path.parent)
        part = path.with_name(path.name + ".part")
        part.write_bytes(raw)
        part.replace(path)


def take_by_git(upstream: Upstream) -> None:
    """Fetch the pinned commit alone from the address of upstream, and keep the files.

    Raises:
        DataError: git is not installed, or cannot reach the address.
    """
    with tempfile.TemporaryDirectory(prefix="recipelab-upstream-") as scratch:
        folder = Path(scratch)
        for words in (
            ("init", "--quiet"),
            ("fetch", "--quiet", "--depth=1", upstream.url, upstream.commit),
        ):
            done = _git(folder, *words)
            if done.returncode != 0:
                lines = done.stderr.decode(errors="replace").strip().splitlines()
                reason = lines[-1] if lines else "git failed"
                raise DataError(f"{upstream.name} from {upstream.url}: {reason}")
        take_from_clone(upstream, folder)


def _read_from_clone(upstream: Upstream, clone: Path, item: UpstreamFile) -> bytes:
    pinned = _git(clone, "show", f"{upstream.commit}:{item.path}")
    found = [pinned.stdout] if pinned.returncode == 0 else []
    if (clone / item.path).is_file():
        found.append((clone / item.path).read_bytes())
    for raw in found:
        if _sha256_of(raw) == item.sha256:
            return raw
    if found:
        digest = _sha256_of(found[0])
        reason = f"is another file: sha256 {digest[:12]}..., expected {item.sha256[:12]}..."
    else:
        reason = f"is not there; is it a clone of {upstream.url} that has {upstream.commit[:12]}?"
    raise DataError(f"{clone}: {item.path} {reason}")


def _git(folder: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    # A clone may belong to another user of this machine; reading files out of it is harmless.
    command = ["git", "-c", "safe.directory=*", "-C", str(folder), *words]
    try:
        return subprocess.run(command, capture_output=True, timeout=GIT_SECONDS)
    except FileNotFoundError:
        raise DataError("git is not on this machine; give --source with a clone") from None
    except subprocess.TimeoutExpired:
        raise DataError(f"git gave no answer within {GIT_SECONDS} s") from None


def _source_text(raw: bytes, item: UpstreamFile) -> str:
    """Return the source of a file, decompressed if the file is a script that unpacks itself."""
    text = raw.decode("utf-8")
    if item.unpack is None:
        return text
    compressed = _COMPRESSED.search(text)
    if compressed is None:
        raise PackError(f"{item.path}: it holds no compressed source")
    body, filters = b85decode(compressed["text"]), [{"id": lzma.FILTER_LZMA2}]
    return lzma.decompress(body, format=lzma.FORMAT_RAW, filters=filters).decode("utf-8")


def _replaced(text: str, item: UpstreamFile) -> str:
    """Return the source of a file with the pack's own settings in it."""
    for number, one in enumerate(item.replace, 1):
        count = text.count(one.find)
        if count != 1:
            raise PackError(
                f"upstream.files: {item.path}: replace {number}: {one.find!r} is there "
                f"{count} times; valid: a text that is there exactly once"
            )
        text = text.replace(one.find, one.replace)
    return text


def _kept_path(upstream: Upstream, item: UpstreamFile) -> Path:
    # The hash keeps apart files of the same name that two packs have.
    return cache_root() / "upstream" / upstream.commit / item.sha256


def _sha256_of(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def changed_names(
    before: Mapping[str, str], after: Mapping[str, str], protected: Sequence[Protected]
) -> tuple[str, ...]:
    """Return the protected functions and classes that an edit changed, as ``path: name``.

    Of a file that is protected as a whole the path alone is returned.

    A function is the same if its text is, or if Python reads both alike (comments and layout may
    change). A second definition of its name anywhere in the file, or an assignment to it, counts
    as a change: the last one would be called.

    Args:
        before: The recipe that the pack starts from.
        after: The edited recipe.
        protected: The functions and classes that have to stay.
    """
    found = []
    for item in protected:
        old, new = before.get(item.path, ""), after.get(item.path, "")
        changed = [name for name in item.names if not _is_unchanged(old, new, name)]
        found += [f"{item.path}: {name}" for name in changed]
        if not item.names and old != new:
            found.append(item.path)
    return tuple(found)


def defined_names(text: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return the names, out of some, that a file defines exactly once at its top level."""
    return tuple(name for name in names if len(_definitions(text, name)) == 1)


def _is_unchanged(before: str, after: str, name: str) -> bool:
    old, new = _definitions(before, name), _definitions(after, name)
    rebound = _count_bindings(after, name) > _count_bindings(before, name)
    if len(old) != 1 or len(new) != 1 or rebound:
        return False
    tree = _syntax_tree(old[0])
    return old == new or (tree is not None and tree == _syntax_tree(new[0]))


def _definitions(text: str, name: str) -> list[str]:
    """Return the texts of all top-level definitions of a name, with their decorators.

    They are found by lines and not by parsing, as a recipe may be for a later Python than this.
    """
    lines = text.splitlines(keepends=True)
    head = re.compile(rf"(async\s+def|def|class)\s+{re.escape(name)}\b")
    found = []
    for number, line in enumerate(lines):
        if not head.match(line):
            continue
        first, last = number, number + 1
        while first > 0 and lines[first - 1].startswith("@"):
            first -= 1
        while last < len(lines) and (lines[last][:1] in " \t#\r\n" or not lines[last].strip()):
            last += 1
        found.append("".join(lines[first:last]).rstrip())
    return found


def _count_bindings(text: str, name: str) -> int:
    """Count the other places that bind a name, or could by a string that names it."""
    word = re.escape(name)
    ways = (
        rf"\b{word}\s*(:[^=\n]*)?=(?!=)",
        rf"\b(def|class|global|nonlocal|import|as|for)\s+{word}\b",
        rf"[\"']{word}[\"']",
    )
    return sum(len(re.findall(way, text)) for way in ways)


def _syntax_tree(block: str) -> str | None:
    try:
        return ast.dump(ast.parse(block))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
