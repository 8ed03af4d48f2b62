"""The pack that is being made of a repository, and how it is written to a folder."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from recipelab.adopt.code import SeedPlace
from recipelab.adopt.constants import REST, Candidate
from recipelab.adopt.files import DataPlace
from recipelab.adopt.look import Entry, Survey
from recipelab.core.errors import RecipelabError
from recipelab.core.trial import Trust
from recipelab.packs.judging_sections import Goal

TEMPLATES = Path(__file__).parent / "templates"
"""Files of adopted packs. Its Python files have another suffix, as they are no code of ours."""
RUN_FILE = "recipelab_run.py"
"""The file of a recipe that starts the user's command."""
RECIPE, EVALUATOR = "recipe", "evaluator"
HASHED_BYTES = 200_000_000
"""A larger file of data is told apart by its size and time alone until `packs lock`."""

CHARTERS = {"arch": "arch", "opt": "opt", "reg": "reg", "aug": "aug"}
"""Shipped charters for the surfaces of networks; what else there is belongs to the generalist."""
GENERALIST = "generalist"
ABOUT = {
    "arch": "The model: layers, their sizes, activations.",
    "opt": "How the weights move: optimizer, rate, batch, schedule, number of steps.",
    "reg": "What keeps the weights in check: decay, dropout, averages.",
    "aug": "What the model sees: reading, order and alteration of the training data.",
    REST: "All of the recipe.",
}
_FILE_SURFACES = (
    ("arch", re.compile(r"model|net|arch|layers|gpt|transformer|modules?$")),
    ("opt", re.compile(r"optim|sched|trainer|muon")),
    ("aug", re.compile(r"data|augment|loader|transform|preprocess|features?")),
)
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
        begin: Column of the number that is replaced, from 0.
        end: Column behind it.
    """

    kind: str
    name: str = ""
    path: str = ""
    line: int = 0
    begin: int = 0
    end: int = 0

    @classmethod
    def at(cls, place: SeedPlace) -> SeedWay:
        """Return the way through a seed that is written in a file."""
        path, line = place.line.path, place.line.number
        if path.endswith(".py") or place.name.startswith(("srand", "srandom")):
            return cls("constant", place.name, path, line, place.begin, place.end)
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

    def replaced(self, line: str) -> str:
        """Return the line of a constant, with the seed of the run in place of the number."""
        number = line[self.begin : self.end]
        if self.path.endswith(".py"):
            seed = f'int(__import__("os").environ.get("RECIPELAB_SEED", {number}))'
        else:
            seed = f'(getenv("RECIPELAB_SEED") ? atoi(getenv("RECIPELAB_SEED")) : {number})'
        return f"{line[: self.begin]}{seed}{line[self.end :]}"


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
        text = self.survey.repository.texts[path]
        if self.seed.kind == "constant" and self.seed.path == path:
            lines = text.split("\n")
            lines[self.seed.line - 1] = self.seed.replaced(lines[self.seed.line - 1])
            text = "\n".join(lines)
        for old, new in self.replaced.get(path, ()):
            text = text.replace(old, new)
        return text


def score_key(name: str) -> str:
    """Return a printed name as a key of score.json and the name of a metric."""
    key = re.sub(r"\W+", "_", name.lower().lstrip("-")).strip("_")[:60] or "metric"
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


def write_draft(draft: Draft, folder: Path) -> None:
    """Write a pack to its folder, in place of what an earlier draft has left there.

    Raises:
        RecipelabError: The folder cannot be written.
    """
    try:
        if folder.exists():
            shutil.rmtree(folder)
        for path in draft.survey.repository.texts:
            _write(folder / RECIPE / path, draft.text(path))
        shutil.copyfile(TEMPLATES / "run.py.in", folder / RECIPE / RUN_FILE)
        _write(folder / EVALUATOR / "score.py", _scorer(draft))
        _write(folder / "pack.toml", pack_toml(draft, folder))
        _write(folder / "README.md", readme(draft))
        if draft.knobs:
            _write(folder / "knobs.toml", knobs_toml(draft))
    except OSError as error:
        raise RecipelabError(f"{folder}: cannot be written: {error.strerror}") from None


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8", newline="")


def _scorer(draft: Draft) -> str:
    names = {draft.score_key: draft.metric, **{score_key(key): key for key in draft.constant}}
    scores = ", ".join(f"{key!r}: printed_number({name!r})" for key, name in names.items())
    text = (TEMPLATES / "score.py.in").read_text("utf-8")
    return text.replace("SCORES", scores.replace("'", '"') if "\\" not in scores else scores)


def knobs_toml(draft: Draft) -> str:
    """Return the knobs of a recipe whose files have no comments for them."""
    head = (
        "# Constants that agents see as open to change, and the offline model turns.\n"
        "# The ranges are guesses from name and value: narrow them where you know better.\n"
    )
    return head + "".join(
        f"\n[[knobs]]\nfile = {_toml(f'{RECIPE}/{item.path}')}\nname = {_toml(item.name)}\n"
        f"surface = {_toml(item.surface)}\ndomain = {_toml(item.domain)}\n"
        for item in draft.knobs
    )


def surfaces_of(draft: Draft) -> dict[str, str]:
    """Return the surfaces of a recipe with a description each, by its knobs and files."""
    files: dict[str, list[str]] = {}
    for path in draft.editable:
        stem = PurePosixPath(path).stem.lower()
        named = [surface for surface, pattern in _FILE_SURFACES if pattern.search(stem)]
        surface = named[0] if named and draft.network else REST
        files.setdefault(surface, []).append(path)
    found = {knob.surface for knob in draft.knobs} | set(files) | {REST}
    order = (*CHARTERS, REST)
    return {
        surface: " ".join(
            (
                ABOUT[surface],
                *([f"Files: {', '.join(files[surface][:8])}."] if surface in files else []),
            )
        )
        for surface in order
        if surface in found
    }


def specialists_of(surfaces: Iterable[str]) -> tuple[str, ...]:
    """Return the shipped charters that own some surfaces; the generalist is always among them."""
    return (*(CHARTERS[name] for name in surfaces if name in CHARTERS), GENERALIST)


def data_names(data: Sequence[DataPlace]) -> dict[str, DataPlace]:
    """Return places of data by the names that they have in a pack."""
    found: dict[str, DataPlace] = {}
    for place in data:
        base = re.sub(r"[^A-Za-z0-9._-]+", "-", place.target.strip("/")).strip("-.") or "data"
        name, number = base, 2
        while name in found:
            name, number = f"{base}-{number}", number + 1
        found[name] = place
    return found


def pack_toml(draft: Draft, folder: Path) -> str:
    """Return the text of ``pack.toml``.

    Args:
        draft: The pack.
        folder: Where it will lie, to which paths of data are relative.
    """
    surfaces = surfaces_of(draft)
    seconds = draft.measured_seconds
    train = max(draft.train_seconds, 30.0)
    title = _title(draft)
    arguments = [RUN_FILE, "{seed}", draft.command]
    if draft.seed.kind == "key":
        arguments += [draft.seed.path, draft.seed.name]
    names = data_names(draft.data)
    seen = {f"{RECIPE}/{place.target}": name for name, place in names.items()}
    parts = [
        f"""# Written by `recipelab packs adopt`; docs/task-packs.md has every key. It is yours to change.
