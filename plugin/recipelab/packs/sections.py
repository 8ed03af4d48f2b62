"""The tables of a ``pack.toml``, format version 1, each as a model.

They stand in the order in which a pack is written: how long and how large a phase may be, the
recipe, and the evaluator. A recipe that starts from somebody else's repository has some tables
more. The phases are in :mod:`~recipelab.packs.phase_sections`. What is measured, and what must
hold, is in :mod:`~recipelab.packs.judging_sections`, data are in
:mod:`~recipelab.packs.data_sections`, and :class:`~.pack.Pack` puts them all together.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from recipelab.core.trial import Phase
from recipelab.packs.judging_sections import NAME, SHA256, Gate, Section
from recipelab.packs.phase_sections import PhaseSpec, PrepareSpec


class Budgets(Section):
    """Wall-clock seconds that each phase may take.

    Attributes:
        draw: Seconds for the phase that draws what is hidden, once in a campaign.
        preflight: Seconds for the tiny step before a training.
        train: Seconds for a training.
        prepare: Seconds for the phase that makes what a seed run sees.
        predict: Seconds for the predictions of a seed run.
        score: Seconds for the scorer.
    """

    draw: float = Field(default=120, gt=0)
    preflight: float = Field(gt=0)
    train: float = Field(gt=0)
    prepare: float = Field(default=60, gt=0)
    predict: float = Field(gt=0)
    score: float = Field(gt=0)


class PackLimits(Section):
    """Bounds of every phase but time.

    Attributes:
        memory_mb: Memory of a phase, in MiB.
        cpus: CPU cores that a phase may use at a time.
        processes: Processes that a phase starts to compute side by side, as many as
            ``torch.distributed.run`` is told. Numeric libraries get ``cpus / processes`` threads in
            each.
        pids: Processes and threads that a phase may have at a time.
        output_mb: Size of all files that a phase leaves in ``out/``, in MiB.
        scratch_mb: Size of what a phase may write elsewhere, in MiB.
        output_files: Number of files that a phase may leave in ``out/``.
        recipe_growth: Bytes that a recipe may have which the starting recipe has not, its editable
            files compressed. Code has no need of much more; answers and weights have.
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

    Attributes:
        folder: Its folder, below that of the pack.
        python: The version of Python that it is written for, as ``3.12``. Where the host's own is
            older, only the sandbox can tell whether an edit parses.
        editable: Patterns of the files that agents may change, as ``recipe/*.py``.
    """

    folder: str
    python: str | None = Field(default=None, pattern=r"^3\.\d+$")
    editable: tuple[str, ...] = Field(min_length=1)


class Surface(Section):
    """A named part of the recipe.

    Attributes:
        name: Its name, as ``opt``.
        description: What belongs to it, for specialists.
    """

    name: str = Field(pattern=NAME)
    description: str


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

    Attributes:
        find: The text in upstream's file.
        replace: The text in the recipe.
    """

    find: str = Field(min_length=1)
    replace: str


class UpstreamFile(Section):
    """One file of an upstream repository.

    Attributes:
        path: Where it is in the repository.
        target: Where it is in the recipe, below the recipe's folder.
        sha256: Its hash in the repository.
        bytes: Its size there, in bytes.
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
        gpus: GPUs that one phase has to itself; 0 for cores alone.
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
        times: Number of times that the text is in the file, no more and no less.
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
