"""The host folders of one trial: its recipe, and what each phase of each seed leaves behind."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from recipelab.pack import Pack
from recipelab.recipe import Recipe
from recipelab.sandbox.base import Input
from recipelab.trial import Phase

PREFIX = "recipelab-trial-"

_CARRIED = {Phase.PREDICT: (Phase.TRAIN, "artifact"), Phase.SCORE: (Phase.PREDICT, "predictions")}
"""Which phase's output each phase sees, and under which name."""


class Workspace:
    """A temporary folder for one trial; use it as a context manager.

    Args:
        pack: The pack whose phases will run.
        recipe: The recipe of the trial.
        data: Name of each data file to its path on the host.
    """

    def __init__(self, pack: Pack, recipe: Recipe, data: dict[str, Path]) -> None:
        self._pack = pack
        self._recipe = recipe
        self._data = data
        self._folder = tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True)
        self._root = Path(self._folder.name)

    def __enter__(self) -> Self:
        for path, text in self._recipe.files.items():
            file = self._root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8", newline="")
            file.chmod(0o444)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._folder.cleanup()

    def output(self, phase: Phase, seed: int) -> Path:
        """The host folder that receives what a phase leaves."""
        folder = self._root / f"{phase}-{seed}"
        folder.mkdir(exist_ok=True)
        return folder

    def inputs(self, phase: Phase, seed: int) -> tuple[Input, ...]:
        """What a phase sees: never the recipe beside the answers."""
        code = self._evaluator() if phase is Phase.SCORE else self._recipe_input()
        files = tuple(
            Input(self._data[file], target)
            for target, file in self._pack.phases[phase].data.items()
        )
        if phase not in _CARRIED:
            return (code, *files)
        earlier, name = _CARRIED[phase]
        return (code, *files, Input(self.output(earlier, seed), name))

    def _recipe_input(self) -> Input:
        folder = self._pack.recipe.folder
        return Input(self._root / folder, folder)

    def _evaluator(self) -> Input:
        folder = self._pack.evaluator.folder
        return Input(self._pack.root / folder, folder)


def folder_bytes(folder: Path) -> int:
    """Size of all files below a folder, in bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
