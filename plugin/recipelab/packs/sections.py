"""The tables of a ``pack.toml``, format version 1, each as a model.

They stand in the order in which a pack is written: how long and how large a phase may be, the
recipe, the phases that run it, and the evaluator. A recipe that starts from somebody else's
repository has some tables more. What is measured, and what must hold, is in
:mod:`~recipelab.packs.judging_sections`, data are in :mod:`~recipelab.packs.data_sections`, and
:class:`~.pack.Pack` puts them all together.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from recipelab.core.recipe import stays_inside
from recipelab.core.trial import Phase
from recipelab.packs.judging_sections import NAME, SHA256, Gate, Goal, Section, check_measure

RESERVED_VARIABLES = frozenset(
    {
        *("PATH", "HOME", "TMPDIR", "LOGNAME", "LD_LIBRARY_PATH", "LD_PRELOAD"),
        *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
        *("PYTHONDONTWRITEBYTECODE", "TORCHELASTIC_ERROR_FILE"),
    }
)
RESERVED_PREFIXES = ("CUDA_", "NVIDIA_", "RECIPELAB_")
"""Variables that a pack may not set: the sandbox does, or what is measured hangs on them."""

DRAWN = "draw:"
"""Prefix of a data file that the phase ``draw`` leaves."""


class Budgets(Section):
    """Wall-clock seconds that each phase may take."""

    draw: float = Field(default=120, gt=0)
    preflight: float = Field(gt=0)
    train: float = Field(gt=0)
    prepare: float = Field(default=60, gt=0)
    predict: float = Field(gt=0)
    score: float = Field(gt=0)


class PackLimits(Section):
    """Bounds of every phase but time.

    ``processes`` says how many processes a phase starts to compute side by side, as many as
    ``torch.distributed.run`` is told. Numeric libraries get ``cpus / processes`` threads in each.

    ``recipe_growth`` is how many bytes a recipe may have that the starting recipe has not, its
    editable files compressed. Code has no need of much more; answers and weights have.
    """

    memory_mb: int = Field(default=2048, ge=64)
    cpus: float = Field(default=1.0, gt=0)
    processes: int = Field(default=1, ge=1)
    pids: int = Field(default=128, ge=4)
    output_mb: int = Field(default=256, ge=1)
    scratch_mb: int = Field(default=512, ge=1)
    output_files: int = Field(default=256, ge=1)
    recipe_growth: int = Field(default=8192, ge=0)

    @model_validator(mode="after")
    def _processes_fit(self) -> Self:
        if self.processes > self.pids:
            raise ValueError(f"processes: at most pids, which is {self.pids}")
        return self


class RecipeSpec(Section):
    """Where the starting recipe lies, and which of its files agents may change.

    ``python`` is the version of Python that it is written for, as ``3.12``. Where the host's own is
    older, only the sandbox can tell whether an edit parses.
    """

    folder: str
    python: str | None = Field(default=None, pattern=r"^3\.\d+$")
    editable: tuple[str, ...] = Field(min_length=1)


class Surface(Section):
    """A named part of the recipe."""

    name: str = Field(pattern=NAME)
    description: str


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
    """What preflight projects of the training: each measure with its relative error, from 0 to 1.

    The phase leaves ``out/projection.json``, an object of numbers under these names. A projection
    that is over a limit by more than its error refuses the recipe before it is trained.

    Attributes:
        artifact_bytes: Size of the artifact, compressed as training would leave it.
        train_seconds: Wall-clock time of train, in seconds.
        train_cpu_seconds: CPU time of train, in seconds: steadier than the clock on the wall.
        peak_memory_mb: Largest memory use of train, in MiB.
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
    """The phases; ``draw`` and ``prepare`` are for evaluators that make what a recipe sees."""

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
        share: Share of the time of a whole training that it takes.
        seeds: On how many seeds a trial is screened so.
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
        at_least: The least that a recipe can reach which knows nothing, where less is better.
        at_most: The most that it can reach, where more is better.
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


class CertifySpec(Section):
    """How a trial is certified: on seeds that no trial had, and on answers that none was held to.

    Attributes:
        seeds: Seed runs of a certification.
        prepare: In place of the phase of trials; ``None`` for the same.
        predict: In place of the phase of trials; ``None`` for the same.
        score: In place of the phase of trials; ``None`` for the same.
    """

    seeds: int = Field(default=8, ge=2)
    prepare: PrepareSpec | None = None
    predict: PhaseSpec | None = None
    score: PhaseSpec | None = None

    @property
    def held_out(self) -> bool:
        """Whether it is scored on something that no trial was scored on."""
        return self.score is not None or self.prepare is not None


