"""Campaigns that run in a process of their own, and looking at them from outside."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from recipelab.cli.app import app
from recipelab.lineage import LineageStore, TrialFilter, TrialRecord

COMMAND = [sys.executable, "-m", "recipelab"]
SECONDS = 180.0


def start(
    project: Path, *more: str, trials: int = 6, stdin: int | None = subprocess.DEVNULL
) -> subprocess.Popen[str]:
    """Starts campaign ``c`` of the toy pack."""
    words = ["run", "toy", "--name", "c", "--sandbox", "local", "--trials", str(trials), *more]
    return begun(project, *words, stdin=stdin)


def _hear_signals() -> None:
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def begun(
    project: Path, *words: str, stdin: int | None = subprocess.DEVNULL
) -> subprocess.Popen[str]:
    """Starts a command."""
    return subprocess.Popen(
        [*COMMAND, *words],
        cwd=project,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell has its background jobs ignore Ctrl-C, and these tests may run in one.
        preexec_fn=_hear_signals,
    )


def call(*words: str, stdin: str = "") -> Result:
    """Runs a command to its end, in this process and its working directory."""
    return CliRunner().invoke(app, words, input=stdin)


def answer(*words: str, stdin: str = "") -> Any:
    """What a command prints with ``--json``."""
    done = call(*words, "--json", stdin=stdin)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def trials_of(project: Path) -> list[TrialRecord]:
    """All trials of campaign ``c`` so far."""
    database = project / ".recipelab/lineage.db"
    if not database.is_file():
        return []
    with LineageStore.open(database, create=True) as store:
        if "c" not in {campaign.name for campaign in store.campaigns()}:
            return []
        return list(store.query("c", TrialFilter(order="oldest", limit=200)).items)


def judged(project: Path) -> list[TrialRecord]:
    """Those that have an outcome."""
    return [record for record in trials_of(project) if record.outcome is not None]


def until(
    true: Callable[[], object],
    process: subprocess.Popen[str] | None = None,
    *,
    seconds: float = SECONDS,
) -> None:
    """Waits until something is so, while a process lives."""
    deadline = time.monotonic() + seconds
    while not true():
        if process is not None:
            assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def stopped(process: subprocess.Popen[str]) -> None:
    """Kills a process that is no longer needed."""
    process.kill()
    process.communicate()
