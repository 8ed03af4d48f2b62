"""Keeps the head and the tail of a command's output in bounded memory."""

from __future__ import annotations


class BoundedLog:
    """Takes output in pieces and keeps at most ``limit`` bytes: a half of head, a half of tail."""

    def __init__(self, *, limit: int) -> None:
        """Makes an empty log.

        Args:
            limit: Number of bytes to keep.
        """
        self._head_limit = limit // 2
        self._tail_limit = limit - self._head_limit
        self._head = bytearray()
        self._tail = bytearray()
        self._passed = 0

    def write(self, piece: bytes) -> None:
        """Adds a piece of output."""
        room = self._head_limit - len(self._head)
        self._head += piece[:room]
        rest = piece[room:]
        self._passed += len(rest)
        self._tail += rest[-self._tail_limit :] if self._tail_limit else b""
        # Trimming only when the tail has doubled keeps the cost per byte constant.
        if len(self._tail) > 2 * self._tail_limit:
            del self._tail[: -self._tail_limit]

    def text(self) -> str:
        """The kept output as text; bytes that are not UTF-8 become replacement characters."""
        tail = self._tail[-self._tail_limit :] if self._tail_limit else bytearray()
        cut = self._passed - len(tail)
        if not cut:
            return (self._head + tail).decode("utf-8", errors="replace")
        head_text = self._head.decode("utf-8", errors="replace")
        tail_text = tail.decode("utf-8", errors="replace")
        return f"{head_text}\n[... {cut} bytes cut here ...]\n{tail_text}"
