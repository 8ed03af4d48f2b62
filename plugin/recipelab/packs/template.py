"""Writes a new task pack that works as it is, to be changed file by file."""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from recipelab.core.errors import RecipelabError
from recipelab.packs.judging_sections import NAME
from recipelab.packs.load import pack_schema

TEMPLATE = Path(__file__).parent / "new-pack"
"""The files of a new pack. Its Python files have another suffix, as they are no code of ours."""
SCHEMA_FILE = "pack.schema.json"

POINTS, HIDDEN = 200, 100
_RENAMED = {"test_pack.py": "test_{name}.py"}


@dataclass(frozen=True)
class PackDraft:
    """The pack to be written.

    Attributes:
        name: Its name.
        title: One line about it.
        metric: Name of the metric, which is less the better.
    """

    name: str
    title: str
    metric: str


def check_identifier(name: str) -> None:
    """Check the name of a new pack or metric.

    Raises:
        RecipelabError: It cannot name one; the message says what can.
    """
    if not re.fullmatch(NAME, name):
        raise RecipelabError(
            f"{name!r} is no name; valid: a small letter, then up to 63 small letters, digits and _"
        )


def write_pack(draft: PackDraft, folder: Path) -> tuple[str, ...]:
    """Write a pack into a new folder.

    Args:
        draft: Name, title and metric of the pack.
        folder: Its folder, which must not exist yet.

    Returns:
        The files, relative to the folder.

    Raises:
        RecipelabError: The folder exists, or a name is not valid.
    """
    for name in (draft.name, draft.metric):
        check_identifier(name)
    if folder.exists():
        raise RecipelabError(f"{folder} exists already; choose another name, or move it away")
    folder.mkdir(parents=True)
    try:
        data = _write_data(folder / "data")
        for source in sorted(path for path in TEMPLATE.rglob("*") if path.is_file()):
            if "__pycache__" not in source.parts:
                _fill_in(source, folder, draft, data)
        (folder / SCHEMA_FILE).write_text(json.dumps(pack_schema(), indent=1) + "\n", "utf-8")
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    files = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return tuple(sorted(files))


def _fill_in(source: Path, folder: Path, draft: PackDraft, data: str) -> None:
    """Write one file of the template with the draft's names in it."""
    relative = source.relative_to(TEMPLATE).as_posix().removesuffix(".in")
    target = folder / _RENAMED.get(relative, relative).format(name=draft.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    text = source.read_text("utf-8").replace("METRIC", draft.metric).replace("NAME", draft.name)
    title = json.dumps(draft.title, ensure_ascii=False)[1:-1]
    target.write_text(text.replace("TITLE", title).replace("DATA", data), "utf-8")


def _write_data(folder: Path) -> str:
    """Write points of a curve to a folder, and return the tables of the pack that name them."""
    folder.mkdir()
    draw = random.Random(0)

    def places(count: int) -> list[float]:
        return [round(draw.uniform(-1.5, 1.5), 4) for _ in range(count)]

    def curve(x: float) -> float:
        return round(math.sin(2.0 * x) + 0.3 * x * x, 6)

    def save(name: str, lines: list[str]) -> None:
        (folder / name).write_text("".join(f"{line}\n" for line in lines), "utf-8")

    save("train.csv", [f"{x},{curve(x) + draw.gauss(0.0, 0.1)}" for x in places(POINTS)])
    for prefix in ("", "held_out_"):
        hidden = places(HIDDEN)
        save(f"{prefix}inputs.txt", [repr(x) for x in hidden])
        save(f"{prefix}answers.txt", [repr(curve(x)) for x in hidden])
    return "".join(_data_table(file) for file in sorted(folder.iterdir()))


def _data_table(file: Path) -> str:
    content = file.read_bytes()
    return (
        f'[[data]]\nfile = "{file.name}"\nsha256 = "{hashlib.sha256(content).hexdigest()}"\n'
        f'bytes = {len(content)}\nlicense = "your own"\n'
        f'sources = [{{ kind = "path", path = "data/{file.name}" }}]\n\n'
    )
