"""What one phase of the local sandbox left: the launcher's report, outputs, and tripwires."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from recipelab.errors import SandboxError
from recipelab.sandbox.base import OUTPUT_DIRECTORY, Ending, PhaseRequest
from recipelab.sandbox.environment import MIB
from recipelab.sandbox.output_sources import collect_folder
from recipelab.sandbox.outputs import (
    MAX_REFUSED,
    Collector,
    OutputLimitReached,
    shown,
)

_REPORT_BYTES = 4096


@dataclass(frozen=True)
class Report:
    """What the launcher says at its end.

    Attributes:
        cpu_seconds: CPU seconds of all processes of the command.
        peak_memory_mb: Peak memory of the largest one in MiB.
        status: Wait status of the command.
    """

    cpu_seconds: float
    peak_memory_mb: float
    status: int


def mebibytes(maxrss: float) -> float:
    """Memory in MiB from the unit of ``getrusage``: bytes on macOS, KiB elsewhere."""
    return maxrss / MIB if sys.platform == "darwin" else maxrss / 1024


def read_report(channel: socket.socket) -> tuple[Report | None, int | None]:
    """Reads the report of a launcher that has ended.

    Returns:
        The report, or ``None`` from one that was killed; and the open folder that holds what the
        command wrote, if the host has no path of it. The caller closes it.

    Raises:
        SandboxError: The command could not be started.
    """
    channel.setblocking(False)  # All that will ever come is there already.
    try:
        text, descriptors, _, _ = socket.recv_fds(channel, _REPORT_BYTES, 1)
    except BlockingIOError:
        return None, None
    reason = text.decode(errors="replace")
    if reason.startswith("failed: "):
        raise SandboxError(f"the namespaces cannot be made: {reason.removeprefix('failed: ')}")
    words = text.split()
    report = None
    if len(words) == 3:
        report = Report(float(words[0]), mebibytes(float(words[1])), int(words[2]))
    return report, descriptors[0] if descriptors else None


def collect(request: PhaseRequest, written: Path) -> tuple[Ending, tuple[str, ...]]:
    """Takes the outputs of a command that ended by itself.

    Args:
        request: The phase.
        written: What holds ``out/``.

    Returns:
        How the phase ended, now that its outputs are known, and what was not taken.
    """
    limits = request.limits
    collector = Collector(
        request.output, max_bytes=limits.output_mb * MIB, max_files=limits.output_files
    )
    try:
        collect_folder(written / OUTPUT_DIRECTORY, collector)
    except OutputLimitReached:
        collector.discard()
        return Ending.OUTPUT, collector.refused
    return Ending.EXITED, collector.refused


def tampered(request: PhaseRequest, written: Path) -> tuple[str, ...]:
    """What lies in tripwires, in a form that is safe to print; sorted, and not more than 64.

    A tripwire that was removed or replaced is named itself.

    Args:
        request: The phase.
        written: What holds the tripwires.
    """
    paths = (path for name in request.tripwires for path in _left_in(written, name))
    return tuple(sorted({shown(path) for path in islice(paths, MAX_REFUSED)}))


def _left_in(written: Path, name: str) -> Iterator[str]:
    """Paths of everything in a tripwire. No link is followed."""
    top = written / name
    if top.is_symlink() or not top.is_dir():
        yield name
        return
    # Level by level, and whoever asks stops soon, so that it does not matter how deep it is.
    for folder, folders, files, _ in os.fwalk(top):
        for path in (Path(folder, entry) for entry in (*folders, *files)):
            yield str(path.relative_to(written))
