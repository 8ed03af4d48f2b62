"""Where one phase of the local sandbox runs when it has no namespaces: a folder of the host."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from recipelab.sandbox.base import OUTPUT_DIRECTORY, PhaseRequest
from recipelab.sandbox.environment import MIB
from recipelab.sandbox.inputs import copy_read_only

NONE = "-"
"""What the launcher reads as no value."""

_LINKED_BYTES = 64 * MIB


@dataclass(frozen=True)
class Place:
    """What the launcher is told about where the command runs.

    Attributes:
        directory: Where the launcher starts.
        paths: ``PATH``, ``HOME`` and ``TMPDIR`` of the command.
        file_bytes: Bound on the size of a file.
        processes: Bound on the number of processes, as a word.
        world: File that tells what the command sees, as a word.
        written: What holds the folders that the command may write to, if the host has it.
        kind: A word for the record.
    """

    directory: Path
    paths: Mapping[str, str]
    file_bytes: int
    processes: str = NONE
    world: str = NONE
    written: Path | None = None
    kind: str = "without namespaces"


def place_on_host(request: PhaseRequest, top: Path) -> Place:
    """Makes the phase root with its inputs; a home that is no part of it lies beside it.

    Args:
        request: A checked request.
        top: An empty folder.
    """
    home, root = top / "home", top / "trial"
    home.mkdir()
    written = [root / name for name in (OUTPUT_DIRECTORY, *request.tripwires)]
    for folder in written:
        folder.mkdir(parents=True)
    for entry in request.inputs:
        target = root / entry.target
        # A link costs nothing, but lets the command write to the source, as it could anyway.
        if entry.source.is_file() and entry.source.stat().st_size > _LINKED_BYTES:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(entry.source)
        else:
            copy_read_only(entry.source, target)
    targets = (*(root / entry.target for entry in request.inputs), *written)
    for folder in {parent for path in targets for parent in path.parents}:
        if folder.is_relative_to(root):
            folder.chmod(0o555)
    return Place(
        directory=root,
        paths={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "TMPDIR": str(home)},
        file_bytes=request.limits.output_mb * MIB,
        written=root,
    )


def gpu_variables(request: PhaseRequest) -> dict[str, str]:
    """Variables that show a command its GPUs and no others."""
    shown = {"CUDA_VISIBLE_DEVICES": ",".join(request.limits.gpus)}
    return shown if request.limits.gpus else {**shown, "NVIDIA_VISIBLE_DEVICES": "void"}


def command_line(request: PhaseRequest) -> list[str]:
    """The command with the Python that runs now in the place of ``python``."""
    program, *arguments = request.command
    return [sys.executable if program == "python" else program, *arguments]
