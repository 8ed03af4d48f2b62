"""Reads and writes gzipped IDX files, the format of Fashion-MNIST."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

IMAGES, LABELS = 2051, 2049
"""Magic numbers."""

SIDE = 28
SIZES = {IMAGES: SIDE * SIDE, LABELS: 1}
"""Bytes of an item."""


def read_idx(path: Path, magic: int) -> bytes:
    """Return the items of a file, one after the other.

    Raises:
        ValueError: It is not a whole IDX file of that kind.
    """
    with gzip.open(path, "rb") as stream:
        found, count = struct.unpack(">II", stream.read(8))
        stream.read(8 if magic == IMAGES else 0)
        items = stream.read()
    if found != magic or len(items) != count * SIZES[magic] or not count:
        raise ValueError(f"{path.name}: not an IDX file with magic number {magic}")
    return items


def write_idx(path: Path, magic: int, items: bytes) -> None:
    """Write items into a file, with the least effort for compression."""
    header = struct.pack(">II", magic, len(items) // SIZES[magic])
    if magic == IMAGES:
        header += struct.pack(">II", SIDE, SIDE)
    path.write_bytes(gzip.compress(header + items, compresslevel=1, mtime=0))
