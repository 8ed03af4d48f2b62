"""Takes the files that a recipe starts from out of somebody else's repository.

They come from the user's own clone or, with the user's yes, by git from the address that the pack
names; always at the pinned commit, always checked by hash. They are kept once per user beside the
data and never in a pack.
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

from recipelab.core.content import cache_root
from recipelab.core.errors import DataError, PackError
from recipelab.packs.sections import Protected, Upstream, UpstreamFile

GIT_SECONDS = 600

_PACKED = re.compile(r"b85decode\(\s*(\"|')(?P<text>[^\"']*)\1")


def upstream_texts(upstream: Upstream, pack: str, profile: str) -> dict[str, str]:
    """The files of upstream as a recipe has them, by their place in the recipe.

    Args:
        upstream: What is taken.
        pack: Name of the pack, for the error.
        profile: Name of the profile, for the error.

    Raises:
        PackError: They were not fetched yet, or are not what they were.
    """
    found = {}
    for item in upstream.files:
        path = _kept(upstream, item)
        raw = path.read_bytes() if path.is_file() else b""
        if _hash(raw) != item.sha256:
            raise PackError(
                f"{item.path} of {upstream.name} is not here; fetch it with: "
                f"recipelab packs fetch {pack} --profile {profile} [--source CLONE]"
            )
        found[item.target] = _as_text(raw, item)
    return found


def missing_files(upstream: Upstream) -> tuple[UpstreamFile, ...]:
    """The files that are not kept yet."""
    return tuple(item for item in upstream.files if not _is_kept(upstream, item))


def take_from_clone(upstream: Upstream, clone: Path) -> None:
    """Takes all files out of a clone: from the pinned commit, or as they lie there.

    Args:
        upstream: What is taken.
        clone: Folder of a clone, or of a bare repository.

    Raises:
        DataError: A file is not there, or is another; nothing is kept then.
    """
    if not clone.is_dir():
        raise DataError(f"no folder {clone}; --source is a clone of {upstream.name}")
    taken = {item: _from_clone(upstream, clone, item) for item in upstream.files}
    for item, raw in taken.items():
        path = _kept(upstream, item)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        part.write_bytes(raw)
        part.replace(path)


def take_by_git(upstream: Upstream) -> None:
    """Fetches the pinned commit alone from the address of upstream, and takes the files.

    Raises:
        DataError: git is not there, or cannot reach it.
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
                why = lines[-1] if lines else "git failed"
                raise DataError(f"{upstream.name} from {upstream.url}: {why}")
        take_from_clone(upstream, folder)


def _from_clone(upstream: Upstream, clone: Path, item: UpstreamFile) -> bytes:
    shown = _git(clone, "show", f"{upstream.commit}:{item.path}")
    lying = clone / item.path
    if shown.returncode == 0 and _hash(shown.stdout) == item.sha256:
        return shown.stdout
    raw = lying.read_bytes() if lying.is_file() else None
    if raw is not None and _hash(raw) == item.sha256:
        return raw
    if shown.returncode == 0 or raw is not None:
        digest = _hash(shown.stdout if shown.returncode == 0 else raw or b"")
        why = f"is another file: sha256 {digest[:12]}..., expected {item.sha256[:12]}..."
    else:
        why = f"is not there; is it a clone of {upstream.url} that has {upstream.commit[:12]}?"
    raise DataError(f"{clone}: {item.path} {why}")


def _git(folder: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    # A clone may belong to another user of this machine; reading files out of it is harmless.
    command = ["git", "-c", "safe.directory=*", "-C", str(folder), *words]
    try:
        return subprocess.run(command, capture_output=True, timeout=GIT_SECONDS)
    except FileNotFoundError:
        raise DataError("git is not on this machine; give --source with a clone") from None
    except subprocess.TimeoutExpired:
        raise DataError(f"git gave no answer within {GIT_SECONDS} s") from None


def _as_text(raw: bytes, item: UpstreamFile) -> str:
    text = raw.decode("utf-8")
    if item.unpack is None:
        return text
    packed = _PACKED.search(text)
    if packed is None:
        raise PackError(f"{item.path}: it holds no compressed source")
    body, lzma2 = b85decode(packed["text"]), [{"id": lzma.FILTER_LZMA2}]
    return lzma.decompress(body, format=lzma.FORMAT_RAW, filters=lzma2).decode("utf-8")


def _is_kept(upstream: Upstream, item: UpstreamFile) -> bool:
    path = _kept(upstream, item)
    return path.is_file() and _hash(path.read_bytes()) == item.sha256


def _kept(upstream: Upstream, item: UpstreamFile) -> Path:
    # The hash keeps apart what two packs call by one name.
    return cache_root() / "upstream" / upstream.commit / item.sha256


def _hash(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def changed_names(
    before: Mapping[str, str], after: Mapping[str, str], protected: Sequence[Protected]
) -> tuple[str, ...]:
    """What was changed of what has to stay, as ``path: name``.

    A function is the same if its text is, or if Python reads both alike (comments and layout may
    change). A second definition of its name anywhere in the file, or an assignment to it, counts
    as a change: the last one would be called.

    Args:
        before: The recipe that the pack starts from.
        after: The edited recipe.
        protected: What has to stay.
    """
    return tuple(
        f"{item.path}: {name}"
        for item in protected
        for name in item.names
        if not _same(before.get(item.path, ""), after.get(item.path, ""), name)
    )


def defined_names(text: str, names: Sequence[str]) -> tuple[str, ...]:
    """Those of some names that a file defines exactly once at its top level."""
    return tuple(name for name in names if len(_blocks(text, name)) == 1)


def _same(before: str, after: str, name: str) -> bool:
    old, new = _blocks(before, name), _blocks(after, name)
    if len(old) != 1 or len(new) != 1 or _bound(after, name) > _bound(before, name):
        return False
    return old == new or (_meaning(old[0]) is not None and _meaning(old[0]) == _meaning(new[0]))


def _blocks(text: str, name: str) -> list[str]:
    """The texts of all top-level definitions of a name, with their decorators.

    Found by lines and not by parsing: a recipe may be written for a later Python than this one.
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


def _bound(text: str, name: str) -> int:
    """How often a name is bound in other ways, or may be reached by a string that names it."""
    word = re.escape(name)
    ways = (
        rf"\b{word}\s*(:[^=\n]*)?=(?!=)",
        rf"\b(def|class|global|nonlocal|import|as|for)\s+{word}\b",
        rf"[\"']{word}[\"']",
    )
    return sum(len(re.findall(way, text)) for way in ways)


def _meaning(block: str) -> str | None:
    try:
        return ast.dump(ast.parse(block))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
