"""The packs that are there, and where each is from: the working directory, recipelab, or others.

Only files are read: no code of a pack runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from recipelab.core import content
from recipelab.core.content import TASK_PACKS, provided, shipped_root
from recipelab.core.errors import PackError
from recipelab.packs.data import size_text
from recipelab.packs.load import PACK_FILE, read_pack
from recipelab.packs.pack import Pack

HERE, SHIPPED = "here", "recipelab"
"""Where packs are from that no other distribution brings."""


@dataclass(frozen=True)
class PackEntry:
    """A pack that is there.

    Attributes:
        name: Its name.
        source: ``here``, ``recipelab``, or the name of the distribution that brings it.
        version: The version of the distribution; empty for a pack of the working directory.
        folder: Its folder.
        hidden_by: Where the pack of the same name is from that is found in its place; ``None`` if
            it is found.
        pack: The pack with its default profile; ``None`` if it cannot be read.
        problem: Why it cannot be read; empty if it can.
    """

    name: str
    source: str
    version: str
    folder: Path
    hidden_by: str | None
    pack: Pack | None
    problem: str = ""

    @property
    def origin(self) -> str:
        """Where it is from, with the version."""
        return f"{self.source} {self.version}".strip()

    @property
    def needs(self) -> str:
        """What its default profile needs: hardware, sandbox, packages, data."""
        if self.pack is None:
            return ""
        hardware = self.pack.hardware
        parts = [
            f"{hardware.gpus} x {hardware.kind}" if hardware.gpus else hardware.kind,
            f"sandbox {self.pack.sandbox}",
            *self.pack.requirements,
        ]
        if size := sum(item.bytes for item in self.pack.data):
            parts.append(f"{size_text(size)} of data")
        return ", ".join(parts)

    @property
    def words(self) -> str:
        """The text that a search looks through."""
        parts = [self.name, self.source, self.problem]
        if self.pack is not None:
            surfaces = [surface.name for surface in self.pack.surfaces]
            parts += [self.pack.title, self.pack.description, self.pack.metric.name, *surfaces]
        return "\n".join(parts).casefold()


def search_packs(words: Sequence[str] = ()) -> tuple[PackEntry, ...]:
    """Return the packs that are there and have all of some words in name, title, metric or text.

    Args:
        words: The words, whose case does not matter; none finds every pack.
    """
    wanted = [word.casefold() for word in words]
    return tuple(entry for entry in _entries() if all(word in entry.words for word in wanted))


def _entries() -> Iterator[PackEntry]:
    """Yield all packs, in the order in which they are looked for."""
    from recipelab import __version__

    places = (
        (Path.cwd() / TASK_PACKS, HERE, ""),
        (shipped_root() / TASK_PACKS, SHIPPED, __version__),
        *provided(TASK_PACKS),
    )
    seen: set[Path] = set()
    found: dict[str, str] = {}
    for root, source, version in places:
        if not root.is_dir() or root.resolve() in seen:
            continue
        seen.add(root.resolve())
        for file in sorted(root.glob(f"*/{PACK_FILE}")):
            if not content.leads_inside(file, file.parent):
                continue  # It is found by no name either.
            name = file.parent.name
            hidden_by = found.get(name)
            found.setdefault(name, f"{source} {version}".strip())
            try:
                pack, problem = read_pack(file), ""
            except PackError as error:
                pack, problem = None, str(error)
            yield PackEntry(name, source, version, file.parent, hidden_by, pack, problem)
