"""What is run for the table of trial_cpu_peers.py, and what one run takes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

RUNS = Path(__file__).parent


@dataclass(frozen=True)
class System:
    """One row of the table.

    Attributes:
        name: Its name.
        peer: Whose Python it needs; empty for the one that runs this.
        script: What runs it.
        options: Further arguments of the script.
    """

    name: str
    peer: str
    script: str
    options: tuple[str, ...] = ()


SYSTEMS = (
    System("recipelab, queue and view", "", "run_recipelab.py", ("--no-chat",)),
    System("recipelab, group chat", "", "run_recipelab.py"),
    System("OpenEvolve", "openevolve", "run_openevolve.py"),
    System("GEPA, state on disk", "gepa", "run_gepa.py"),
    System("GEPA, in memory", "gepa", "run_gepa.py", ("--memory",)),
    System("ShinkaEvolve", "shinka", "run_shinka.py"),
    System("one HTTP call and one process, bare", "shinka", "run_floor.py"),
)


@dataclass(frozen=True)
class Used:
    """What one run took: trials, CPU seconds, wall seconds, and the largest process in MB."""

    trials: int
    cpu: float
    wall: float
    megabytes: float


def run(system: System, python: str, trials: int, url: str) -> Used:
    """Runs a system once.

    Raises:
        RuntimeError: It failed, or did not do the trials.
    """
    bare = {"PYTHONPATH", "PYTHONHOME"} if system.peer else set()
    environment = {key: value for key, value in os.environ.items() if key not in bare}
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryFile() as said:
        command = [python, str(RUNS / system.script), str(trials), name, url, *system.options]
        began = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=name, env=environment, stdout=said, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - began
        said.seek(0)
        told = said.read().decode(errors="replace")
    if process.returncode or f"trials {trials}" not in told.splitlines():
        raise RuntimeError(f"{system.name} did not run {trials} trials:\n{told[-3000:]}")
    return Used(trials, usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024)


@contextmanager
def model_server() -> Iterator[str]:
    """The URL of a stub model server, which runs meanwhile."""
    command = [sys.executable, str(RUNS / "stub_server.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()
