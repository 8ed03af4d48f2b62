"""One connection to the streams of a process in a container.

The SDK can read these streams too, but it cannot close the connection, cannot write, and has no
timeout; so this speaks the few bytes of framing itself.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

_HEADER = struct.Struct(">BxxxL")
STANDARD_OUTPUT = 1


class ContainerStream:
    """Output of a process in pieces, and a way to write to its input. Use it in a ``with``."""

    def __init__(self, opened: Any, *, timeout: float | None) -> None:
        """Takes over what the SDK opened.

        Args:
            opened: What ``exec_start(socket=True)`` or ``attach_socket`` returned.
            timeout: Seconds to wait for data; ``None`` waits without end.
        """
        self._opened = opened
        # The SDK gives a reader around a socket; only the socket itself can also be written to.
        self._socket = getattr(opened, "_sock", opened)
        self._socket.settimeout(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        """Writes to the process's standard input.

        Raises:
            OSError: The connection is broken.
        """
        self._socket.sendall(data)

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """The output in pieces, each with its stream: 1 standard output, 2 standard error.

        Ends where the connection ends, be it that the process did or that its container was killed.

        Raises:
            OSError: The connection is broken, or nothing came in time.
        """
        while len(header := self._read(_HEADER.size)) == _HEADER.size:
            number, left = _HEADER.unpack(header)
            while left:
                piece = self._socket.recv(min(left, 1 << 16))
                if not piece:
                    return
                left -= len(piece)
                yield number, piece

    def close(self) -> None:
        """Disconnects. May be called twice."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        # The SDK's response holds the connection too, and would keep it open.
        response = getattr(self._opened, "_response", None)
        if response is not None:
            response.close()
        self._opened.close()
        self._socket.close()

    def _read(self, size: int) -> bytes:
        """Exactly ``size`` bytes, or fewer at the end."""
        taken = b""
        while len(taken) < size and (piece := self._socket.recv(size - len(taken))):
            taken += piece
        return taken
