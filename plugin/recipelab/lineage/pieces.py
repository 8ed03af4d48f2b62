"""Packs the content of a file so that a near-equal one costs little beside another.

A content is cut in pieces of 16 KiB. Each is deflated on its own, with the bytes around the same
place of the base as its dictionary: deflate refers back 32 KiB at most, so that one dictionary for
a whole file would be out of reach. An insertion of up to 8 KiB moves nothing out of reach.
"""

from __future__ import annotations

import zlib

PIECE = 16 * 1024
BEFORE = 8 * 1024
AFTER = 24 * 1024
_LENGTH = 4


def packed(content: bytes, base: bytes = b"") -> bytes:
    """Packs a content.

    Args:
        content: What to pack.
        base: What :func:`unpacked` will be given as base; empty if it stands alone.
    """
    parts: list[bytes] = []
    for start in range(0, len(content), PIECE):
        around = _around(base, start)
        deflater = zlib.compressobj(wbits=-15, zdict=around) if around else _plain()
        part = deflater.compress(content[start : start + PIECE]) + deflater.flush()
        parts += [len(part).to_bytes(_LENGTH, "big"), part]
    return b"".join(parts)


def unpacked(data: bytes, base: bytes = b"") -> bytes:
    """The content that was packed with the same base."""
    parts: list[bytes] = []
    place = 0
    while place < len(data):
        size = int.from_bytes(data[place : place + _LENGTH], "big")
        place += _LENGTH
        around = _around(base, len(parts) * PIECE)
        inflater = zlib.decompressobj(wbits=-15, zdict=around)
        parts.append(inflater.decompress(data[place : place + size]))
        place += size
    return b"".join(parts)


def _plain() -> zlib._Compress:
    return zlib.compressobj(wbits=-15)


def _around(base: bytes, start: int) -> bytes:
    return base[max(0, start - BEFORE) : start + AFTER]
