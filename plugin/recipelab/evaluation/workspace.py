"""The workspace: host folders of one trial, with its recipe and what each phase leaves behind."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from recipelab.core.errors import SandboxError
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Phase
from recipelab.packs.pack import Pack
from recipelab.packs.phase_sections import PhaseSpec, PrepareSpec
from recipelab.sandbox.base import Input, PhaseResult
from recipelab.sandbox.files import new_folder, remove_tree

SCORING_LIBRARY = Path(__file__).parents[1] / "scoring"
"""What evaluators of packs may import as ``recipelab_scoring``."""

CARRIED_BYTES = 1 << 20
"""Size from which a file that rides along with a recipe is mounted and not copied."""

_ROUNDS, _PLAN, _DATA = "rounds", "plan", "data"


class TrainedOnce:
    """What the trainings of one recipe have left, for runs that differ in what comes after.

    It is a context manager, and the folder is gone with it. It is of no use where a pack prepares
    training data, which are others in every run.
    """

    def __init__(self) -> None:
        self._root = new_folder(Path(tempfile.gettempdir()), what="trained")
        self._results: dict[int, PhaseResult] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        remove_tree(self._root)

    def take(self, seed: int, folder: Path) -> PhaseResult | None:
        """Put what a seed's training has left into an empty folder; ``None`` if it has not run."""
        if seed in self._results:
            shutil.copytree(self._root / str(seed), folder, dirs_exist_ok=True)
        return self._results.get(seed)

    def keep(self, seed: int, folder: Path, result: PhaseResult) -> None:
        """Keep what a seed's training has left in a folder, and what was measured of it."""
        shutil.copytree(folder, self._root / str(seed))
        self._results[seed] = result


