"""Frames over a stream of bytes: what a driver and a node say to each other, one message each.

A frame is the lengths of its head and its body (two unsigned 32-bit numbers, big-endian), the head
(JSON) and the body (bytes). Both ends send something every few seconds, and take the other one for
dead when nothing came for :data:`SILENCE_SECONDS`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

from recipelab.places.parcel import MOST_BYTES

SILENCE_SECONDS = 60.0
"""How long nothing may come from the other end until it counts as gone."""

_BEATS = 6
"""How many signs of life are sent in that time."""

_LENGTHS = struct.Struct(">II")
_STEP = 1 << 18


class Frame(NamedTuple):
    """One message.

    Attributes:
        head: What it is.
        body: Bytes that go with it.
    """

    head: Mapping[str, Any]
    body: bytes


class WireClosed(Exception):
    """The other end is gone, was silent for too long, or sends what is no frame."""


class Wire:
    """Frames over a stream.

    Args:
        reader: What comes in.
        writer: What goes out.
        silence: Seconds without a byte after which the other end counts as gone.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        silence: float = SILENCE_SECONDS,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._silence = silence

    @property
    def waiting(self) -> int:
        """Bytes that are not sent yet."""
        return self._writer.transport.get_write_buffer_size()

    def send(self, head: Mapping[str, Any], body: bytes = b"") -> None:
        """Send a frame, at once or as soon as the stream takes it."""
        text = json.dumps(head).encode()
        self._writer.write(_LENGTHS.pack(len(text), len(body)) + text)
        if body:
            self._writer.write(body)

    async def drain(self) -> None:
        """Wait until the stream takes more; returns at once where the other end is gone."""
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()

    async def frames(self) -> AsyncIterator[Frame]:
        """Yield what comes in; signs of life are sent meanwhile, and kept from the caller.

        Raises:
            WireClosed: Nothing more will come.
        """
        beating = asyncio.create_task(self._beat())
        try:
            while True:
                frame = await self.receive()
                if frame.head:
                    yield frame
        finally:
            beating.cancel()

    def close(self) -> None:
        """Close the stream. May be called twice."""
        self._writer.close()

    async def _beat(self) -> None:
        while not self._writer.is_closing():
            self.send({})
            await asyncio.sleep(self._silence / _BEATS)

    async def receive(self) -> Frame:
        """Return the next frame; one without a head is a sign of life.

        Raises:
            WireClosed: Nothing more will come.
        """
        head_size, body_size = _LENGTHS.unpack(await self._exactly(_LENGTHS.size))
        if max(head_size, body_size) > MOST_BYTES:
            raise WireClosed(f"a frame of {head_size:,} and {body_size:,} bytes is too long")
        try:
            head = json.loads(await self._exactly(head_size))
        except (ValueError, RecursionError):
            raise WireClosed("the head of a frame is no JSON") from None
        if not isinstance(head, dict):
            raise WireClosed("the head of a frame is no table")
        return Frame(head, await self._exactly(body_size))

    async def _exactly(self, size: int) -> bytes:
        """Read so many bytes. A long frame may take longer than the silence, piece by piece."""
        parts: list[bytes] = []
        while size:
            try:
                async with asyncio.timeout(self._silence):
                    part = await self._reader.readexactly(min(size, _STEP))
            except TimeoutError:
                raise WireClosed(f"nothing came for {self._silence:.0f} s") from None
            except (asyncio.IncompleteReadError, OSError):
                raise WireClosed("the connection has ended") from None
            parts.append(part)
            size -= len(part)
        return b"".join(parts)
