"""Fetches what a command left in ``out/`` of its container."""

from __future__ import annotations

import threading

from docker import APIClient

from recipelab.errors import SandboxError
from recipelab.sandbox.base import Ending, PhaseRequest
from recipelab.sandbox.docker_options import COMMAND_USER, FETCH_COMMAND
from recipelab.sandbox.docker_stream import STANDARD_OUTPUT, ContainerStream
from recipelab.sandbox.environment import MIB
from recipelab.sandbox.output_sources import PieceReader, collect_tar
from recipelab.sandbox.outputs import Collector, OutputLimitReached

_FETCH_SECONDS = 120.0
_TAR_BYTES_PER_ENTRY = 4096


def fetch_outputs(
    api: APIClient, container: str, request: PhaseRequest
) -> tuple[Ending, tuple[str, ...]]:
    """Fetches outputs into ``request.output``. Nothing of the command may run any more.

    Args:
        api: A connection to the daemon.
        container: Id of the container, which still runs.
        request: The phase.

    Returns:
        How the command ended, now that its outputs are known, and the outputs not taken.

    Raises:
        SandboxError: The archive is damaged or the host cannot store it.
        docker.errors.APIError: The daemon failed, or the container is dead.
    """
    limits = request.limits
    collector = Collector(
        request.output, max_bytes=limits.output_mb * MIB, max_files=limits.output_files
    )
    entries = 5 * limits.output_files + 200
    size = limits.output_mb * MIB + entries * _TAR_BYTES_PER_ENTRY
    created = api.exec_create(container, list(FETCH_COMMAND), user=COMMAND_USER)["Id"]
    # An archive that does not end would hold the phase forever.
    timer = threading.Timer(_FETCH_SECONDS, api.kill, args=(container,))
    timer.daemon = True
    timer.start()
    try:
        opened = api.exec_start(created, socket=True)
        with ContainerStream(opened, timeout=_FETCH_SECONDS) as stream:
            pieces = (piece for number, piece in stream.pieces() if number == STANDARD_OUTPUT)
            collect_tar(PieceReader(pieces, limit=size), collector)
            for _ in pieces:  # The padding after the archive's end; then the exit code is there.
                pass
    except OutputLimitReached:
        collector.discard()
        return Ending.OUTPUT, collector.refused
    finally:
        timer.cancel()
    if failed := api.exec_inspect(created)["ExitCode"]:
        raise SandboxError(f"phase {request.phase}: fetching its outputs ended with code {failed}")
    return Ending.EXITED, collector.refused
