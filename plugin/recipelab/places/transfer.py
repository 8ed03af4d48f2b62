"""Moves blobs between a driver and a node, and takes a phase's outputs as carefully as a command's.

What a node sends is trusted no more than what a command leaves.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from io import BytesIO
from itertools import islice
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Protocol, cast

from recipelab.core.errors import SandboxError
from recipelab.places.parcel import PIECE_BYTES, Piece, Reply, Tree
from recipelab.places.trees import Hashes
from recipelab.sandbox.base import WATCH_BYTES, PhaseRequest, PhaseResult
from recipelab.sandbox.outputs import (
    MAX_REFUSED,
    OutputCollector,
    OutputLimitReached,
    name_fault,
    printable_name,
)
from recipelab.sandbox.processes import MIB

MOST_ASKED = 4096
"""Digests in one question."""

_MOST_WORDS = 4096
_MOST_ERROR = 1 << 16


class Carrier(Protocol):
    """Carries pieces to a node and back: a :class:`recipelab.places.placed.NodeLink`."""

    node: str

    async def put(self, pieces: Sequence[Piece]) -> None:
        """Send pieces of blobs."""

    async def blobs(self, wanted: Sequence[tuple[str, int]]) -> list[Piece]:
        """Return pieces of blobs."""
        ...


async def send_blobs(link: Carrier, blobs: Mapping[str, Path | bytes]) -> None:
    """Send blobs, in their order.

    Args:
        link: Where to.
        blobs: Digest to bytes, or to the file that has them.

    Raises:
        SandboxError: A file cannot be read, or is not taken.
    """
    batches = _batches(blobs)
    while (batch := await asyncio.to_thread(next, batches, None)) is not None:
        await link.put(batch)


def _batches(blobs: Mapping[str, Path | bytes]) -> Iterator[list[Piece]]:
    """Yield the pieces of blobs, in messages that are as full as may be.

    Raises:
        SandboxError: A file cannot be read.
    """
    batch: list[Piece] = []
    room = PIECE_BYTES
    for digest, source in blobs.items():
        try:
            for piece in _pieces(digest, source):
                if batch and len(piece.data) > room:
                    yield batch
                    batch, room = [], PIECE_BYTES
                batch.append(piece)
                room -= len(piece.data)
        except OSError as error:
            raise SandboxError(f"an input cannot be sent: {source!r}: {error}") from error
    if batch:
        yield batch


def _pieces(digest: str, source: Path | bytes) -> Iterator[Piece]:
    with BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        offset = 0
        data = file.read(PIECE_BYTES)
        while True:
            after = file.read(PIECE_BYTES)
            yield Piece(digest, offset, data, not after)
            if not after:
                return
            offset, data = offset + len(data), after


async def fetch_outputs(
    link: Carrier, request: PhaseRequest, outputs: Tree, hashes: Hashes
) -> tuple[str, ...]:
    """Take what a phase has left on a node into the folder of its request.

    What a node says is trusted no more than a command: names, sizes and number are held to
    what :mod:`recipelab.sandbox.outputs` lets through, and bytes to their hash.

    Returns:
        The outputs that were refused here.
    """
    limits = request.limits
    most = limits.output_mb * MIB
    collector = OutputCollector(request.output, max_bytes=most, max_files=limits.output_files)
    paths: dict[str, list[str]] = defaultdict(list)
    try:
        total = 0
        for entry in outputs.entries:
            total += entry.size
            if entry.kind == "folder":
                collector.folder()
            elif entry.digest is None:
                collector.refuse(entry.path, "symbolic link")
            else:
                paths[entry.digest].append(entry.path)
        if total > most or sum(map(len, paths.values())) > limits.output_files:
            raise OutputLimitReached
        async for digest, size, file in _blobs(link, outputs.files()):
            for path in paths[digest]:
                file.seek(0)
                await asyncio.to_thread(collector.take, path, file, size)
                if name_fault(path) is None:
                    hashes.learn(request.output / path, digest)
    except OutputLimitReached:
        collector.discard()
        raise SandboxError(
            f"node {link.node} sent more outputs than phase {request.phase} may leave"
        ) from None
    except BaseException:
        collector.discard()
        raise
    return collector.refused


async def _blobs(
    link: Carrier, sizes: Mapping[str, int]
) -> AsyncIterator[tuple[str, int, IO[bytes]]]:
    """Fetch blobs one after the other, each with its size as a file that is gone afterwards.

    Raises:
        SandboxError: A blob is not what its digest says.
    """
    wanted = dict(sizes)
    while wanted:
        asked = [(one, 0) for one in islice(wanted, MOST_ASKED)]
        pieces = deque(await link.blobs(asked))
        while pieces:
            digest = pieces[0].digest
            if digest not in wanted:
                raise SandboxError(f"node {link.node} sent a file that nobody asked for")
            size = wanted.pop(digest)
            with SpooledTemporaryFile(max_size=PIECE_BYTES) as file:
                await _receive(link, digest, size, pieces, file)
                yield digest, size, cast("IO[bytes]", file)


async def _receive(
    link: Carrier, digest: str, size: int, pieces: deque[Piece], file: IO[bytes]
) -> None:
    """Write the pieces of one blob to a file: the first that has come, and those behind it."""
    total, offset, last = hashlib.sha256(), 0, False
    while not last:
        if not pieces:
            pieces.extend(await link.blobs([(digest, offset)]))
        piece = pieces.popleft()
        offset += len(piece.data)
        last = piece.last
        if piece.digest != digest or offset > size or not (piece.data or last):
            break
        total.update(piece.data)
        file.write(piece.data)
    if not last or offset != size or total.hexdigest() != digest:
        raise SandboxError(f"node {link.node} sent an output that is not what its hash says")


def check_figures(reply: Reply) -> None:
    """Check that times and memory are some.

    Raises:
        SandboxError: They are not.
    """
    seconds = (
        reply.wall_seconds,
        reply.cpu_seconds,
        reply.warm_seconds,
        reply.warm_cpu_seconds,
        reply.peak_memory_mb or 0.0,
    )
    if not all(math.isfinite(one) and one >= 0.0 for one in seconds):
        raise SandboxError("a node measured what cannot be")


def result_of(request: PhaseRequest, reply: Reply, refused: tuple[str, ...]) -> PhaseResult:
    """Return what was measured, with all words of a node within bounds and safe to print."""
    most = request.limits.log_kb * 1024 + _MOST_WORDS
    changed = tuple(map(printable_name, reply.changed))
    return PhaseResult(
        ending=reply.ending,
        exit_code=reply.exit_code,
        wall_seconds=reply.wall_seconds,
        cpu_seconds=reply.cpu_seconds,
        peak_memory_mb=reply.peak_memory_mb,
        log=reply.log[:most],
        refused=(*map(_word, reply.refused[: MAX_REFUSED + 1]), *refused),
        environment=reply.environment[:_MOST_WORDS],
        tampered=tuple(
            sorted({*map(printable_name, reply.tampered[:MAX_REFUSED]), *changed[:MAX_REFUSED]})
        ),
        refused_processes=reply.refused_processes,
        error_file=reply.error_file[:_MOST_ERROR],
        warm_seconds=reply.warm_seconds,
        warm_cpu_seconds=reply.warm_cpu_seconds,
        watched=reply.watched[:WATCH_BYTES],
    )


def _word(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text[:_MOST_WORDS])