format = 1
name = {_toml(draft.name)}
title = {_toml(title)}
description = {_toml(_description(draft))}
default_profile = "own"
specialists = {_toml(list(specialists_of(surfaces)))}
sandbox = {_toml(draft.sandbox)}
seeds = [1, 2, 3]

[metric]
name = {_toml(draft.score_key)}
goal = {_toml(str(draft.goal))}
measure = {_toml(f"score.{draft.score_key}")}
{'scale = "log"' + chr(10) if is_time(draft.metric) else ""}"""
    ]
    if draft.deterministic:
        parts.append("# Every seed measured the same.\n[acceptance]\ndeterministic = true\n")
    parts += _gates(draft)
    parts.append(
        f"""# Wall-clock seconds; a training took {seconds:.3g} s here.
[budgets]
preflight = 30
train = {train:.0f}
predict = 60
score = 60

[limits]
memory_mb = {draft.memory_mb}
output_mb = {draft.output_mb}
scratch_mb = {draft.scratch_mb}
pids = 256
"""
    )
    if draft.gpus:
        parts.append(f'[hardware]\ngpus = {draft.gpus}\nkind = "GPU"\n')
    editable = [f"{RECIPE}/{_glob(path)}" for path in draft.editable]
    parts.append(f"[recipe]\nfolder = {_toml(RECIPE)}\neditable = {_list(editable)}\n")
    parts += [
        f"[[surfaces]]\nname = {_toml(name)}\ndescription = {_toml(about)}\n"
        for name, about in surfaces.items()
    ]
    parts += [_data_table(name, place, folder) for name, place in names.items()]
    parts += [
        f"[[protected]]\npath = {_toml(f'{RECIPE}/{path}')}\n"
        + (f"names = {_toml(list(functions))}\n" if functions else "")
        for path, functions in draft.protected.items()
    ]
    parts.append(_phases(draft, arguments, seen))
    return "\n".join(parts)


def _phases(draft: Draft, arguments: Sequence[str], seen: Mapping[str, str]) -> str:
    source = any(path.startswith("src/") for path in draft.survey.repository.texts)
    environment = 'environment = { PYTHONPATH = "src" }\n' if source else ""
    return f"""[phases.preflight]
command = ["true"]

# The command runs in a copy of recipe/ of its own, and its output goes to out/log.txt as well.
[phases.train]
command = {_toml(["python", *arguments])}
workdir = {_toml(RECIPE)}
scratch = true
{environment}data = {_table(seen)}

[phases.predict]
command = ["cp", "artifact/log.txt", "out/log.txt"]

[phases.score]
command = ["python", "evaluator/score.py"]

[evaluator]
folder = "evaluator"

