"""The tables of a ``pack.toml`` that say what phases run: each, short trainings, control runs."""

from __future__ import annotations

import re
from typing import Self

from pydantic import Field, field_validator, model_validator

from recipelab.core.recipe import stays_inside
from recipelab.core.trial import Phase
from recipelab.packs.judging_sections import NAME, Goal, Section, check_measure

RESERVED_VARIABLES = frozenset(
    {
        *("PATH", "HOME", "TMPDIR", "LOGNAME", "LD_LIBRARY_PATH", "LD_PRELOAD"),
        *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
        *("PYTHONDONTWRITEBYTECODE", "TORCHELASTIC_ERROR_FILE"),
    }
)
RESERVED_PREFIXES = ("CUDA_", "HIP_", "NVIDIA_", "RECIPELAB_", "ROCR_")
"""Variables that a pack may not set: the sandbox does, or what is measured hangs on them."""

DRAWN = "draw:"
"""Prefix of a data file that the phase ``draw`` leaves."""


class PhaseSpec(Section):
    """The command of a phase, where it begins, and which data it sees where.

    Attributes:
        command: The command line; ``{seed}`` in a word, or in a variable, is the seed.
        data: Path below the phase root to the name of the data there.
        environment: Variables of the command's environment beyond those of the sandbox.
        workdir: Folder below the phase root that the command begins in; the root itself unless
            given. From ``recipe`` the outputs are ``../out``.
        scratch: Whether the recipe's folder is a private copy that the command may write to. What
            it leaves there is dropped; only ``out/`` is kept.
    """

    command: tuple[str, ...] = Field(min_length=1)
    data: dict[str, str] = Field(default_factory=dict[str, str])
    environment: dict[str, str] = Field(default_factory=dict[str, str])
    workdir: str = ""
    scratch: bool = False

    @property
    def upwards(self) -> str:
        """What leads from the folder that the command begins in to the phase root."""
        return "../" * len(self.workdir.split("/")) if self.workdir else ""

    @field_validator("environment")
    @classmethod
    def _check_environment(cls, given: dict[str, str]) -> dict[str, str]:
        for name, value in given.items():
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise ValueError(f"{name!r} is no name of a variable: letters, digits and _")
            if "\0" in value:
                raise ValueError(f"{name}: a variable cannot hold a null character")
            if name in RESERVED_VARIABLES or name.startswith(RESERVED_PREFIXES):
                raise ValueError(
                    f"{name} is set by the sandbox, which measures by it; reserved are "
                    f"{', '.join(sorted(RESERVED_VARIABLES))} and all that begin with "
                    f"{', '.join(RESERVED_PREFIXES)}"
                )
        return given

    @field_validator("workdir")
    @classmethod
    def _check_workdir(cls, given: str) -> str:
        folder = given.rstrip("/")
        if folder and not stays_inside(folder):
            raise ValueError("it must be a folder below the phase root, as recipe or recipe/src")
        return folder


class CurveSpec(Section):
    """The curve of a training: a file below ``out/`` that train appends lines ``step,value`` to.

    A run whose curve shows that it cannot end well is stopped. Nothing in the file counts as a
    score, and it is no output.

    Attributes:
        file: Name of the file in ``out/``.
        goal: Which way its values are better.
        foretells: The measurement that it foretells: the metric's, or that of a gate.
        error: Chance at which a run counts as hopeless and is stopped; 0 stops none.
    """

    file: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    goal: Goal
    foretells: str
    error: float = Field(default=0.02, ge=0, le=0.5)

    _foretells = field_validator("foretells")(check_measure)


class TrainSpec(PhaseSpec):
    """The phase that trains.

    Attributes:
        curve: The curve that is watched while it trains; ``None`` for none.
    """

    curve: CurveSpec | None = None


class Projects(Section):
    """What preflight projects of the training: each measure with its relative error, as a share.

    The phase leaves ``out/projection.json``, an object of numbers under these names. A projection
    that is over a limit by more than its error refuses the recipe before it is trained.

    Attributes:
        artifact_bytes: Error of the artifact's size in bytes, compressed as training would leave
            it.
        train_seconds: Error of the wall-clock seconds of train.
        train_cpu_seconds: Error of the CPU seconds of train, which are steadier than the clock on
            the wall.
        peak_memory_mb: Error of the largest memory use of train in MiB.
    """

    artifact_bytes: float | None = Field(default=None, ge=0, lt=1)
    train_seconds: float | None = Field(default=None, ge=0, lt=1)
    train_cpu_seconds: float | None = Field(default=None, ge=0, lt=1)
    peak_memory_mb: float | None = Field(default=None, ge=0, lt=1)

    @property
    def errors(self) -> dict[str, float]:
        """The relative error of each measure that is projected."""
        return self.model_dump(exclude_none=True)