class EvaluatorSpec(Section):
    """The folder of the scorer, which sees predictions and answers and nothing else.

    Attributes:
        folder: The folder.
        rules: A command that reads a recipe beside the evaluator before any of it has run, and ends
            with exit status 4 if the recipe breaks a rule.
        items: The measure of ``score.json`` that is the mean of what the scorer leaves in
            ``out/items.f32``: a number for each item of the hidden set, in the same order for every
            run. Two recipes are then paired item by item, which tells how much of a difference the
            finite set makes.
        fresh_items: Whether ``prepare`` draws the items anew for every run. Two runs of different
            seeds then share none, and the spread over seeds holds the error of the items.
    """

    folder: str
    rules: tuple[str, ...] = ()
    items: str | None = Field(default=None, pattern=r"^score\.[A-Za-z_]\w*$")
    fresh_items: bool = False

    @model_validator(mode="after")
    def _fresh_items_are_items(self) -> Self:
        if self.fresh_items and self.items is None:
            raise ValueError("fresh_items: belongs to items, the measure that is their mean")
        return self


class UpstreamSetting(Section):
    """A text that is in a file of upstream exactly once, and what the recipe has instead.

    A recipe that its authors run with settings in the environment gets them as its defaults, so
    that whoever edits a default changes something.
    """

    find: str = Field(min_length=1)
    replace: str


class UpstreamFile(Section):
    """One file of an upstream repository.

    Attributes:
        path: Where it is in the repository.
        target: Where it is in the recipe, below the recipe's folder.
        sha256: Its hash in the repository.
        bytes: Its size there.
        unpack: ``lzma-b85`` for a Python file that holds its source compressed, as contests that
            count bytes make people write it; the recipe then has the source.
        replace: What the recipe has instead of some texts, after it is unpacked; the hash is that
            of upstream's own file.
    """

    path: str
    target: str
    sha256: str = Field(pattern=SHA256)
    bytes: int = Field(ge=0)
    unpack: Literal["lzma-b85"] | None = None
    replace: tuple[UpstreamSetting, ...] = ()


class Upstream(Section):
    """The repository of somebody else that a recipe starts from; its code is never in the pack.

    Attributes:
        name: ``owner/name``, for people.
        url: Address for git.
        commit: The pinned commit.
        license: Its license.
        files: The files that the recipe takes.
    """

    name: str
    url: str
    commit: str = Field(pattern=r"^[0-9a-f]{40}$")
    license: str
    files: tuple[UpstreamFile, ...] = Field(min_length=1)


class Protected(Section):
    """What scores beside the recipe's own code, and has to stay as it was.

    Attributes:
        path: The file, as the recipe names it.
        names: Top-level functions and classes; none for the whole file.
    """

    path: str
    names: tuple[str, ...] = ()


class LegalityCheck(Section):
    """A rule of the task, and what enforces it.

    Attributes:
        name: A few words.
        proves: What is known of a recipe that passes, and if need be what is not.
        by: What enforces it: the sandbox, the evaluator, a gate, acceptance, the protection of
            functions, or the pack's own static rules.
    """

    name: str
    proves: str
    by: Literal["sandbox", "evaluator", "gate", "acceptance", "protection", "rules"]


class Hardware(Section):
    """The hardware that a profile is made for.

    Attributes:
        gpus: GPUs that one phase has to itself.
        kind: Which, for people.
        note: What else to know.
    """

    gpus: int = Field(default=0, ge=0)
    kind: str = "one CPU thread"
    note: str = ""


class Replacement(Section):
    """A text that stands in the place of another in a file of the recipe, for a rehearsal.

    Attributes:
        file: The file, as the recipe names it.
        find: The text to replace.
        replace: What stands in its place.
        times: How often the text is in the file, no more and no less.
        why: What is not rehearsed because of it, in a few words; empty if nothing is.
    """

    file: str
    find: str = Field(min_length=1)
    replace: str
    times: int = Field(default=1, ge=1)
    why: str = ""


class ScratchSpec(Section):
    """What agents may run in the sandbox that is no trial, as to time a step.

    Attributes:
        seconds: CPU seconds a turn, in three times as long by the clock; 0 for nothing.
        data: Whether the code sees the training data. It never sees answers or hidden inputs.
    """

    seconds: float = Field(default=20, ge=0, le=3600)
    data: bool = True


class RehearsalSpec(Section):
    """How a profile for GPUs runs whole on a small machine: shrunk, and on data made on the spot.

    Attributes:
        folder: The folder of the script that makes the data.
        data: The command that makes them, in a sandbox that holds this folder and the recipe. It
            leaves each file of ``files`` in ``out/``.
        files: The data files of the pack that it makes; no phase of a rehearsal sees others.
        sandbox: Name of the sandbox to rehearse in.
        packages: Names of the Python packages that have to be in the sandbox.
        commands: Commands of phases, in place of the profile's own.
        budgets: Wall-clock seconds of the phases. Those of ``prepare`` are for the data too.
        limits: Bounds of the phases but time.
        replace: What is replaced in the recipe, one after the other.
        expects: What must come out of the data that are made, as gates; these do decide.
    """

    folder: str
    data: tuple[str, ...] = Field(min_length=1)
    files: tuple[str, ...] = Field(min_length=1)
    sandbox: str = "cpu"
    packages: tuple[str, ...] = ()
    commands: dict[Phase, Annotated[tuple[str, ...], Field(min_length=1)]] = Field(
        default_factory=dict[Phase, tuple[str, ...]]
    )
    budgets: Budgets
    limits: PackLimits = PackLimits()
    replace: tuple[Replacement, ...] = ()
    expects: tuple[Gate, ...] = ()
