"""Lets an adopted pack climb: what evaluates is held fixed, or predictions are scored apart."""

from __future__ import annotations

import os
import re
import shutil
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipelab.adopt.code import facts_of
from recipelab.adopt.files import DataPlace, data_place
from recipelab.adopt.writing import (
    DEFENDED,
    EVALUATOR,
    RECIPE,
    RUN_FILE,
    TEMPLATES,
    data_table,
    toml,
)
from recipelab.core.errors import RecipelabError, unknown_name
from recipelab.core.trial import Trust
from recipelab.packs.judging_sections import Goal
from recipelab.packs.load import PACK_FILE, load_pack
from recipelab.packs.pack import Pack
from recipelab.packs.upstream import defined_names

ISOLATED = "isolated"
"""Name of the profile that scores apart."""
_EVALUATES = re.compile(
    r"(?:eval|evaluate|estimate|validate|validation|test|score|measure|metric|compute_metrics?|"
    r"accuracy|rmse|cross_val)(?:_\w+)?|\w+_(?:loss|metric|metrics|score|accuracy|bpb|rmse|error)"
)
"""Names of functions that evaluate, as their authors call them."""
_EVALUATES_FILE = re.compile(r"(?:^|/)(?:prepare|eval\w*|scor\w*|metrics?|validat\w*)\.py$")


@dataclass(frozen=True)
class Kind:
    """A kind of prediction, and how it is scored.

    Attributes:
        measure: Key of the score.
        goal: Which way it is better.
        about: What predictions are, for the script that makes them.
        line: What a line of them is.
    """

    measure: str
    goal: Goal
    about: str
    line: str


CAUSAL = "causal"
KINDS: Mapping[str, Kind] = {
    "classes": Kind("error", Goal.MINIMIZE, "Each line is a class.", "the class of each input"),
    "regression": Kind("mse", Goal.MINIMIZE, "Each line is a number.", "the number of each input"),
    "ranking": Kind(
        "mrr",
        Goal.MAXIMIZE,
        "Each line has the names of what was found, the best first.",
        "the names for each query, the best first",
    ),
    CAUSAL: Kind("bits_per_byte", Goal.MINIMIZE, "", ""),
}
"""Kinds of predictions by name."""


def protect(name: str, fixed: Sequence[str] = ()) -> tuple[Path, dict[str, tuple[str, ...]]]:
    """Hold the functions that evaluate as they are.

    Args:
        name: The pack, or its folder.
        fixed: Files, or functions as ``FILE:NAME``, to be held; without any, those that evaluate by
            their names.

    Returns:
        The pack's folder, and what is held: functions by file, none for all of a file.

    Raises:
        RecipelabError: Nothing evaluates by its name, or a name is not there; the pack stays as it
            is.
    """
    pack = _adopted(name)
    if pack.protected:
        raise RecipelabError(f"{pack.name}: it is protected already: {pack.trust_reason}")
    held = _named(pack, fixed) if fixed else _found(pack)
    if not held:
        raise RecipelabError(
            f"{pack.name}: no function evaluates by its name. Move what computes the score into "
            "one, as def evaluate(...), or name it with --fixed FILE:NAME; functions: "
            f"{', '.join(_functions(pack)) or '(none)'}"
        )
    tables = "".join(
        f"\n[[protected]]\npath = {toml(path)}\n"
        + (f"names = {toml(list(names))}\n" if names else "")
        for path, names in held.items()
    )
    _append(pack.root, tables)
    _rewrite_readme(pack.root, Trust.PROTECTED, pack.name)
    return pack.root, held


