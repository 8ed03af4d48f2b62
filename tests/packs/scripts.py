"""Runs and imports the scripts of packs, which are no modules of a package."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import recipelab.scoring
from recipelab.core import content

SHIPPED = content.shipped_root() / content.TASK_PACKS


def run_evaluator(script: Path, *words: str, root: Path) -> subprocess.CompletedProcess[str]:
    """Runs a script of an evaluator in a phase root, with the library where the sandbox has it."""
    library = root / "lib" / "recipelab_scoring"
    if not library.exists():
        library.parent.mkdir()
        library.symlink_to(Path(recipelab.scoring.__file__).parent)
    command, environment = [sys.executable, str(script), *words], {"PYTHONPATH": "lib"}
    return subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, timeout=120
    )


@contextmanager
def as_scripts_in(folder: Path) -> Iterator[None]:
    """What is imported within sees the modules of a folder first, and nothing outside sees them."""
    names = {path.stem for path in folder.glob("*.py")}
    others = {name: sys.modules.pop(name) for name in names & set(sys.modules)}
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(others)


def loaded(pack: str, name: str) -> ModuleType:
    """A module of a pack's full evaluator. Packs have modules of the same name."""
    with as_scripts_in(SHIPPED / pack / "full" / "evaluator"):
        return importlib.import_module(name)


def run_script(pack: str, script: str, *words: str, root: Path) -> subprocess.CompletedProcess[str]:
    """Runs a script of a pack's full folder in a phase root."""
    return run_evaluator(SHIPPED / pack / "full" / script, *words, root=root)


def items_of(root: Path, count: int) -> float:
    """The mean of the items that a scorer wrote, of which there are so many."""
    values = array("f", (root / "out" / "items.f32").read_bytes())
    assert len(values) == count
    return sum(values) / count


def score_of(root: Path) -> dict[str, Any]:
    """What a scorer wrote."""
    found: dict[str, Any] = json.loads((root / "out" / "score.json").read_text())
    return found
