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
from recipelab.packs.load import FILE, pack_schema
from recipelab.packs.pack import NAME

TEMPLATE = Path(__file__).parent / "new-pack"
"""The files of a new pack. What is Python in it has another suffix here: it is no code of ours."""

POINTS, HIDDEN = 200, 100
_RENAMED = {"test_pack.py": "test_{name}.py"}


@dataclass(frozen=True)
class Wish:
    """What a new pack is to be.

    Attributes:
        name: Its name.
        title: What it is about, in a line.
        metric: Name of the metric, which is less the better.
    """

    name: str
    title: str
    metric: str


def check_name(name: str) -> None:
    """Checks the name of a pack or a metric.

    Raises:
        RecipelabError: It is none.
    """
    if not re.fullmatch(NAME, name):
        raise RecipelabError(
            f"{name!r} is no name; valid: a small letter, then up to 63 small letters, digits and _"
        )


def write_pack(wish: Wish, folder: Path) -> tuple[str, ...]:
    """Writes a pack.

    Args:
        wish: What it is to be.
        folder: Where to; it may not be there.

    Returns:
        The files, relative to the folder.

    Raises:
        RecipelabError: The folder is there already, or a name is none.
    """
    for name in (wish.name, wish.metric):
        check_name(name)
    if folder.exists():
        raise RecipelabError(f"{folder} is there already; choose another name, or move it away")
    folder.mkdir(parents=True)
    try:
        data = _write_data(folder / "data")
        for source in sorted(path for path in TEMPLATE.rglob("*") if path.is_file()):
            if "__pycache__" not in source.parts:
                _write(source, folder, wish, data)
        (folder / FILE).write_text(json.dumps(pack_schema(), indent=1) + "\n", "utf-8")
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return tuple(sorted(found))


def _write(source: Path, folder: Path, wish: Wish, data: str) -> None:
    relative = source.relative_to(TEMPLATE).as_posix().removesuffix(".in")
    target = folder / _RENAMED.get(relative, relative).format(name=wish.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    text = source.read_text("utf-8").replace("METRIC", wish.metric).replace("NAME", wish.name)
    title = json.dumps(wish.title, ensure_ascii=False)[1:-1]
    target.write_text(text.replace("TITLE", title).replace("DATA", data), "utf-8")


def _write_data(folder: Path) -> str:
    """Writes points of a curve, and gives the tables of the pack that name them."""
    folder.mkdir()
    draw = random.Random(0)
    train = [(x, _curve(x) + draw.gauss(0.0, 0.1)) for x in _places(draw, POINTS)]
    _save(folder / "train.csv", [f"{x},{y}" for x, y in train])
    for prefix in ("", "held_out_"):
        hidden = _places(draw, HIDDEN)
        _save(folder / f"{prefix}inputs.txt", [repr(x) for x in hidden])
        _save(folder / f"{prefix}answers.txt", [repr(_curve(x)) for x in hidden])
    return "".join(_table(file) for file in sorted(folder.iterdir()))


def _places(draw: random.Random, count: int) -> list[float]:
    return [round(draw.uniform(-1.5, 1.5), 4) for _ in range(count)]


def _curve(x: float) -> float:
    return round(math.sin(2.0 * x) + 0.3 * x * x, 6)


def _save(file: Path, lines: list[str]) -> None:
    file.write_text("".join(f"{line}\n" for line in lines), "utf-8")


def _table(file: Path) -> str:
    content = file.read_bytes()
    return (
        f'[[data]]\nfile = "{file.name}"\nsha256 = "{hashlib.sha256(content).hexdigest()}"\n'
        f'bytes = {len(content)}\nlicense = "your own"\n'
        f'sources = [{{ kind = "path", path = "data/{file.name}" }}]\n\n'
    )
