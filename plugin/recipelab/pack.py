"""The task pack, format version 1: what is measured, under which limits, from which recipe.

These are the typed contents of a ``pack.toml``; :mod:`recipelab.packs` finds and reads the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from recipelab.pack_parts import AcceptanceSpec, DataFile, Part
from recipelab.recipe import Recipe
from recipelab.trial import Phase, Status

FORMAT = 1
"""The only version of the format so far."""

NAME = r"^[a-z][a-z0-9_]{0,63}$"
SANDBOX_MEASURES = ("cpu_seconds", "wall_seconds", "peak_memory_mb")
"""What the sandbox measures of a phase, as in ``train.cpu_seconds``."""
SIZE_MEASURES = ("artifact.bytes", "recipe.bytes", "submission.bytes")
"""What the evaluator measures of files, without running anything; a submission is both."""


class Goal(StrEnum):
    """Which way the metric is better."""

    MINIMIZE = "minimize"
    MAXIMIZE = "maximize"

    @property
    def sign(self) -> int:
        """+1 if larger is better, else -1."""
        return 1 if self is Goal.MAXIMIZE else -1


def check_measure(name: str) -> str:
    """Checks the name of a measurement.

    Raises:
        ValueError: It is neither of the sandbox, nor of a file size, nor of the scorer.
    """
    head, _, tail = name.partition(".")
    of_sandbox = head in tuple(Phase) and tail in SANDBOX_MEASURES
    of_scorer = head == "score" and tail.isidentifier()
    if not (of_sandbox or of_scorer or name in SIZE_MEASURES):
        valid = [f"<phase>.{x}" for x in SANDBOX_MEASURES]
        raise ValueError(
            f"no such measurement {name!r}; valid: {', '.join([*valid, *SIZE_MEASURES])}, "
            f"score.<key of score.json>; phases: {', '.join(Phase)}"
        )
    return name


class Metric(Part):
    """The score: one measurement, averaged over seeds.

    With ``side_by_side`` the best trains again beside every trial, seed by seed and on the same
    slot, and the two are compared at that moment: a time means little on a machine that drifts.
    CPU times are compared while both run at once, wall-clock times (as on GPUs) in turns, best
    trial trial best; where the best's own times are further apart than ``drift``, a share of their
    mean, the comparison is repeated.

    With ``charge_predict`` the time that predict takes beyond the baseline's own is added to the
    metric, so that nothing is won by moving work from train to predict.
    """

    name: str
    unit: str
    goal: Goal
    measure: str
    side_by_side: bool = False
    charge_predict: bool = False
    drift: float = Field(default=0.05, gt=0)

    _measure = field_validator("measure")(check_measure)

    @model_validator(mode="after")
    def _of_training(self) -> Self:
        times = (f"{Phase.TRAIN}.cpu_seconds", f"{Phase.TRAIN}.wall_seconds")
        for key in ("side_by_side", "charge_predict"):
            if getattr(self, key) and self.measure not in times:
                raise ValueError(f"{key} is for the measures {' and '.join(times)}")
        return self

    @property
    def in_turns(self) -> bool:
        """Whether trial and best run in turns, and not at the same moment."""
        return self.side_by_side and self.measure == f"{Phase.TRAIN}.wall_seconds"

    @property
    def predict_measure(self) -> str:
        """The measurement of predict that answers to that of train, as ``predict.cpu_seconds``."""
        return f"{Phase.PREDICT}.{self.measure.partition('.')[2]}"


class Gate(Part):
    """A pass/fail limit beside the score, on a measurement averaged over seeds."""

    name: str
    measure: str
    at_least: float | None = None
    at_most: float | None = None
    failure: Literal[
        Status.GATE_MISSED,
        Status.OVERSIZE,
        Status.TRAIN_OVERRUN,
        Status.EVAL_OVERRUN,
        Status.ILLEGAL,
    ] = Status.GATE_MISSED

    _measure = field_validator("measure")(check_measure)

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("a gate has exactly one of: at_least, at_most")
        return self

    @property
    def limit(self) -> float:
        """The limit, whichever way it points."""
        return self.at_least if self.at_least is not None else float(self.at_most or 0.0)

    def margin(self, value: float) -> float:
        """Signed distance of a value to the limit; negative when the gate is missed."""
        return value - self.limit if self.at_least is not None else self.limit - value


class Budgets(Part):
    """Wall-clock seconds that each phase may take."""

    preflight: float = Field(gt=0)
    train: float = Field(gt=0)
    prepare: float = Field(default=60, gt=0)
    predict: float = Field(gt=0)
    score: float = Field(gt=0)


class PackLimits(Part):
    """Bounds of every phase but time."""

    memory_mb: int = Field(default=2048, ge=64)
    cpus: float = Field(default=1.0, gt=0)
    pids: int = Field(default=128, ge=4)
    output_mb: int = Field(default=256, ge=1)
    scratch_mb: int = Field(default=512, ge=1)
    output_files: int = Field(default=256, ge=1)


class RecipeSpec(Part):
    """Where the starting recipe lies, and which of its files agents may change."""

    folder: str
    editable: tuple[str, ...] = Field(min_length=1)


class Surface(Part):
    """A named part of the recipe."""

    name: str = Field(pattern=NAME)
    description: str


class PhaseSpec(Part):
    """The command of a phase, and which data files it sees where below the phase root."""

    command: tuple[str, ...] = Field(min_length=1)
    data: dict[str, str] = Field(default_factory=dict[str, str])


class Phases(Part):
    """The phases. ``prepare`` is for packs whose evaluator makes what predict sees."""

    preflight: PhaseSpec
    train: PhaseSpec
    prepare: PhaseSpec | None = None
    predict: PhaseSpec
    score: PhaseSpec

    def __getitem__(self, phase: Phase) -> PhaseSpec:
        """The phase; an empty one for a ``prepare`` that the pack does not have."""
        found: PhaseSpec | None = getattr(self, phase.value)
        return found or PhaseSpec(command=("true",))


class CertifySpec(Part):
    """How a trial is certified: on seeds that no trial had, and on answers that none was held to.

    Attributes:
        seeds: Seed runs of a certification.
        prepare: In place of the phase of trials; ``None`` for the same.
        predict: In place of the phase of trials; ``None`` for the same.
        score: In place of the phase of trials; ``None`` for the same.
    """

    seeds: int = Field(default=8, ge=2)
    prepare: PhaseSpec | None = None
    predict: PhaseSpec | None = None
    score: PhaseSpec | None = None

    @property
    def held_out(self) -> bool:
        """Whether it is scored on something that no trial was scored on."""
        return self.score is not None or self.prepare is not None


class Evaluator(Part):
    """The folder of the scorer, which sees predictions and answers and nothing else."""

    folder: str


class Pack(Part):
    """A task pack with one profile applied.

    Attributes:
        root: The pack's folder.
        profile: Name of the applied profile.
    """

    root: Path
    profile: str
    format: Literal[1]
    name: str = Field(pattern=NAME)
    title: str
    description: str
    specialists: tuple[str, ...] = Field(min_length=1)
    sandbox: str = "cpu"
    metric: Metric
    acceptance: AcceptanceSpec = AcceptanceSpec()
    gates: tuple[Gate, ...] = ()
    budgets: Budgets
    limits: PackLimits = PackLimits()
    seeds: tuple[int, ...] = Field(min_length=2)
    recipe: RecipeSpec
    surfaces: tuple[Surface, ...] = Field(min_length=1)
    data: tuple[DataFile, ...] = ()
    phases: Phases
    certify: CertifySpec = CertifySpec()
    evaluator: Evaluator

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _unique("surfaces", [surface.name for surface in self.surfaces])
        _unique("gates", [gate.name for gate in self.gates])
        _unique("data", [item.file for item in self.data])
        _unique("seeds", [str(seed) for seed in self.seeds])
        files = {item.file for item in self.data}
        for place, spec in self._every_phase():
            for target, file in spec.data.items():
                if file not in files:
                    raise ValueError(
                        f"{place}.data: {target!r} names no data file {file!r}; "
                        f"valid: {', '.join(sorted(files)) or '(none)'}"
                    )
        self._check_answers()
        return self

    def _every_phase(self) -> Iterator[tuple[str, PhaseSpec]]:
        yield from ((f"phases.{phase}", self.phases[phase]) for phase in Phase)
        for phase in Phase:
            spec = getattr(self.certify, phase, None)
            if isinstance(spec, PhaseSpec):
                yield f"certify.{phase}", spec

    def _check_answers(self) -> None:
        # The promise "the recipe never sees the answers" is a matter of the pack's own table.
        def runs_recipe(place: str) -> bool:
            return Phase(place.rpartition(".")[2]).runs_recipe

        every = list(self._every_phase())
        hidden = {
            file for place, spec in every if not runs_recipe(place) for file in spec.data.values()
        }
        for place, spec in every:
            shared = hidden & set(spec.data.values()) if runs_recipe(place) else set[str]()
            if shared:
                raise ValueError(
                    f"{place}.data: {sorted(shared)[0]!r} is an answer of a score "
                    "(or prepare) phase and may not be seen by the recipe"
                )

    def certified(self) -> Pack:
        """The same pack with the phases of a certification in place of those of a trial."""
        spec = self.certify
        changed = {
            name: part
            for name in ("prepare", "predict", "score")
            if (part := getattr(spec, name)) is not None
        }
        return self.model_copy(update={"phases": self.phases.model_copy(update=changed)})

    @property
    def surface_names(self) -> tuple[str, ...]:
        """Names of the surfaces, in the pack's order."""
        return tuple(surface.name for surface in self.surfaces)

    def seconds(self, phase: Phase) -> float:
        """Budget of a phase in wall-clock seconds."""
        return float(getattr(self.budgets, phase.value))

    def baseline(self) -> Recipe:
        """The starting recipe: every text file below the recipe folder."""
        folder = self.root / self.recipe.folder
        return Recipe(
            {
                f"{self.recipe.folder}/{path.relative_to(folder).as_posix()}": path.read_text(
                    "utf-8"
                )
                for path in sorted(folder.rglob("*"))
                if path.is_file() and "__pycache__" not in path.parts
            }
        )


def _unique(key: str, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{key}: {twice[0]!r} is there twice")
