"""A watch: what a command appends to one file of ``out/``, handed over while it runs.

The command is trusted in nothing. Its file may be missing, a link, a pipe, or without end: what is
no regular file is not read, and of any file no more than :data:`WATCH_BYTES`. All that a command
can reach by what it writes there is that it is stopped, or not.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from recipelab.sandbox.base import OUTPUT_DIRECTORY, WATCH_BYTES, Watch

POLL_SECONDS = 0.2
"""Time between two looks at the file."""

_PIECE = 1 << 16


class Watcher:
    """Hands pieces of a file to whoever watches it, until that says stop, or all is read.

    Args:
        watch: What is watched, and who is told.
        stop: Called once, when the command is to be stopped.
    """

    def __init__(self, watch: Watch, stop: Callable[[], None]) -> None:
        self._watch = watch
        self._stop = stop
        self._read = 0
        self._over = False

    @property
    def over(self) -> bool:
        """Whether nothing more will be read."""
        return self._over or self._read >= WATCH_BYTES

    def take(self, piece: bytes) -> None:
        """Hand on what was appended."""
        piece = piece[: WATCH_BYTES - self._read]
        if self.over or not piece:
            return
        self._read += len(piece)
        if self._watch.tell(piece):
            self._over = True
            self._stop()

    def look(self, folder: int) -> None:
        """Read on in the file, in an open folder that holds ``out/``."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        opened: list[int] = []
        try:
            opened.append(os.open(OUTPUT_DIRECTORY, flags | os.O_DIRECTORY, dir_fd=folder))
            opened.append(os.open(self._watch.file, flags, dir_fd=opened[0]))
            if not stat.S_ISREG(os.fstat(opened[1]).st_mode):
                return
            while not self.over and (piece := os.pread(opened[1], _PIECE, self._read)):
                self.take(piece)
        except OSError:
            return  # It is not there yet, or nothing that can be read.
        finally:
            for descriptor in opened:
                os.close(descriptor)


@contextlib.contextmanager
def watching(
    watch: Watch | None, stop: Callable[[], None], folder: Callable[[], int | None]
) -> Iterator[None]:
    """Look at a file of this machine every moment in another thread, while the context lasts.

    Args:
        watch: What is watched; ``None`` for nothing.
        stop: Called when the command is to be stopped.
        folder: Returns the open folder that holds ``out/``, which is closed at the end; ``None`` if
            it is not known yet.
    """
    if watch is None:
        yield
        return
    watcher, ended = Watcher(watch, stop), threading.Event()

    def work() -> None:
        opened: int | None = None
        try:
            while not ended.wait(POLL_SECONDS) and not watcher.over:
                opened = folder() if opened is None else opened
                if opened is not None:
                    watcher.look(opened)
        finally:
            if opened is not None:
                os.close(opened)

    thread = threading.Thread(target=work, name="watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class FolderSocket:
    """Where a launcher sends the folder that its command writes to, which is in memory.

    Args:
        path: Where to make the socket.
    """

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        # The name of a socket is short; that of an open folder always is.
        above = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._socket.bind(f"/proc/self/fd/{above}/{path.name}")
        finally:
            os.close(above)
        self._socket.setblocking(False)

    def received(self) -> int | None:
        """Return the open folder; ``None`` if it has not come yet."""
        try:
            _, descriptors, _, _ = socket.recv_fds(self._socket, 1, 1)
        except OSError:
            return None
        return descriptors[0] if descriptors else None

    def close(self) -> None:
        """Close it."""
        self._socket.close()
