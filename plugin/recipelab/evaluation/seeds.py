"""Which seeds are run: the pack's own for every trial, and fresh ones that nobody can foresee."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

_SEEDS = 2**31
"""Seeds fit into a signed integer of 32 bits, which every library takes."""


def fresh_seeds(key: str, count: int, taken: Collection[int] = ()) -> tuple[int, ...]:
    """Seeds that follow from a key alone, and look like chance to anybody who does not know it.

    The same key gives the same seeds, so that what was interrupted is repeated as it was; a longer
    list begins with a shorter one.

    Args:
        key: What they are for, as campaign, trial and purpose.
        count: How many.
        taken: Seeds that may not be among them.
    """
    found: list[int] = []
    position = 0
    while len(found) < count:
        digest = hashlib.sha256(f"{key}/{position}".encode()).digest()
        seed = int.from_bytes(digest[:8], "big") % _SEEDS
        if seed not in taken and seed not in found:
            found.append(seed)
        position += 1
    return tuple(found)
