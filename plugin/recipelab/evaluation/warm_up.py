"""Warm-ups: what the preflight of a recipe leaves for every training of the same recipe.

A compiler's cache, in most cases. It is the recipe's own: no other recipe sees it.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from recipelab.core.errors import SandboxError
from recipelab.core.recipe import Recipe
from recipelab.evaluation.projection import Projection
from recipelab.packs.phase_sections import PreflightSpec
from recipelab.sandbox.base import PhaseResult
from recipelab.sandbox.files import new_folder, remove_tree

IDLE = 4
"""Warm-ups that are kept while no trial uses them: that of the best, and of recipes that may be."""

KEPT_FILES = 20_000
"""Files that a warm-up may keep; caches of compilers have thousands."""

_DIGEST_CHARACTERS = 12


@dataclass
class WarmUp:
    """The warm-up of one recipe.

    Attributes:
        folder: Where it is kept, once there is one.
        projection: What the preflight that made it projects.
        result: What the sandbox saw of that preflight.
        digest: SHA-256 over paths and contents of its files; empty before there is any.
        size: Bytes of its files.
        users: How many trials use it.
        lock: Held while a preflight makes it, so that one is enough for all who need it.
    """

    folder: Path | None = None
    projection: Projection | None = None
    result: PhaseResult | None = None
    digest: str = ""
    size: int = 0
    users: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def words(self) -> str:
        """What it is, for the record; empty if there is none."""
        if self.folder is None:
            return ""
        return f"warm-up sha256:{self.digest[:_DIGEST_CHARACTERS]} ({self.size / 1e6:.1f} MB)"


class WarmUps:
    """Keeps the warm-ups of a process, by recipe, in a folder that is removed with it.

    Another process, as one that resumes a campaign, makes them anew: it may run on another machine,
    in another image, on another GPU.
    """

    def __init__(self) -> None:
        self._found: dict[str, WarmUp] = {}
        self._root: Path | None = None

    @contextmanager
    def held(self, recipe: Recipe, preflight: PreflightSpec) -> Iterator[WarmUp]:
        """Hold the warm-up of a recipe, which may still have to be made, for the context.

        Args:
            recipe: The recipe.
            preflight: The phase that makes it.
        """
        key = f"{recipe.digest} {preflight.model_dump_json()}"
        warm_up = self._found.pop(key) if key in self._found else WarmUp()
        self._found[key] = warm_up  # What was used last comes last.
        warm_up.users += 1
        try:
            yield warm_up
        finally:
            warm_up.users -= 1
            self._drop_idle()

    def keep(
        self, warm_up: WarmUp, left: Path, projection: Projection, result: PhaseResult
    ) -> None:
        """Keep the folder that a preflight left; an empty one if it left none.

        Args:
            warm_up: The warm-up that has it from now on.
            left: The folder.
            projection: What the preflight projects.
            result: What the sandbox saw of it.

        Raises:
            SandboxError: The host cannot keep it.
        """
        try:
            if self._root is None:
                self._root = new_folder(Path(tempfile.gettempdir()), what="warm-ups")
                weakref.finalize(self, remove_tree, self._root)
            folder = Path(tempfile.mkdtemp(dir=self._root)) / "kept"
            if left.is_dir():
                shutil.move(left, folder)
            else:
                folder.mkdir()
            # Phases in a container run under another user, and see it as it lies.
            folder.parent.chmod(0o755)
            warm_up.digest, warm_up.size = _digest_of(folder)
        except OSError as error:
            raise SandboxError(f"cannot keep a warm-up: {error}") from error
        warm_up.folder, warm_up.projection, warm_up.result = folder, projection, result

    def _drop_idle(self) -> None:
        idle = [(key, found) for key, found in self._found.items() if not found.users]
        made = [key for key, found in idle if found.folder is not None]
        for key, found in idle:
            if found.folder is None:
                del self._found[key]
            elif key in made[: max(0, len(made) - IDLE)]:
                del self._found[key]
                remove_tree(found.folder.parent)


def _digest_of(folder: Path) -> tuple[str, int]:
    """Return the SHA-256 over the files below a folder, and their bytes."""
    total, size = hashlib.sha256(), 0
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").digest()
        name = path.relative_to(folder).as_posix().encode("utf-8", "surrogateescape")
        total.update(hashlib.sha256(name).digest() + content)
        size += path.stat().st_size
    return total.hexdigest(), size
