"""Fetches what a command left in ``out/`` from its container, and looks into the tripwires."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from docker import APIClient

from recipelab.sandbox.base import OUTPUT_DIRECTORY, Ending, PhaseRequest
from recipelab.sandbox.docker.monitor import STANDARD_OUTPUT, ContainerStream
from recipelab.sandbox.docker.options import fetch_command
from recipelab.sandbox.outputs import (
    OutputCollector,
    OutputLimitReached,
    PieceReader,
    collect_tar,
)
from recipelab.sandbox.processes import MIB

_FETCH_SECONDS = 120.0
_TAR_BYTES_PER_ENTRY = 4096
_ERROR_BYTES = 64 * 1024


@dataclass(frozen=True)
class FetchedOutputs:
    """The result of fetching the outputs of a command.

    Attributes:
        ending: How the command ended, now that its outputs are known.
        refused: The outputs that were not taken, with reasons.
        tampered: Paths that lay in tripwires.
    """

    ending: Ending = Ending.EXITED
    refused: tuple[str, ...] = ()
    tampered: tuple[str, ...] = ()


def fetch_outputs(
    api: APIClient, container: str, request: PhaseRequest, *, user: str
) -> FetchedOutputs:
    """Fetch outputs into ``request.output``. No process of the command may run any more.

    Args:
        api: A connection to the daemon.
        container: Id of the container, which still runs.
        request: The phase.
        user: User and group of the command; outputs are read with its rights and no others.

    Raises:
        SandboxError: The archive is damaged or the host cannot store it.
        docker.errors.APIError: The daemon failed, or the container is dead.
    """
    limits = request.limits
    collector = OutputCollector(
        request.output, max_bytes=limits.output_mb * MIB, max_files=limits.output_files
    )
    created = api.exec_create(container, fetch_command(request), user=user)["Id"]
    # An archive that does not end would hold the phase forever.
    timer = threading.Timer(_FETCH_SECONDS, api.kill, args=(container,))
    timer.daemon = True
    timer.start()
    try:
        _read_archive(api.exec_start(created, socket=True), collector, request)
    except OutputLimitReached:
        collector.discard()
        return FetchedOutputs(Ending.OUTPUT, collector.refused, collector.tampered)
    finally:
        timer.cancel()
    refused = collector.refused
    if api.exec_inspect(created)["ExitCode"]:
        # Only the command can have taken the right to read from its own user.
        refused = (*refused, f"{OUTPUT_DIRECTORY}/ (something in it cannot be read)")
    return FetchedOutputs(Ending.EXITED, refused, collector.tampered)


def _read_archive(opened: Any, collector: OutputCollector, request: PhaseRequest) -> None:
    limits = request.limits
    entries = 5 * limits.output_files + 200
    size = limits.output_mb * MIB + entries * _TAR_BYTES_PER_ENTRY
    errors = bytearray()
    with ContainerStream(opened, timeout=_FETCH_SECONDS) as stream:
        pieces = _archive_pieces(stream, errors)
        try:
            collect_tar(PieceReader(pieces, limit=size), collector)
            for _ in pieces:  # The padding after the archive's end; then the exit code is there.
                pass
        finally:
            for line in unreadable_in(request.tripwires, errors.decode("utf-8", "replace")):
                collector.tamper(line)


def _archive_pieces(stream: ContainerStream, errors: bytearray) -> Iterator[bytes]:
    """Yield the archive, and add what tar writes to standard error to ``errors``, up to a bound."""
    for number, piece in stream.pieces():
        if number == STANDARD_OUTPUT:
            yield piece
        else:
            errors += piece[: _ERROR_BYTES - len(errors)]


def unreadable_in(tripwires: Collection[str], errors: str) -> list[str]:
    """Return what tar could not read in tripwires; only the command can have hidden it.

    Args:
        tripwires: Names of the tripwires.
        errors: What tar wrote to standard error, as ``tar: evaluator/a: Cannot open``.
    """
    lines = [line.removeprefix("tar: ") for line in errors.splitlines()]
    return [line for line in lines if line.split(":")[0].split("/")[0] in tripwires]
