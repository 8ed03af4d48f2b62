"""The task pack: what is measured, under which limits, from which recipe."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from recipelab.core.content import leads_inside, read_limited
from recipelab.core.errors import PackError, requirement_problem, warm_problem
from recipelab.core.knobs import KNOBS_FILE
from recipelab.core.recipe import Recipe
from recipelab.core.text_form import TextForm
from recipelab.core.trial import Phase, Trust
from recipelab.packs.data_sections import DataFile
from recipelab.packs.judging_sections import (
    NAME,
    SANDBOX_MEASURES,
    AcceptanceSpec,
    Gate,
    Metric,
    Section,
)
from recipelab.packs.phase_sections import (
    ControlSpec,
    FidelitySpec,
    Phases,
    PhaseSpec,
    PrepareSpec,
)
from recipelab.packs.recipe_folder import RecipeFolder, read_recipe_folder
from recipelab.packs.sections import (
    Budgets,
    CertifySpec,
    EvaluatorSpec,
    Hardware,
    LegalityCheck,
    PackLimits,
    Protected,
    RecipeSpec,
    RehearsalSpec,
    ScratchSpec,
    Surface,
    Upstream,
)
from recipelab.packs.upstream import upstream_texts

SCORE_COSTS = frozenset(f"{Phase.SCORE}.{name}" for name in SANDBOX_MEASURES)
"""What the sandbox measures of the phase that scores; all else below its name the scorer says."""


Seed = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
"""A seed that every library takes and every database stores."""


FOLD = "{fold}"
"""Stands for the number of the fold, from 0 on, in names of data."""
MOST_FOLDS = 100


class Pack(Section):
    """A task pack with one profile applied; :func:`recipelab.packs.load.load_pack` reads it.

    Attributes:
        root: The pack's folder.
        profile: Name of the applied profile.
        format: Version of the format of ``pack.toml``; 1.
        name: Its name, as on the command line.
        title: What it is about, in one line.
        description: What the task is, for specialists and people.
        specialists: Names of the charters that work on it, unless a campaign names others.
        sandbox: Name of the sandbox.
        requirements: Packages beyond those of the sandbox: ``[sandbox] requirements``.
        warm: Modules that the sandbox imports before each phase of the recipe, whose time they are
            not.
        metric: The score.
        acceptance: How a gain is told from noise.
        gates: Limits beside the score.
        budgets: Seconds that each phase may take.
        limits: Bounds of every phase but time.
        seeds: Seeds on which trials are screened, two at least.
        folds: Number of folds of a cross-validation; a seed run has the fold of its seed.
        recipe: The starting recipe, and what of it may be changed.
        surfaces: The named parts of the recipe.
        data: Data files and folders, and where they come from.
        phases: The commands.
        certify: How a trial is certified.
        control: A run on data that tell nothing, before a claim; ``None`` for none.
        fidelity: A short training, by which trials are screened first; ``None`` for none.
        evaluator: The folder of the scorer.
        hardware: The hardware that the profile is made for.
        upstream: The repository of somebody else that the recipe starts from; ``None`` for none.
        protected: What scores beside the recipe's own code, and has to stay as it was.
        legality: The rules of the task, and what enforces each.
        rehearsal: How a profile for GPUs runs on a small machine; ``None`` for not at all.
        scratch: What agents may run in the sandbox that is no trial.
    """

    root: Path
    profile: str
    format: Literal[1]
    name: str = Field(pattern=NAME)
    title: str
    description: str
    specialists: tuple[str, ...] = Field(min_length=1)
    sandbox: str = "cpu"
    requirements: tuple[str, ...] = ()
    warm: tuple[str, ...] = ()
    metric: Metric
    acceptance: AcceptanceSpec = AcceptanceSpec()
    gates: tuple[Gate, ...] = ()
    budgets: Budgets
    limits: PackLimits = PackLimits()
    seeds: tuple[Seed, ...] = Field(min_length=2)
    folds: int | None = Field(default=None, ge=2, le=MOST_FOLDS)
    recipe: RecipeSpec
    surfaces: tuple[Surface, ...] = Field(min_length=1)
    data: tuple[DataFile, ...] = ()
    phases: Phases
    certify: CertifySpec = CertifySpec()
    control: ControlSpec | None = None
    fidelity: FidelitySpec | None = None
    evaluator: EvaluatorSpec
    hardware: Hardware = Hardware()
    upstream: Upstream | None = None
    protected: tuple[Protected, ...] = ()
    legality: tuple[LegalityCheck, ...] = ()
    rehearsal: RehearsalSpec | None = None
    scratch: ScratchSpec = ScratchSpec()

    @field_validator("requirements")
    @classmethod
    def _check_requirements(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for text in given:
            if problem := requirement_problem(text):
                raise ValueError(problem)
        return given

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        _check_unique("surfaces", [surface.name for surface in self.surfaces])
        _check_unique("gates", [gate.name for gate in self.gates])
        _check_unique("data", [item.file for item in self.data])
        _check_unique("seeds", [str(seed) for seed in self.seeds])
        _check_unique("legality", [check.name for check in self.legality])
        self._check_data_is_named()
        self._check_folds()
        self._check_answers_are_hidden()
        self._check_kept_folder()
        self._check_rehearsal()
        self._check_warm()
        self._check_places()
        if self.fidelity is not None and self.metric.measure.startswith(f"{Phase.TRAIN}."):
            raise ValueError(
                f"fidelity: a short training tells nothing of {self.metric.measure}; it is for "
                "metrics that training makes better"
            )
        return self

    def _check_data_is_named(self) -> None:
        drawn = self.phases.draw.names if self.phases.draw is not None else ()
        files = {item.file for item in self.data} | set(drawn)
        for place, spec, _ in self._phases_with_places():
            training = spec.training if isinstance(spec, PrepareSpec) else {}
            for target, file in (*spec.data.items(), *training.items()):
                if missing := [name for name in self.in_folds(file) if name not in files]:
                    raise ValueError(
                        f"{place}.data: {target!r} names no data file {missing[0]!r}; "
                        f"valid: {', '.join(sorted(files)) or '(none)'}"
                    )

    def _check_folds(self) -> None:
        if self.folds is None:
            return
        names = [name for _, spec, _ in self._phases_with_places() for name in spec.data.values()]
        if not any(FOLD in name for name in names):
            raise ValueError(f"folds: no phase names data with {FOLD}, as train-{FOLD}.csv")
        if self.evaluator.items is not None:
            raise ValueError(
                "evaluator.items: items have the same order in every run, and folds have others"
            )

    def in_folds(self, name: str) -> tuple[str, ...]:
        """Return the data files that a name stands for: one for each fold if it has ``{fold}``."""
        if self.folds is None or FOLD not in name:
            return (name,)
        return tuple(name.replace(FOLD, str(fold)) for fold in range(self.folds))

    def files_of(self, spec: PhaseSpec) -> frozenset[str]:
        """Return the data files that a phase sees, in all folds together."""
        return frozenset(file for name in spec.data.values() for file in self.in_folds(name))

    def in_fold_of(self, name: str, seed: int) -> str:
        """Return the data file that a name stands for in the seed run of a seed."""
        return name if self.folds is None else name.replace(FOLD, str(seed % self.folds))

    def _check_answers_are_hidden(self) -> None:
        """Raise where a phase of the recipe sees a file that the evaluator sees.

        That the recipe never sees the answers is up to the pack's own table of data.
        """
        phases = list(self._phases_with_places())
        answers = {
            file
            for _, spec, phase in phases
            if not phase.runs_recipe
            for file in self.files_of(spec)
        }
        for place, spec, phase in phases:
            shared = sorted(answers & self.files_of(spec))
            if phase.runs_recipe and shared:
                raise ValueError(
                    f"{place}.data: {shared[0]!r} is an answer of a score (or prepare) phase and "
                    "may not be seen by the recipe"
                )

    def _check_kept_folder(self) -> None:
        """Raise where the folder that a warm-up keeps would lie where something else does."""
        kept = self.phases.preflight.keeps
        seen = [target for _, spec, _ in self._phases_with_places() for target in spec.data]
        inputs = (self.recipe.folder, self.evaluator.folder, *seen)
        taken = {"out", *(path.split("/")[0] for path in inputs)}
        if kept in taken:
            raise ValueError(
                f"phases.preflight.keeps: {kept!r} is taken by something else that a phase has: "
                f"{', '.join(sorted(taken))}"
            )

    def _check_rehearsal(self) -> None:
        """Raise where a rehearsal makes no file of the pack, or leaves a phase without data."""
        if self.rehearsal is None:
            return
        files = {item.file for item in self.data}
        for file in self.rehearsal.files:
            if file not in files:
                raise ValueError(
                    f"rehearsal.files: no data file {file!r}; "
                    f"valid: {', '.join(sorted(files)) or '(none)'}"
                )
        for phase in Phase:
            wanted = self.files_of(self.phases[phase])
            if wanted and not wanted & set(self.rehearsal.files):
                raise ValueError(
                    f"rehearsal.files: {phase} would see no data; it sees: "
                    f"{', '.join(sorted(wanted)[:4])}"
                )

    def _check_warm(self) -> None:
        """Raise where what is imported first is no module, or a phase could not profit by it."""
        commands = {
            f"{place}.command": spec.command
            for place, spec, phase in self._phases_with_places()
            if phase.runs_recipe
        }
        if self.rehearsal is not None:
            commands |= {
                f"rehearsal.commands.{phase}": command
                for phase, command in self.rehearsal.commands.items()
                if phase.runs_recipe
            }
        for place, command in commands.items():
            if problem := warm_problem(self.warm, command):
                raise ValueError(f"warm (for {place}): {problem}")
        for place, spec, phase in self._phases_with_places():
            if self.warm and phase.runs_recipe and "PYTHONPATH" in spec.environment:
                raise ValueError(
                    f"{place}.environment: no PYTHONPATH beside warm: modules of the recipe could "
                    "stand in for those that are imported first"
                )

    def _check_places(self) -> None:
        """Raise where a command could not begin, or would change what it may not."""
        for place, spec, phase in self._phases_with_places():
            if spec.scratch and not phase.runs_recipe:
                raise ValueError(f"{place}.scratch: only phases of the recipe have its folder")
            code = self.recipe.folder if phase.runs_recipe else self.evaluator.folder
            seen = [code, *(str(PurePosixPath(target).parent) for target in spec.data)]
            if spec.workdir and not any(_nested(spec.workdir, folder) for folder in seen):
                raise ValueError(
                    f"{place}.workdir: no folder {spec.workdir!r} is there; it sees: "
                    f"{', '.join(sorted({code, *spec.data}))}"
                )

    def _phases_with_places(self) -> Iterator[tuple[str, PhaseSpec, Phase]]:
        """Yield the phases of trials and of certification, with the keys of their tables."""
        for phase in Phase:
            yield f"phases.{phase}", self.phases[phase], phase
            certified: PhaseSpec | None = getattr(self.certify, phase, None)
            if certified is not None:
                yield f"certify.{phase}", certified, phase
        if self.control is not None:
            yield "control", self.control, Phase.PREPARE

    def shortened(self) -> Pack:
        """Return the same pack with the short training in place of the whole one.

        Its gates are of whole trainings, and its curves, too.
        """
        if self.fidelity is None:
            return self
        changed = {"command": self.fidelity.command, "curve": None}
        train = self.phases.train.model_copy(update=changed)
        phases = self.phases.model_copy(update={"train": train})
        return self.model_copy(update={"phases": phases, "gates": ()})

    def controlled(self) -> Pack:
        """Return the same pack with the data of a control run; the same where it has none.

        No gate says anything of such a training, nor does its curve.
        """
        if self.control is None:
            return self
        train = self.phases.train.model_copy(update={"curve": None})
        phases = self.phases.model_copy(update={"prepare": self.control, "train": train})
        return self.model_copy(update={"phases": phases, "gates": ()})

    def certified(self) -> Pack:
        """Return the same pack with the phases of a certification in place of those of a trial."""
        changed = {
            name: spec
            for name in ("prepare", "predict", "score")
            if (spec := getattr(self.certify, name)) is not None
        }
        return self.model_copy(update={"phases": self.phases.model_copy(update=changed)})

    def rehearsed(self) -> Pack:
        """Return the same pack as it is rehearsed: its phases, limits and sandbox, and no GPU.

        Raises:
            PackError: The profile has no rehearsal.
        """
        plan = self.rehearsal
        if plan is None:
            raise PackError(
                f"{self.name}: profile {self.profile} has no [rehearsal]; it is for profiles that "
                "need hardware which is not at hand"
            )
        changed = {
            phase.value: self.phases[phase].model_copy(
                update={
                    "command": plan.commands.get(phase, self.phases[phase].command),
                    "data": {
                        target: file
                        for target, file in self.phases[phase].data.items()
                        if file in plan.files
                    },
                }
            )
            for phase in Phase
            if getattr(self.phases, phase) is not None
        }
        return self.model_copy(
            update={
                "sandbox": plan.sandbox,
                "budgets": plan.budgets,
                "limits": plan.limits,
                "hardware": Hardware(),
                "phases": self.phases.model_copy(update=changed),
            }
        )

    @property
    def trust(self) -> Trust:
        """How far a score can be believed, as the pack's own tables tell it."""
        if self.protected:
            return Trust.PROTECTED
        return Trust.ISOLATED if self._hidden or not self._scored else Trust.SELF_REPORTED

    @property
    def trust_reason(self) -> str:
        """Why the pack has its trust, and what is missing for more."""
        if self.protected:
            files = ", ".join(sorted({item.path for item in self.protected}))
            return f"what scores runs beside the recipe's code, and is held fixed in {files}"
        if self._hidden:
            return f"score has answers that no phase of the recipe sees: {', '.join(self._hidden)}"
        if not self._scored:
            return "the sandbox measures all that is judged"
        return (
            "score only reads what the recipe's own code wrote; for more, give [phases.score] data "
            "that neither train nor predict sees, or hold what scores fixed by [[protected]]"
        )

    @property
    def _hidden(self) -> tuple[str, ...]:
        """The data files that the evaluator alone sees."""
        phases = self.phases[Phase.SCORE], self.phases[Phase.PREPARE]
        return tuple(sorted({name for spec in phases for name in spec.data.values()}))

    @property
    def _scored(self) -> bool:
        """Whether the metric, or a gate, is a number that the scorer gives."""
        measures = (self.metric.measure, *(gate.measure for gate in self.gates))
        return any(
            measure.startswith(f"{Phase.SCORE}.") and measure not in SCORE_COSTS
            for measure in measures
        )

    @property
    def surface_names(self) -> tuple[str, ...]:
        """Names of the surfaces, in the pack's order."""
        return tuple(surface.name for surface in self.surfaces)

    @property
    def has_rounds(self) -> bool:
        """Whether each seed run has a hidden round of its own, drawn by a secret number."""
        prepare = self.phases.prepare
        if prepare is None or not prepare.rounds:
            return False
        return any("{nonce}" in word for word in prepare.command)

    def seconds(self, phase: Phase) -> float:
        """Return the budget of a phase in wall-clock seconds."""
        return float(getattr(self.budgets, phase.value))

    def baseline(self) -> Recipe:
        """Return the starting recipe: the text files of the recipe's folder, and upstream's.

        Raises:
            PackError: Upstream's files were not fetched yet, or a file cannot be read.
        """
        files = {path: form.text for path, form in self.folder().texts.items()}
        files |= self._knobs()
        if self.upstream is not None:
            texts = upstream_texts(self.upstream, self.name, self.profile)
            files |= {f"{self.recipe.folder}/{path}": text for path, text in texts.items()}
        return Recipe(files)

    def _knobs(self) -> dict[str, str]:
        """Return the table of knobs beside the recipe, if there is one, as one of its files."""
        path = (PurePosixPath(self.recipe.folder).parent / KNOBS_FILE).as_posix()
        file = self.root / path
        if not os.path.isfile(file) or not leads_inside(file, self.root):
            return {}
        try:
            form = TextForm.read(read_limited(file))
        except OSError as error:
            raise PackError(f"{file}: cannot be read: {error.strerror}") from None
        if form is None:
            raise PackError(f"{file}: it is no text")
        return {path: form.text}

    def folder(self) -> RecipeFolder:
        """Return what lies in the recipe's folder, without the files of upstream.

        Raises:
            PackError: A file cannot be read, or a link leads out of the pack.
        """
        return read_recipe_folder(self.root, self.recipe.folder, self.recipe.editable)


def _nested(one: str, other: str) -> bool:
    """Return whether one of two folders is the other, or lies in it."""
    first, second = PurePosixPath(one).parts, PurePosixPath(other).parts
    return first[: len(second)] == second or second[: len(first)] == first


def _check_unique(key: str, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{key}: {twice[0]!r} is there twice")