def isolate(name: str, kind: str, hidden: Path | None, answers: Path | None) -> tuple[Path, str]:
    """Add a profile that scores predictions apart, with a script to be completed.

    Args:
        name: The pack, or its folder.
        kind: The kind of predictions; see :data:`KINDS`.
        hidden: File or folder of inputs that training does not see; of text, for ``causal``.
        answers: Their answers, one a line; none for ``causal``.

    Returns:
        The pack's folder, and the path of the script that is to be completed.

    Raises:
        RecipelabError: The kind is unknown, a file is missing, or the pack has such a profile; the
            pack stays as it is.
    """
    pack = _adopted(name)
    if kind not in KINDS:
        raise RecipelabError(f"--kind: {unknown_name('kind', kind, KINDS)}")
    wanted = {"--hidden": hidden} | ({} if kind == CAUSAL else {"--answers": answers})
    for option, path in wanted.items():
        if path is None or not path.exists():
            what = f"no file {path}" if path is not None else "it is needed"
            raise RecipelabError(
                f"{option}: {what}; to be isolated, a pack needs inputs that training does not see"
                + ("" if kind == CAUSAL else " (--hidden), and their answers apart (--answers)")
            )
    table = tomllib.loads((pack.root / PACK_FILE).read_text("utf-8"))
    if ISOLATED in table["profiles"]:
        raise RecipelabError(f"{pack.name}: it has a profile {ISOLATED} already")
    script = pack.root / RECIPE / "predict.py"
    if script.exists():
        raise RecipelabError(f"{script} exists already; move it away, as predict is written there")
    places = [data_place(pack.root, hidden.resolve(), "hidden")] if hidden is not None else []
    if answers is not None and kind != CAUSAL:
        places.append(data_place(pack.root, answers.resolve(), "answers"))
    _write_scripts(pack.root, kind)
    _append(pack.root, _profile(pack, table, kind, places))
    return pack.root, os.fspath(script)


def _adopted(name: str) -> Pack:
    pack = load_pack(name)
    if not (pack.root / RECIPE / RUN_FILE).is_file():
        raise RecipelabError(
            f"{pack.name}: it was not adopted; docs/task-packs.md says how to hide its answers"
        )
    return pack


def _found(pack: Pack) -> dict[str, tuple[str, ...]]:
    """Return what evaluates by its name."""
    recipe = pack.baseline()
    editable = recipe.editable(pack.recipe.editable)
    held: dict[str, tuple[str, ...]] = {}
    for path, text in recipe.files.items():
        if not path.endswith(".py") or path == f"{RECIPE}/{RUN_FILE}":
            continue
        if path not in editable:
            if _EVALUATES_FILE.search(path):
                held[path] = ()
            continue
        names = [name for name in facts_of(path, text).functions if _EVALUATES.fullmatch(name)]
        if once := defined_names(text, names):
            held[path] = once
    return held


def _named(pack: Pack, fixed: Sequence[str]) -> dict[str, tuple[str, ...]]:
    files = pack.baseline().files
    held: dict[str, tuple[str, ...]] = {}
    for item in fixed:
        file, _, function = item.partition(":")
        path = file if file in files else f"{RECIPE}/{file}"
        if path not in files:
            raise RecipelabError(f"--fixed: no file {file!r}; files: {', '.join(sorted(files))}")
        if function and not defined_names(files[path], [function]):
            known = ", ".join(facts_of(path, files[path]).functions) or "(none)"
            raise RecipelabError(f"--fixed: {file} defines no {function!r}; valid: {known}")
        held[path] = (*held.get(path, ()), *([function] if function else []))
    return held


def _functions(pack: Pack) -> Iterator[str]:
    recipe = pack.baseline()
    for path in recipe.editable(pack.recipe.editable):
        if path.endswith(".py"):
            short = path.removeprefix(f"{RECIPE}/")
            yield from (f"{short}:{name}" for name in facts_of(path, recipe.files[path]).functions)


def _append(root: Path, text: str) -> None:
    """Append tables to ``pack.toml``, and take them back if it cannot be read with them."""
    file = root / PACK_FILE
    before = file.read_text("utf-8")
    file.write_text(f"{before.rstrip()}\n{text}", "utf-8")
    try:
        load_pack(str(root))
    except RecipelabError:
        file.write_text(before, "utf-8")
        raise


