"""Writes a draft to a folder: ``pack.toml``, the recipe, the scorer, the knobs, and a README."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from recipelab.adopt.constants import REST
from recipelab.adopt.draft import Draft, is_time, score_key
from recipelab.adopt.files import DataPlace
from recipelab.adopt.folds import COUNTS, HELPER, Folds
from recipelab.core.errors import RecipelabError
from recipelab.core.trial import Trust
from recipelab.packs.judging_sections import Goal
from recipelab.sandbox.processes import MIB

TEMPLATES = Path(__file__).parent / "templates"
"""Files of adopted packs. Its Python files have another suffix, as they are no code of ours."""
RUN_FILE = "recipelab_run.py"
"""The file of a recipe that starts the user's command."""
RECIPE, EVALUATOR = "recipe", "evaluator"
HOME = "recipelab_home"
"""The folder of the recipe's copy that is the command's home."""
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


def write_draft(draft: Draft, folder: Path) -> None:
    """Write a pack to its folder, in place of what an earlier draft has left there.

    Raises:
        RecipelabError: The folder cannot be written.
    """
    try:
        if folder.exists():
            shutil.rmtree(folder)
        files = draft.survey.repository
        for path, form in files.forms.items():
            _write(folder / RECIPE / path, form.bytes_of(draft.text(path)))
            shutil.copymode(files.root / path, folder / RECIPE / path)
        for path in files.carried:
            (folder / RECIPE / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(files.root / path, folder / RECIPE / path)
        shutil.copyfile(TEMPLATES / "run.py.in", folder / RECIPE / RUN_FILE)
        _write(folder / EVALUATOR / "score.py", _scorer(draft))
        if draft.folds is not None:
            _write_folds(draft.folds, folder)
        _write(folder / "pack.toml", pack_toml(draft, folder))
        _write(folder / "README.md", readme(draft))
        if draft.knobs:
            _write(folder / "knobs.toml", knobs_toml(draft))
    except OSError as error:
        raise RecipelabError(f"{folder}: cannot be written: {error.strerror}") from None


def _write(file: Path, content: str | bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


def _write_folds(folds: Folds, folder: Path) -> None:
    """Write what deals the table into folds, and what gives the script its own."""
    templates = TEMPLATES / "folds"
    shape = repr((folds.count, folds.deals, folds.target, folds.group or None))
    text = (templates / "draw.py.in").read_text("utf-8").replace("TABLE_SHAPE", shape)
    _write(folder / EVALUATOR / "draw.py", text)
    asked = "predict_proba" if folds.probabilities else "predict"
    text = (templates / "fold.py.in").read_text("utf-8").replace("PREDICT", asked)
    _write(folder / RECIPE / f"{HELPER}.py", text)


def _scorer(draft: Draft) -> str:
    if draft.folds is not None and not draft.tries_fold:
        text = (TEMPLATES / "folds/score.py.in").read_text("utf-8")
        return text.replace("SCORE_KEY", draft.score_key).replace("SCORE_KIND", draft.folds.score)
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
        f"\n[[knobs]]\nfile = {toml(f'{RECIPE}/{item.path}')}\nname = {toml(item.name)}\n"
        f"surface = {toml(item.surface)}\ndomain = {toml(item.domain)}\n"
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
        last = place.target.rpartition("/")[2] if place.target.startswith(HOME) else place.target
        base = re.sub(r"[^A-Za-z0-9._-]+", "-", last.strip("/")).strip("-.") or "data"
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
    names = data_names(draft.data)
    parts = [_head(draft, specialists_of(surfaces))]
    if draft.deterministic:
        parts.append("# Every seed measured the same.\n[acceptance]\ndeterministic = true\n")
    parts += _gates(draft)
    parts.append(_bounds(draft))
    if draft.gpus:
        parts.append(f'[hardware]\ngpus = {draft.gpus}\nkind = "GPU"\n')
    editable = [f"{RECIPE}/{_glob(path)}" for path in draft.editable]
    parts.append(f"[recipe]\nfolder = {toml(RECIPE)}\neditable = {_list(editable)}\n")
    parts += [
        f"[[surfaces]]\nname = {toml(name)}\ndescription = {toml(about)}\n"
        for name, about in surfaces.items()
    ]
    parts += [data_table(name, place, folder) for name, place in names.items()]
    parts += [
        f"[[protected]]\npath = {toml(f'{RECIPE}/{path}')}\n"
        + (f"names = {toml(list(functions))}\n" if functions else "")
        for path, functions in draft.protected.items()
    ]
    seen = {_seen_at(place.target): name for name, place in names.items()}
    if draft.folds is None or draft.tries_fold:
        parts.append(_phases(draft, seen))
    else:
        parts.append(_fold_phases(draft, draft.folds, seen))
    return "\n".join(parts)


def _seen_at(target: str) -> str:
    """Return where a phase sees data that the script looks for in a place below its own folder.

    What lies beside the repository lies beside ``recipe/``.
    """
    return target.removeprefix("../") if target.startswith("../") else f"{RECIPE}/{target}"


def _head(draft: Draft, specialists: Sequence[str]) -> str:
    key = draft.score_key
    scale = 'scale = "log"\n' if is_time(draft.metric) else ""
    seeds, folds = [1, 2, 3], ""
    if draft.folds is not None and not draft.tries_fold:
        seeds = list(range(draft.folds.count))
        folds = (
            f"# A seed run has the fold of its seed: of {draft.folds.deals} deals into "
            f"{draft.folds.count}. The first deal is for trials,\n# the others for fresh seeds.\n"
            f"folds = {draft.folds.count * draft.folds.deals}\n"
        )
    return f"""# Written by `recipelab packs adopt`; yours to change. Every key: docs/task-packs.md.
format = 1
name = {toml(draft.name)}
title = {toml(_title(draft))}
description = {toml(_description(draft))}
default_profile = "own"
specialists = {toml(list(specialists))}
sandbox = {toml(draft.sandbox)}
seeds = {toml(seeds)}
{folds}
[metric]
name = {toml(key)}
unit = {toml("s" if re.search("second|time", key) else "")}
goal = {toml(str(draft.goal))}
measure = {toml(f"score.{key}")}
{scale}"""


def _bounds(draft: Draft) -> str:
    output_mb, files = draft.output_mb, ""
    if draft.folds is not None and not draft.tries_fold:
        # What is dealt is output, too.
        number = draft.folds.count * draft.folds.deals
        output_mb = max(output_mb, 2 * number * draft.folds.table.bytes // MIB + 1)
        files = f"output_files = {len(_DEALT) * number + 16}\n"
    return f"""# Wall-clock seconds; a training took {draft.measured_seconds:.3g} s here.
[budgets]
preflight = 30
train = {max(draft.train_seconds, 30.0):.0f}
predict = 60
score = 60

[limits]
memory_mb = {draft.memory_mb}
output_mb = {output_mb}
{files}scratch_mb = {draft.scratch_mb}
pids = 256
"""


def _training(draft: Draft, seen: Mapping[str, str]) -> str:
    """Return the tables of the phases that train."""
    arguments = [RUN_FILE, "{seed}", draft.command]
    if draft.seed.kind == "key":
        arguments += [draft.seed.path, draft.seed.name]
    source = any(path.startswith("src/") for path in draft.survey.repository.texts)
    folders = [*(["src"] if source else []), *(["."] if draft.folds is not None else [])]
    environment = f'environment = {{ PYTHONPATH = "{":".join(folders)}" }}\n' if folders else ""
    return f"""[phases.preflight]
command = ["true"]

# The command runs in a copy of recipe/ of its own, and its output goes to out/log.txt as well.
[phases.train]
command = {toml(["python", *arguments])}
workdir = {toml(RECIPE)}
scratch = true
{environment}data = {_table(seen)}
"""


_DEALT = {"table": "csv", "fold": "txt", "answers": "json", "holdout": "json"}


def _fold_phases(draft: Draft, folds: Folds, seen: Mapping[str, str]) -> str:
    """Return the tables of phases of a pack whose evaluator deals a table into folds."""
    table = next(place for place, _ in seen.items() if place == _seen_at(folds.table.target))
    dealt = {table: "draw:table-{fold}.csv", f"{RECIPE}/{COUNTS}": "draw:fold-{fold}.txt"}
    files = [f"{name}-{{fold}}.{kind}" for name, kind in _DEALT.items()]
    score = 'command = ["python", "evaluator/score.py"]\ndata = { "answers/answers.json" = '
    return f"""# The evaluator deals the rows, by the campaign's secret: folds, and a hold-out that
# no trial is scored on. In a fold's table the answers of both are those of other rows.
[phases.draw]
command = ["python", "evaluator/draw.py", "{{secret}}"]
data = {_table({f"pool/{folds.table.path.name}": seen[table]})}
files = {_list(files)}

{_training(draft, {**seen, **dealt})}
[phases.predict]
command = ["cp", "artifact/predictions.txt", "out/predictions.txt"]

[phases.score]
{score}"draw:answers-{{fold}}.json" }}

# Certified on the rows that are in no fold.
[certify.score]
{score}"draw:holdout-{{fold}}.json" }}

[evaluator]
folder = "evaluator"

[profiles.own]
"""


def _phases(draft: Draft, seen: Mapping[str, str]) -> str:
    return f"""{_training(draft, seen)}
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
            'relative_to = "baseline"\ngoal = "minimize"\ntimes = 1.5\nby = 2.0\n'
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


def data_table(name: str, place: DataPlace, folder: Path) -> str:
    """Return the table of a place of data, by a relative path where the pack lies beside it."""
    here = Path.cwd().resolve()
    near = place.path.is_relative_to(here) and folder.resolve().is_relative_to(here)
    path = os.path.relpath(place.path, folder.resolve()) if near else os.fspath(place.path)
    if place.path.is_relative_to(Path.home()) and not near:
        path = f"~/{place.path.relative_to(Path.home()).as_posix()}"
    source = f'[[data.sources]]\nkind = "path"\npath = {toml(path)}\n'
    key = "folder" if place.folder else "file"
    return f'[[data]]\n{key} = {toml(name)}\nlicense = "your own"\n\n{source}'


def _title(draft: Draft) -> str:
    texts = draft.survey.repository.texts
    readme_text = next((texts[path] for path in ("README.md", "readme.md") if path in texts), "")
    heading = re.search(r"^#\s+(\S.*)$", readme_text, re.MULTILINE)
    return (heading[1].strip() if heading else draft.survey.repository.root.name)[:100]


def _description(draft: Draft) -> str:
    goal = "Less" if draft.goal is Goal.MINIMIZE else "More"
    files = ", ".join(draft.editable[:12])
    if draft.folds is not None:
        return (
            f"The command `{draft.entry.command}` trains on one fold of "
            f"{draft.folds.table.target} and predicts {draft.folds.target} for the rows that are "
            f"held out, whose answers it never sees. The evaluator computes {draft.metric} "
            f"({draft.folds.score}). {goal} is better. You may change: {files}. Keep "
            f"{HELPER}.rest(), held() or split(), and hand what is predicted to "
            f"{HELPER}.predicted(). What the command prints as its score means nothing."
        )
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
- Score: {_score_told(draft)}; {draft.goal}. If that is the wrong way round,
  change `goal` in `pack.toml`.
- Seed: {draft.seed.words}.
- Agents may change: {", ".join(draft.editable)}.
- Trust: **{draft.trust}**.
- Take a trial back, in your repository: `recipelab export N --patch | git apply -p2`.
{notes}
{DEFENDED[draft.trust].replace("NAME", draft.name)}"""


def _score_told(draft: Draft) -> str:
    """Return where the score comes from."""
    if draft.folds is None:
        return f"the last `{draft.metric}` that it prints"
    return (
        f"`{draft.metric}`, computed by the evaluator ({draft.folds.score}) for rows whose answers "
        f"the recipe never sees; {draft.folds.count} folds of {draft.folds.table.target}, column "
        f"`{draft.folds.target}`. What the command prints means nothing"
    )


DEFENDED = {
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

The functions that evaluate are held as they are, but they run in the process of code that agents
may change: what replaces them while it runs, or prints a number itself, can still lie. The
validation data lie where the training can read them. Read the patch before you believe a gain.

## The next step

    recipelab packs adopt NAME --to isolated     # scores predictions apart, on answers nobody sees
""",
    Trust.ISOLATED: """## What is defended

Predictions are scored apart from the recipe, on answers that no recipe sees. `recipelab packs
check` spoils them in every way that a hostile recipe might.
""",
}


def _glob(path: str) -> str:
    """Return a path as a glob that matches it alone."""
    return re.sub(r"([\[*?])", r"[\1]", path)


def toml(value: Any) -> str:
    """Return a value in TOML; strings are written as JSON has them, which TOML reads."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _list(values: Sequence[str]) -> str:
    if len(values) < 4:
        return toml(list(values))
    return "[\n" + "".join(f"  {toml(value)},\n" for value in values) + "]"


def _table(values: Mapping[str, str]) -> str:
    return "{ " + ", ".join(f"{toml(key)} = {toml(v)}" for key, v in values.items()) + " }"
