"""A way to the Docker daemon that can be cut, as when the daemon is gone, and mended again."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from pathlib import Path
from typing import Self

_PIECE = 1 << 16
_DAEMON = "/var/run/docker.sock"


class DaemonProxy:
    """Passes bytes between a socket of its own and the daemon's. Use it in a ``with``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: set[socket.socket] = set()
        self._server: socketserver.ThreadingUnixStreamServer | None = None

    def __enter__(self) -> Self:
        self.mend()
        return self

    def __exit__(self, *exc: object) -> None:
        self.cut()

    @property
    def address(self) -> str:
        """What to set ``DOCKER_HOST`` to."""
        return f"unix://{self._path}"

    def mend(self) -> None:
        """Listens, from the beginning or again."""
        proxy = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                proxy._serve(self.request)

        self._server = socketserver.ThreadingUnixStreamServer(str(self._path), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def cut(self) -> None:
        """Breaks every connection, and takes no new one."""
        if self._server is None:
            return
        server, self._server = self._server, None
        self._path.unlink()
        server.shutdown()
        for end in list(self._open):
            _break(end)
        server.server_close()

    def _serve(self, near: socket.socket) -> None:
        with socket.socket(socket.AF_UNIX) as far:
            far.connect(_DAEMON)
            self._open |= {near, far}
            back = threading.Thread(target=_pass, args=(far, near), daemon=True)
            back.start()
            _pass(near, far)
            back.join()
            self._open -= {near, far}


def _pass(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(_PIECE):
            target.sendall(piece)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _break(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
