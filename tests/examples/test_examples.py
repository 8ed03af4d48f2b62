"""The examples run as their first lines say."""

from __future__ import annotations

import os
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


def test_code_runs_without_docker_if_that_is_allowed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "run_code_safely.py")],
        capture_output=True,
        text=True,
        env={**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/no.sock"},
    )
    assert done.returncode == 0, done.stderr
    assert "the sum is 10" in done.stdout
    assert "does not isolate" in done.stderr
