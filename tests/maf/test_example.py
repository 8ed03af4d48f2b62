"""The example runs as its first lines say, beside AutoGen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from . import framework  # noqa: F401  skips without the framework

pytestmark = [pytest.mark.maf, pytest.mark.campaign, pytest.mark.slow]

SCRIPT = Path(__file__).parents[2] / "examples/moved_from_autogen.py"


def test_a_campaign_moves_from_autogen_to_the_framework(project: Path) -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "toy"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "AutoGen: Campaign moved: 1 trials, best " in done.stdout
    assert "evaluator: Trial 2 (" in done.stdout
    assert "recipelab: Campaign moved: 2 trials, best " in done.stdout
    assert "reviewer: I count 3 trials, baseline included." in done.stdout
    assert "Traceback" not in done.stderr