class Workspace:
    """A temporary folder for one trial; use it as a context manager.

    Args:
        pack: The pack whose phases will run.
        recipe: The recipe of the trial.
        data: Name of each data file to its path on the host.

    Raises:
        SandboxError: The host cannot make or fill the folder.
    """

    def __init__(self, pack: Pack, recipe: Recipe, data: Mapping[str, Path]) -> None:
        self._pack = pack
        self._recipe = recipe
        self._data = data
        self._carried: list[Input] = []
        self._root = new_folder(Path(tempfile.gettempdir()), what="trial")

    def __enter__(self) -> Self:
        try:
            self._write()
            self._make_room()
        except (OSError, UnicodeEncodeError) as error:
            remove_tree(self._root)
            raise SandboxError(f"cannot store the recipe of a trial: {error}") from error
        return self

    def _write(self) -> None:
        """Write the recipe, its texts in the form of the pack's own files, and what rides along."""
        own = self._pack.folder()
        for path, text in self._recipe.files.items():
            file = self._root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(own.bytes_of(path, text))
            file.chmod(0o555 if path in own.executable else 0o444)
        for path, source in own.carried.items():
            file = self._root / path
            if path in self._recipe.files:
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            if source.stat().st_size > CARRIED_BYTES:
                file.touch(0o444)
                self._carried.append(Input(source.resolve(), path))
            else:
                shutil.copyfile(source, file)
                file.chmod(0o555 if path in own.executable else 0o444)

    def _make_room(self) -> None:
        """Make places in the recipe's folder for data that its phases see there."""
        phases = [self._pack.phases[phase] for phase in Phase if phase.runs_recipe]
        for target, name in {key: spec.data[key] for spec in phases for key in spec.data}.items():
            place = self._root / target
            if not target.startswith(f"{self._pack.recipe.folder}/") or place.exists():
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            (first, *_) = self._pack.in_folds(name)
            if first in self._data and self._data[first].is_dir():
                place.mkdir()
            else:
                place.touch(0o444)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        remove_tree(self._root)

    @property
    def recipe(self) -> Path:
        """The folder of the recipe."""
        return self._root / self._pack.recipe.folder

    @property
    def carried(self) -> tuple[Input, ...]:
        """Large files that ride along with the recipe."""
        return tuple(self._carried)

    def recipe_files(self) -> tuple[str, ...]:
        """Return the paths of the recipe's files, as the recipe sees them."""
        return tuple(self._recipe.files)

    def output(self, phase: Phase, seed: int) -> Path:
        """Return the host folder that receives what a phase leaves.

        Raises:
            SandboxError: The host cannot make it.
        """
        folder = self._root / f"{phase}-{seed}"
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise SandboxError(f"cannot make a folder for {phase}: {error}") from error
        return folder

    def clear(self, phase: Phase, seed: int) -> None:
        """Remove what a phase left with a seed."""
        remove_tree(self._root / f"{phase}-{seed}")

    def inputs(self, phase: Phase, seed: int) -> tuple[Input, ...]:
        """Return what a phase sees: never the recipe beside the answers."""
        spec = self._pack.phases[phase]
        code = self._recipe_inputs(spec) if phase.runs_recipe else self._evaluator_inputs()
        named = spec.data | (spec.training if isinstance(spec, PrepareSpec) else {})
        files = tuple(
            Input(
                path := self._data[self._pack.in_fold_of(name, seed)], target, as_is=path.is_dir()
            )
            for target, name in named.items()
        )
        prepared = self._prepared_data(seed) if phase is Phase.TRAIN else {}
        files = tuple(file for file in files if file.target not in prepared)
        return (*code, *files, *prepared.values(), *self._inputs_of_earlier_phases(phase, seed))

    def _prepared_data(self, seed: int) -> dict[str, Input]:
        """Return the files that prepare left for train, by where that sees them."""
        if self._pack.phases.prepare is None:
            return {}
        folder = self.output(Phase.PREPARE, seed)
        files = sorted(path for path in (folder / _DATA).rglob("*") if path.is_file())
        targets = {path.relative_to(folder).as_posix(): path for path in files}
        return {target: Input(path, target) for target, path in targets.items()}

    def rules_inputs(self) -> tuple[Input, ...]:
        """Return what the static rules see: the recipe as text, and the evaluator."""
        return (*self._recipe_inputs(), *self._evaluator_inputs())

    def rounds(self, seed: int) -> list[tuple[tuple[Input, ...], Path]]:
        """Return inputs and output folder of each round of predict; one if none is prepared."""
        inputs, output = self.inputs(Phase.PREDICT, seed), self.output(Phase.PREDICT, seed)
        prepare = self._pack.phases.prepare
        if prepare is None or not prepare.rounds:
            return [(inputs, output)]
        found = []
        for folder in sorted((self.output(Phase.PREPARE, seed) / _ROUNDS).glob("*")):
            left = output / folder.name
            left.mkdir(exist_ok=True)
            found.append(((*inputs, Input(folder, "inputs")), left))
        return found

    def _inputs_of_earlier_phases(self, phase: Phase, seed: int) -> tuple[Input, ...]:
        """Return what a phase sees of earlier phases."""
        if phase is Phase.PREDICT:
            return (Input(self.output(Phase.TRAIN, seed), "artifact"),)
        if phase is not Phase.SCORE:
            return ()
        plan = self.output(Phase.PREPARE, seed) / _PLAN
        planned = (Input(plan, _PLAN),) if plan.is_dir() else ()
        return (Input(self.output(Phase.PREDICT, seed), "predictions"), *planned)

    def _recipe_inputs(self, spec: PhaseSpec | None = None) -> tuple[Input, ...]:
        writable = spec is not None and spec.scratch
        return (Input(self.recipe, self._pack.recipe.folder, writable=writable), *self._carried)

    def _evaluator_inputs(self) -> tuple[Input, ...]:
        folder = self._pack.evaluator.folder
        library = Input(SCORING_LIBRARY, "lib/recipelab_scoring")
        return (Input(self._pack.root / folder, folder), library)
