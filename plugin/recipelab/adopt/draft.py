"""The pack that is being made of a repository, as far as it is known."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from recipelab.adopt.code import SeedPlace
from recipelab.adopt.constants import Candidate
from recipelab.adopt.files import DataPlace
from recipelab.adopt.folds import Folds
from recipelab.adopt.look import Entry, Survey
from recipelab.core.trial import Trust
from recipelab.packs.judging_sections import Goal

_GOALS = (
    (
        Goal.MAXIMIZE,
        re.compile(
            r"acc|auc|f1|r2|score|precision|recall|bleu|rouge|map$|ndcg|iou|"
            r"dice|reward|throughput|per_sec|tokens_per|psnr|ssim|mfu|hit"
        ),
    ),
    (
        Goal.MINIMIZE,
        re.compile(
            r"loss|err|rmse|mse|mae|bpb|bits|ppl|perplex|time|second|nll|"
            r"latency|mape|wer|cer|fid|ms$|cost|deviance|brier"
        ),
    ),
)


@dataclass(frozen=True)
class SeedWay:
    """How the seed gets into the training.

    Attributes:
        kind: ``argument``, ``environment``, ``constant``, ``key``, or ``none``.
        name: The option, the variable, or the key; for a constant the place in words.
        path: The file, for a constant or key.
        line: Its number, for a constant.
        places: The numbers that are replaced, for a constant.
    """

    kind: str
    name: str = ""
    path: str = ""
    line: int = 0
    places: tuple[SeedPlace, ...] = ()

    @classmethod
    def at(cls, place: SeedPlace, others: Sequence[SeedPlace] = ()) -> SeedWay:
        """Return the way through a seed that is written in a file.

        Args:
            place: The seed.
            others: All that were found. Where a process is seeded call by call, as Python, NumPy
                and PyTorch want it, the calls of the same file with the same number go together.
        """
        path, line = place.line.path, place.line.number
        if path.endswith(".py") or place.name.startswith(("srand", "srandom")):
            alike = [
                other
                for other in others
                if (other.line.path, other.value, other.strength) == (path, place.value, 2)
            ]
            places = alike if place in alike else [place]
            return cls("constant", place.name, path, line, tuple(places))
        return cls("key", place.name, path)

    @property
    def words(self) -> str:
        """The way in words."""
        return {
            "argument": f"by the option {self.name}",
            "environment": f"by the variable {self.name}",
            "constant": f"by a line of the pack's copy of {self.path}:{self.line}",
            "key": f"by the key {self.name} of {self.path}, which is set before each run",
            "none": "not at all: nothing takes one",
        }[self.kind]

    def replaced(self, text: str) -> str:
        """Return the text of the file of a constant, with the seed of the run in its places."""
        lines = text.split("\n")
        # From right to left, so that columns stay what they are.
        for place in sorted(self.places, key=lambda one: (one.line.number, -one.begin)):
            line = lines[place.line.number - 1]
            number = line[place.begin : place.end]
            if self.path.endswith(".py"):
                seed = f'int(__import__("os").environ.get("RECIPELAB_SEED", {number}))'
            else:
                seed = f'(getenv("RECIPELAB_SEED") ? atoi(getenv("RECIPELAB_SEED")) : {number})'
            lines[place.line.number - 1] = f"{line[: place.begin]}{seed}{line[place.end :]}"
        return "\n".join(lines)


@dataclass
class Draft:
    """All that a pack is written from; each run of the user's command may change it.

    Attributes:
        name: Name of the pack.
        survey: What there is to see in the repository.
        entry: How the training is started.
        data: Data that the recipe sees.
        metric: The name under which the score is printed; empty until it is known.
        goal: Which way it is better.
        editable: Files that agents may change.
        seed: How the seed gets in.
        constant: Printed names whose numbers no edit may change, with these numbers.
        knobs: Constants that may be turned.
        sandbox: Name of the sandbox.
        gpus: GPUs that a training takes.
        memory_mb: Limit of a phase, in MiB; so the others.
        output_mb: As above.
        scratch_mb: As above.
        train_seconds: Time that a training may take.
        measured_seconds: Time that it took; 0 until it has run.
        deterministic: Whether every seed measures the same.
        protected: Files, with the functions in them, that are held fixed; none for all of a file.
        folds: The cross-validation that the evaluator makes in place of the script's own.
        tries_fold: Whether it is a try of the script on one fold, and not the pack.
        trust: How far the score can be believed.
        replaced: Texts that the pack's copy has in place of the user's: path to pairs.
        notes: What the user was told, for the pack's README.
    """

    name: str
    survey: Survey
    entry: Entry
    data: list[DataPlace]
    metric: str = ""
    goal: Goal = Goal.MINIMIZE
    editable: tuple[str, ...] = ()
    seed: SeedWay = SeedWay("none")
    constant: dict[str, float] = field(default_factory=dict[str, float])
    knobs: tuple[Candidate, ...] = ()
    sandbox: str = "cpu"
    gpus: int = 0
    memory_mb: int = 4096
    output_mb: int = 64
    scratch_mb: int = 1024
    train_seconds: float = 600.0
    measured_seconds: float = 0.0
    deterministic: bool = False
    protected: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    folds: Folds | None = None
    tries_fold: bool = False
    trust: Trust = Trust.SELF_REPORTED
    replaced: dict[str, list[tuple[str, str]]] = field(
        default_factory=dict[str, list[tuple[str, str]]]
    )
    notes: list[str] = field(default_factory=list[str])

    @property
    def network(self) -> bool:
        """Whether a network is trained, so that specialists for its parts fit."""
        needed = self.survey.requirements(self.entry.path)
        return bool(
            {"torch", "jax", "tensorflow", "keras", "flax", "mlx", "tinygrad"} & set(needed)
        )

    @property
    def score_key(self) -> str:
        """The metric's name as a key of score.json, as ``val_loss`` for ``val loss``."""
        return score_key(self.metric)

    @property
    def command(self) -> str:
        """The user's command, with ``{seed}`` where it takes one."""
        if self.seed.kind == "argument":
            joint = "=" if not self.seed.name.startswith("-") else " "
            return f"{self.entry.command} {self.seed.name}{joint}{{seed}}"
        if self.seed.kind == "environment":
            return f"{self.seed.name}={{seed}} {self.entry.command}"
        return self.entry.command

    def text(self, path: str) -> str:
        """Return the text of a file as the pack has it: the user's, but for a seed or a path."""
        if self.folds is not None and self.folds.path == path:
            return self.folds.text
        text = self.survey.repository.texts[path]
        if self.seed.kind == "constant" and self.seed.path == path:
            text = self.seed.replaced(text)
        for old, new in self.replaced.get(path, ()):
            text = text.replace(old, new)
        return text


def score_key(name: str) -> str:
    """Return a printed name as a key of score.json and the name of a metric."""
    key = re.sub(r"[^a-z0-9_]+", "_", name.lower()).strip("_")[:50] or "metric"
    return key if key[0].isalpha() else f"metric_{key}"


def goal_of(name: str) -> Goal:
    """Return which way a metric is better, by its name; less is, where the name does not tell."""
    plain = score_key(name)
    return next((goal for goal, pattern in _GOALS if pattern.search(plain)), Goal.MINIMIZE)


def is_metric_name(name: str) -> bool:
    """Return whether a printed name is that of a known kind of metric."""
    return any(pattern.search(score_key(name)) for _, pattern in _GOALS)


def is_time(name: str) -> bool:
    """Return whether a metric is a time or a rate, which differs from run to run."""
    return re.search(r"time|second|latency|per_sec|ms$|throughput|mfu", score_key(name)) is not None
