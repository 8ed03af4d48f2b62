"""Helpers for tests of the files of full profiles: they are scripts, and are run as scripts."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from recipelab import content

SHIPPED = content.shipped_root() / content.TASK_PACKS


def loaded(pack: str, name: str) -> ModuleType:
    """A module of a pack's full evaluator."""
    path = SHIPPED / pack / "full" / "evaluator" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{pack}_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def run_script(pack: str, script: str, *words: str, root: Path) -> subprocess.CompletedProcess[str]:
    """Runs a script of a pack's full folder in a phase root."""
    path = SHIPPED / pack / "full" / script
    command = [sys.executable, str(path), *words]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)


def score_of(root: Path) -> dict[str, Any]:
    """What a scorer wrote."""
    found: dict[str, Any] = json.loads((root / "out" / "score.json").read_text())
    return found
