"""The examples run as their first lines say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_lineage_answers_an_agent_of_another_app(project: Path) -> None:
    run = ["-m", "recipelab", "run", "toy", "--trials", "2", "--sandbox", "local"]
    subprocess.run([sys.executable, *run], check=True, capture_output=True)
    script = EXAMPLES / "ask_the_lineage.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert '"counts":{"baseline":1' in done.stdout
    assert "I have read what failed." in done.stdout