def _rewrite_readme(root: Path, trust: Trust, name: str) -> None:
    file = root / "README.md"
    if not file.is_file():
        return
    head = file.read_text("utf-8").partition("## What is ")[0]
    head = re.sub(r"Trust: \*\*[a-z-]+\*\*", f"Trust: **{trust}**", head)
    file.write_text(head + DEFENDED[trust].replace("NAME", name), "utf-8")


def _write_scripts(root: Path, kind: str) -> None:
    folder = TEMPLATES / "isolated"
    target = root / EVALUATOR / ISOLATED
    target.mkdir(exist_ok=True)
    shutil.copyfile(folder / f"{kind}.py.in", target / "score.py")
    if kind == CAUSAL:
        shutil.copyfile(folder / "causal_prepare.py.in", target / "prepare.py")
    about = KINDS[kind]
    text = (folder / f"{'causal_' if kind == CAUSAL else ''}predict.py.in").read_text("utf-8")
    text = text.replace("KIND_HELP", about.about).replace("KIND_LINE", about.line)
    (root / RECIPE / "predict.py").write_text(text, "utf-8")


def _profile(pack: Pack, table: Mapping[str, Any], kind: str, places: Sequence[DataPlace]) -> str:
    """Return the tables of the profile that scores apart."""
    about = KINDS[kind]
    names = dict(zip((f"hidden-{kind}", f"answers-{kind}"), places, strict=False))
    hidden, *answers = names
    own = _tables("profiles.isolated.data", table.get("data", []))
    parts = [
        f"""
# Predictions are scored apart from the recipe. Complete recipe/predict.py, have training save to
# ../out what it needs, and take the profile as the default when `recipelab packs check` passes.
[profiles.{ISOLATED}]
protected = []

[profiles.{ISOLATED}.metric]
name = "{about.measure}"
measure = "score.{about.measure}"
goal = "{about.goal}"

[profiles.{ISOLATED}.recipe]
editable = {toml([*pack.recipe.editable, f"{RECIPE}/predict.py"])}

[profiles.{ISOLATED}.evaluator]
items = "score.{about.measure}"
""",
        own,
        *(
            data_table(name, place, pack.root).replace("[data", f"[profiles.{ISOLATED}.data")
            for name, place in names.items()
        ),
    ]
    score = f'command = ["python", "{EVALUATOR}/{ISOLATED}/score.py"]\n'
    if kind == CAUSAL:
        parts.append(
            f"""[profiles.{ISOLATED}.phases.prepare]
command = ["python", "{EVALUATOR}/{ISOLATED}/prepare.py", "{{nonce}}"]
data = {{ "hidden/hidden.txt" = "{hidden}" }}

[profiles.{ISOLATED}.phases.predict]
command = ["python", "{RECIPE}/predict.py"]

[profiles.{ISOLATED}.phases.score]
{score}"""
        )
    else:
        inputs = "inputs/hidden" if places[0].folder else f"inputs/{places[0].path.name}"
        parts.append(
            f"""[profiles.{ISOLATED}.phases.predict]
command = ["python", "{RECIPE}/predict.py"]
data = {{ {toml(inputs)} = "{hidden}" }}

[profiles.{ISOLATED}.phases.score]
{score}data = {{ "answers/hidden_answers.txt" = "{answers[0]}" }}
"""
        )
    return "\n".join(part for part in parts if part)


def _tables(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return an array of tables of data in TOML, with their sources."""
    lines = []
    for row in rows:
        lines.append(f"[[{name}]]")
        lines += [f"{key} = {toml(value)}" for key, value in row.items() if key != "sources"]
        for source in row.get("sources", []):
            lines += ["", f"[[{name}.sources]]"]
            lines += [f"{key} = {toml(value)}" for key, value in source.items()]
        lines.append("")
    return "\n".join(lines)
