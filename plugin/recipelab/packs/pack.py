"""The task pack, format version 1: what is measured, under which limits, from which recipe.

These are the typed contents of a ``pack.toml``; :mod:`recipelab.packs` finds and reads the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from recipelab.core.recipe import Recipe
from recipelab.core.trial import Phase
from recipelab.packs.sections import (
    AcceptanceSpec,
    CertifySpec,
    DataFile,
    Gate,
    Hardware,
    LegalityCheck,
    Metric,
    Part,
    Phases,
    PhaseSpec,
    Protected,
    Upstream,
)
from recipelab.packs.upstream import upstream_texts

FORMAT = 1
"""The only version of the format so far."""

NAME = r"^[a-z][a-z0-9_]{0,63}$"


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
    """Where the starting recipe lies, and which of its files agents may change.

    ``python`` is the version of Python that it is written for, as ``3.12``. Where the host's own is
    older, only the sandbox can tell whether an edit parses.
    """

    folder: str
    python: str | None = Field(default=None, pattern=r"^3\.\d+$")
    editable: tuple[str, ...] = Field(min_length=1)


class Surface(Part):
    """A named part of the recipe."""

    name: str = Field(pattern=NAME)
    description: str


class EvaluatorSpec(Part):
    """The folder of the scorer, which sees predictions and answers and nothing else.

    ``rules`` is a command that reads a recipe beside the evaluator before any of it has run, and
    ends with exit status 4 if the recipe breaks a rule.
    """

    folder: str
    rules: tuple[str, ...] = ()


class Pack(Part):
    """A task pack with one profile applied.

    Attributes:
        root: The pack's folder.
        profile: Name of the applied profile.
        trust: ``isolated`` where scored code and answers are out of the recipe's reach,
            ``protected`` where the recipe's own file scores it and the functions that do so are
            held fixed.
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
    evaluator: EvaluatorSpec
    hardware: Hardware = Hardware()
    upstream: Upstream | None = None
    trust: Literal["isolated", "protected"] = "isolated"
    protected: tuple[Protected, ...] = ()
    legality: tuple[LegalityCheck, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _unique("surfaces", [surface.name for surface in self.surfaces])
        _unique("gates", [gate.name for gate in self.gates])
        _unique("data", [item.file for item in self.data])
        _unique("seeds", [str(seed) for seed in self.seeds])
        _unique("legality", [check.name for check in self.legality])
        if self.protected and self.trust != "protected":
            raise ValueError('protected: functions are held fixed, so say trust = "protected"')
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
        """The starting recipe: every text file below the recipe folder, and those of upstream.

        Raises:
            PackError: Files of upstream were not fetched yet.
        """
        folder = self.root / self.recipe.folder
        own = {
            path.relative_to(folder).as_posix(): path.read_text("utf-8")
            for path in sorted(folder.rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts
        }
        others = upstream_texts(self.upstream, self.name, self.profile) if self.upstream else {}
        return Recipe({f"{self.recipe.folder}/{k}": v for k, v in {**own, **others}.items()})


def _unique(key: str, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{key}: {twice[0]!r} is there twice")
