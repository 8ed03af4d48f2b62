"""``packs lock``: writes hashes and sizes of a pack's data into its ``pack.toml``.

The file is edited as text, so that comments, order and line ends stay. Only tables ``[[data]]`` can
be edited so, of the pack or of a profile.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from recipelab.core.content import read_limited
from recipelab.core.errors import DataError, PackError
from recipelab.packs.data import cached_path, is_here
from recipelab.packs.data_sections import PathSource
from recipelab.packs.load import PACK_FILE
from recipelab.packs.own_data import Content, content_of, own_path
from recipelab.packs.pack import Pack

_TABLE = re.compile(r"[ \t]*\[\[(profiles\.[^\]]+\.)?data\]\][ \t]*(#.*)?")
_ANY_TABLE = re.compile(r"[ \t]*\[")
_KEY = re.compile(r"[ \t]*(?P<key>file|folder|numbers|sha256|bytes)[ \t]*=[ \t]*(?P<value>.*)")


@dataclass(frozen=True)
class Locked:
    """Data whose hash was written.

    Attributes:
        name: Its name in the pack.
        content: What lies there.
        changed: Whether the pack said something else before.
    """

    name: str
    content: Content
    changed: bool


def lock_pack(pack: Pack, say: Callable[[str], None] = lambda text: None) -> tuple[Locked, ...]:
    """Write the hash and size of all data that are here into the pack's file.

    Args:
        pack: The pack; data of its profile are locked.
        say: Called with what takes long, and with data that cannot be locked.

    Returns:
        The data that were locked, in the pack's order.

    Raises:
        DataError: Data of the user's own are missing, or cannot be read.
        PackError: The file has no table ``[[data]]`` for some of them.
    """
    file = pack.root / PACK_FILE
    text = read_limited(file).decode("utf-8-sig")
    locked = []
    for item in pack.data:
        path = own_path(item, pack.root)
        if path is None and item.is_own:
            paths = [source.path for source in item.sources if isinstance(source, PathSource)]
            raise DataError(f"{item.file}: nothing lies at {', '.join(paths)}")
        if path is None:
            path = cached_path(item, pack.root)
            if not is_here(item, pack.root):
                say(f"{item.file}: not here; recipelab packs fetch {pack.name}")
                continue
        content = content_of(path, say)
        after = _with_hash(text, item.file, content)
        if after is None:
            say(f"{item.file}: no table [[data]] of its own in {file}, so it has no hash")
            continue
        locked.append(Locked(item.file, content, after != text))
        text = after
    _write(file, text, marked=file.read_bytes().startswith(BOM_UTF8))
    return tuple(locked)


def _write(file: Path, text: str, *, marked: bool) -> None:
    try:
        file.write_bytes(text.encode("utf-8-sig" if marked else "utf-8"))
    except OSError as error:
        raise PackError(f"{file}: cannot be written: {error.strerror}") from None


def _with_hash(text: str, name: str, content: Content) -> str | None:
    """Return the text of a pack with a hash in each table of a name; ``None`` if there is none."""
    lines = text.splitlines(keepends=True)
    end = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    starts = [number for number, line in enumerate(lines) if _TABLE.fullmatch(line.rstrip("\r\n"))]
    found = False
    for start in reversed(starts):
        stop = start + 1
        while stop < len(lines) and not _ANY_TABLE.match(lines[stop]):
            stop += 1
        keys = {
            match["key"]: number
            for number in range(start + 1, stop)
            if (match := _KEY.match(lines[number]))
        }
        at = keys.get("file", keys.get("folder"))
        if at is None or "numbers" in keys or not _names(lines[at], name):
            continue
        found = True
        for key, value in (("bytes", str(content.bytes)), ("sha256", f'"{content.sha256}"')):
            line = f"{key} = {value}{end}"
            if key in keys:
                lines[keys[key]] = line
            else:
                lines.insert(at + 1, line)
                keys = {k: n + (n > at) for k, n in keys.items()}
    return "".join(lines) if found else None


def _names(line: str, name: str) -> bool:
    match = _KEY.match(line)
    value = match["value"].partition("#")[0].strip() if match else ""
    return value in (f'"{name}"', f"'{name}'")
