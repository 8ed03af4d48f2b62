"""Packs the content of a file so that a near-equal one costs little beside another.

What the content begins and ends with in common with its base is only counted. What is between is
cut in pieces of 16 KiB, each deflated on its own, with the bytes around the same place of the base
as its dictionary: deflate refers back 32 KiB at most, so that one dictionary for a whole file would
be out of reach. An insertion of up to 8 KiB moves nothing out of reach.
"""

from __future__ import annotations

import struct
import zlib

PIECE = 16 * 1024
BEFORE = 8 * 1024
AFTER = 24 * 1024

_HEAD = struct.Struct(">II")
_LENGTH = struct.Struct(">I")


def packed(content: bytes, base: bytes = b"") -> bytes:
    """Packs a content.

    Args:
        content: What to pack.
        base: What :func:`unpacked` will be given as base; empty if it stands alone.
    """
    first = _common(content, base)
    last = _common(content[first:][::-1], base[first:][::-1])
    middle = content[first : len(content) - last]
    parts = [_HEAD.pack(first, last)]
    for start in range(0, len(middle), PIECE):
        around = _around(base, first + start)
        deflater = zlib.compressobj(wbits=-15, zdict=around) if around else _plain()
        part = deflater.compress(middle[start : start + PIECE]) + deflater.flush()
        parts += [_LENGTH.pack(len(part)), part]
    return b"".join(parts)


def unpacked(data: bytes, base: bytes = b"") -> bytes:
    """The content that was packed with the same base."""
    first, last = _HEAD.unpack_from(data)
    parts = [base[:first]]
    place, start = _HEAD.size, first
    while place < len(data):
        (size,) = _LENGTH.unpack_from(data, place)
        place += _LENGTH.size
        inflater = zlib.decompressobj(wbits=-15, zdict=_around(base, start))
        parts.append(inflater.decompress(data[place : place + size]))
        place, start = place + size, start + PIECE
    parts.append(base[len(base) - last :])
    return b"".join(parts)


def _common(one: bytes, other: bytes) -> int:
    """How many bytes both begin with."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _plain() -> zlib._Compress:
    return zlib.compressobj(wbits=-15)


def _around(base: bytes, start: int) -> bytes:
    return base[max(0, start - BEFORE) : start + AFTER]