class PreflightSpec(PhaseSpec):
    """The phase that comes before any budget is spent: one tiny step of the real thing.

    With ``keeps`` it is a warm-up: what it leaves in that folder below ``out/``, as a compiler's
    cache, is an input folder of the same name in every training of the same recipe. It then sees no
    data, so that nothing can be learned in it.

    Attributes:
        projects: What it foretells of the training.
        keeps: Name of the folder that is kept.
        keep_mb: Size of that folder at most, in MiB.
    """

    projects: Projects = Projects()
    keeps: str | None = Field(default=None, pattern=NAME)
    keep_mb: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _keeps_nothing_learned(self) -> Self:
        if (self.keeps is None) != (self.keep_mb is None):
            raise ValueError("keeps and keep_mb go together: a folder, and its size at most in MiB")
        if self.keeps is not None and self.data:
            raise ValueError(
                "data: a warm-up (keeps) sees no data, as what it keeps could be learned from it; "
                "let a fixed file of the recipe make stand-ins"
            )
        return self


class DrawSpec(PhaseSpec):
    """The evaluator's phase that chooses what is hidden, and what is trained on.

    It comes once in a campaign, whose secret number its command gets in place of ``{secret}``. Each
    file that it leaves in ``out/`` is a data file of other phases under the name ``draw:NAME``.

    Attributes:
        files: Names of the files that it leaves.
    """

    files: tuple[str, ...] = Field(min_length=1)

    @property
    def names(self) -> tuple[str, ...]:
        """The files, as other phases name them."""
        return tuple(f"{DRAWN}{file}" for file in self.files)


class PrepareSpec(PhaseSpec):
    """The evaluator's phase that comes before each training.

    It may leave ``out/data/``, whose files take the place of those that train would see there;
    ``out/rounds/``, a folder for each round that predict is asked; and ``out/plan/``, which the
    scorer sees.

    Attributes:
        training: Training data that it sees, as ``data``. All else that it sees is hidden, so that
            a file which train sees, too, may not be among its ``data``.
        rounds: Whether it makes the rounds; if not, predict sees the data of its own table.
    """

    training: dict[str, str] = Field(default_factory=dict[str, str])
    rounds: bool = True


class Phases(Section):
    """The phases; ``draw`` and ``prepare`` are for evaluators that make what a recipe sees.

    Attributes:
        draw: Chooses what is hidden, once in a campaign; ``None`` for none.
        preflight: One tiny step of a training, before any budget is spent.
        train: Trains, and leaves an artifact.
        prepare: Makes what a seed run sees; ``None`` for none.
        predict: Predicts with the artifact, without answers.
        score: Scores the predictions, without the recipe.
    """

    draw: DrawSpec | None = None
    preflight: PreflightSpec
    train: TrainSpec
    prepare: PrepareSpec | None = None
    predict: PhaseSpec
    score: PhaseSpec

    def __getitem__(self, phase: Phase) -> PhaseSpec:
        """Return the phase; an empty one that the pack does not have."""
        found: PhaseSpec | None = getattr(self, phase.value)
        return found or PhaseSpec(command=("true",))


class FidelitySpec(Section):
    """A short training, by which trials are screened before they train at full length.

    Nothing is kept for it: what is promising is promoted, and judged at full length.

    Attributes:
        command: The command of train, shortened, as by an argument for a tenth of the steps.
        share: Time that it takes, as a share of a whole training.
        seeds: Seeds on which a trial is screened so.
        correlation: Correlation of the gains of short and whole trainings over the campaign's
            trials below which it is switched off.
        trials: Trials that have both before it may be switched off.
    """

    command: tuple[str, ...] = Field(min_length=1)
    share: float = Field(gt=0, lt=1)
    seeds: int = Field(default=1, ge=1)
    correlation: float = Field(default=0.5, gt=0, lt=1)
    trials: int = Field(default=8, ge=3)


class ControlSpec(PrepareSpec):
    """A control run: a training on data whose relation to the answers was destroyed.

    Its command takes the place of that of ``prepare``, and leaves ``out/data/``: labels shuffled,
    text of the same alphabet without order. What a recipe still knows of the hidden data after
    that, it has not learned from training data.

    Attributes:
        measure: What the scorer measured of such a run.
        at_least: The least that a recipe can reach which knows nothing, where less is better, in
            the unit of the measure.
        at_most: The most that it can reach, where more is better, in the unit of the measure.
    """

    measure: str = Field(pattern=r"^score\.[A-Za-z_]\w*$")
    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _has_one_limit(self) -> Self:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("control has exactly one of: at_least, at_most")
        return self

    def holds(self, value: float) -> bool:
        """Return whether a recipe that knows nothing can have measured this."""
        if self.at_least is not None:
            return value >= self.at_least
        return self.at_most is not None and value <= self.at_most

    @property
    def bound(self) -> str:
        """The limit in words, as ``at most 0.5``."""
        if self.at_least is not None:
            return f"at least {self.at_least:g}"
        return f"at most {self.at_most:g}"
