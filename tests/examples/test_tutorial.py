"""The tutorial of task packs: every command of it, in order, with what it says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "task-packs.md"
STEP = re.compile(r"^\$ (?P<command>.+)\n(?P<told>(?:(?!\$ ).*\n)*)", re.MULTILINE)


def steps() -> list[tuple[str, str]]:
    """Each command of the page with what it says that is printed."""
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    return [(found["command"], found["told"]) for block in blocks for found in STEP.finditer(block)]


def pattern(told: str) -> str:
    """What is printed, where ``...`` stands for anything."""
    return ".*".join(re.escape(part) for part in told.strip().split("..."))


@pytest.mark.slow
def test_every_command_does_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("RECIPELAB_HOME", raising=False)
    found = steps()
    assert [command.split()[1] for command, _ in found] == ["packs", "packs", "run", "trials"]
    for command, told in found:
        words = [sys.executable, "-m", *shlex.split(command)]
        done = subprocess.run(
            words, cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"COLUMNS": "300"}
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(pattern(told), done.stdout, re.DOTALL), f"{command}:\n{done.stdout}"