[profiles.own]
"""


def _gates(draft: Draft) -> list[str]:
    parts = []
    if not is_time(draft.metric):
        measure = "train.wall_seconds" if draft.gpus else "train.cpu_seconds"
        parts.append(
            "# More steps buy a better score anywhere; this keeps the time about what it was.\n"
            f'[[gates]]\nname = "training time"\nmeasure = "{measure}"\n'
            'not_worse_than = "baseline"\ngoal = "minimize"\ntimes = 1.5\nby = 2.0\n'
            'failure = "train_overrun"\n'
        )
    for key, value in draft.constant.items():
        room = abs(value) * 1e-6
        for word, bound in (("at_least", value - room), ("at_most", value + room)):
            parts.append(
                f'[[gates]]\nname = "{key} {word.replace("_", " ")}"\n'
                f'measure = "score.{score_key(key)}"\n{word} = {bound!r}\n'
            )
    return parts


def _data_table(name: str, place: DataPlace, folder: Path) -> str:
    """Return the table of a place of data, by a relative path where the pack lies beside it."""
    here = Path.cwd().resolve()
    near = place.path.is_relative_to(here) and folder.resolve().is_relative_to(here)
    path = os.path.relpath(place.path, folder.resolve()) if near else os.fspath(place.path)
    source = f'[[data.sources]]\nkind = "path"\npath = {_toml(path)}\n'
    if place.folder:
        return f'[[data]]\nfolder = {_toml(name)}\nlicense = "your own"\n\n{source}'
    known = ""
    if place.bytes <= HASHED_BYTES:
        with place.path.open("rb") as stream:
            known = f'sha256 = "{hashlib.file_digest(stream, "sha256").hexdigest()}"\n'
    return (
        f'[[data]]\nfile = {_toml(name)}\n{known}bytes = {place.bytes}\nlicense = "your own"\n\n'
        f"{source}"
    )


def _title(draft: Draft) -> str:
    texts = draft.survey.repository.texts
    readme_text = next((texts[path] for path in ("README.md", "readme.md") if path in texts), "")
    heading = re.search(r"^#\s+(\S.*)$", readme_text, re.MULTILINE)
    return (heading[1].strip() if heading else draft.survey.repository.root.name)[:100]


def _description(draft: Draft) -> str:
    goal = "Less" if draft.goal is Goal.MINIMIZE else "More"
    files = ", ".join(draft.editable[:12])
    return (
        f"The command `{draft.entry.command}` trains and prints {draft.metric}. {goal} is better. "
        f"It is read from the last line that prints it. You may change: {files}. The way in which "
        f"{draft.metric} is computed has to stay as it is: the same data, the same split, the same "
        "formula."
    )


def readme(draft: Draft) -> str:
    """Return the README of the pack: what it runs, what is not defended yet, and the next step."""
    notes = "".join(f"- {note}\n" for note in draft.notes)
    return f"""# {draft.name}

Made by `recipelab packs adopt` of the repository `{draft.survey.repository.root.name}`.

- Command: `{draft.entry.command}`, which took {draft.measured_seconds:.3g} s.
- Score: the last `{draft.metric}` that it prints; {draft.goal}. If that is the wrong way round, change
  `goal` in `pack.toml`.
- Seed: {draft.seed.words}.
- Agents may change: {", ".join(draft.editable)}.
- Trust: **{draft.trust}**.
{notes}
{_DEFENDED[draft.trust].replace("NAME", draft.name)}"""


_DEFENDED = {
    Trust.SELF_REPORTED: """## What is not defended yet

Time, memory, network, seeds and files are held by the sandbox. The number is not: code that agents
may change computes and prints it. An agent that evaluates on training data, drops hard examples, or
prints a constant looks better. Read the patch before you believe a gain. Real models need
`--accept-self-reported`, and `recipelab verify` says "re-measured", never "certified".

## The next step

    recipelab packs adopt NAME --to protected    # holds the functions that evaluate as they are
    recipelab packs adopt NAME --to isolated     # scores predictions apart, on answers nobody sees
""",
    Trust.PROTECTED: """## What is not defended yet

The functions that evaluate are held as they are, but they run in the process of code that agents may
change: what reads their memory, replaces them while it runs, or prints a number itself can still lie.
The validation data lie where the training can read them. Read the patch before you believe a gain.

## The next step

    recipelab packs adopt NAME --to isolated     # scores predictions apart, on answers nobody sees
""",
    Trust.ISOLATED: """## What is defended

Predictions are scored apart from the recipe, on answers that no recipe sees. `recipelab packs check`
spoils them in every way that a hostile recipe might.
""",
}


def _glob(path: str) -> str:
    """Return a path as a glob that matches it alone."""
    return re.sub(r"([\[*?])", r"[\1]", path)


def _toml(value: Any) -> str:
    """Return a value in TOML; strings are written as JSON has them, which TOML reads."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _list(values: Sequence[str]) -> str:
    if len(values) < 4:
        return _toml(list(values))
    return "[\n" + "".join(f"  {_toml(value)},\n" for value in values) + "]"


def _table(values: Mapping[str, str]) -> str:
    return "{ " + ", ".join(f"{_toml(key)} = {_toml(v)}" for key, v in values.items()) + " }"
