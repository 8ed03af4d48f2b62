"""Lines that a person types, read so that nothing waits for them when the command ends."""

from __future__ import annotations

import asyncio
import os
import termios
import threading
from contextlib import suppress

_INPUT = 0
_CHUNK = 65_536


class AnswerLines:
    """Reads standard input in a thread that does not outlive the command.

    A thread of the usual pool would hold up Ctrl-C until a line was typed. One that waits in
    ``sys.stdin`` holds a lock that the interpreter wants when it ends, so bytes are read past it.
    """

    def __init__(self) -> None:
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._reading = False
        self._ended = False

    async def next(self) -> str | None:
        """The next line, without its end; ``None`` at the end of the input."""
        if self._ended and self._lines.empty():
            return None
        if not self._reading:
            self._reading = True
            loop = asyncio.get_running_loop()
            threading.Thread(target=self._read, args=(loop,), daemon=True).start()
        return await self._lines.get()

    def forget(self) -> None:
        """Drops what was typed on a terminal before the question; a pipe answers ahead of time."""
        if not os.isatty(_INPUT):
            return
        termios.tcflush(_INPUT, termios.TCIFLUSH)
        while not self._lines.empty():
            self._lines.get_nowait()

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        rest = b""
        with suppress(OSError):  # a terminal that was closed has no more to say
            while chunk := os.read(_INPUT, _CHUNK):
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    self._tell(loop, line.decode("utf-8", "replace"))
        if rest:
            self._tell(loop, rest.decode("utf-8", "replace"))
        self._tell(loop, None)

    def _tell(self, loop: asyncio.AbstractEventLoop, line: str | None) -> None:
        try:
            loop.call_soon_threadsafe(self._take, line)
        except RuntimeError:
            raise SystemExit from None  # the command has ended meanwhile

    def _take(self, line: str | None) -> None:
        self._ended = self._ended or line is None
        self._lines.put_nowait(line)
