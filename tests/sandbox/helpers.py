"""Requests to run, and ways to look at what a sandbox leaves on the machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from recipelab.sandbox import Input, PhaseLimits, PhaseRequest

CPU_SANDBOX = Path(__file__).parents[2] / "sandboxes" / "cpu"


def names_in(folder: Path) -> list[str]:
    """Names of what is in a folder."""
    return sorted(path.name for path in folder.iterdir())


def phase(
    output: Path,
    *command: str,
    inputs: tuple[Input, ...] = (),
    environment: dict[str, str] | None = None,
    tripwires: tuple[str, ...] = (),
    warm: tuple[str, ...] = (),
    directory: str = "",
    **limits: object,
) -> PhaseRequest:
    """A request with a short deadline; a single word is a Python program."""
    return PhaseRequest(
        phase="test",
        command=command if len(command) > 1 else ("python", "-c", command[0]),
        inputs=inputs,
        output=output,
        limits=PhaseLimits(**({"seconds": 20.0, "memory_mb": 256} | limits)),  # type: ignore[arg-type]
        environment=environment or {},
        labels={"trial": "7"},
        tripwires=tripwires,
        warm=warm,
        directory=directory,
    )


def processes_with(marker: str) -> list[int]:
    """Processes on this machine with a marker in their command line, in containers too."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                words = (folder / "cmdline").read_bytes()
            except OSError:
                continue  # It ended while we looked.
            if marker.encode() in words:
                found.append(int(folder.name))
    return found


def wait_until(true: Callable[[], object], *, seconds: float = 10.0) -> None:
    """Waits for something to become true, and fails if it does not."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"did not happen within {seconds} s"
        time.sleep(0.02)
