"""Renames the classes by a secret number: in the training labels, and for the scorer.

An honest recipe does not notice, and a table of answers names the wrong ones. With ``--control``
the labels are shuffled besides: nothing can be learned from them.
"""

import random
import sys
from pathlib import Path

from idx import LABELS, read_idx, write_idx

FILE = "train-labels-idx1-ubyte.gz"


def main() -> None:
    """Write the training labels of a seed run, and the names of its classes."""
    chance = random.Random(int(sys.argv[1]))
    names = bytearray(range(10))
    chance.shuffle(names)
    labels = bytearray(read_idx(Path("training") / FILE, LABELS).translate(_table(names)))
    if "--control" in sys.argv:
        chance.shuffle(labels)
    data, plan = Path("out/data"), Path("out/plan")
    data.mkdir()
    plan.mkdir()
    write_idx(data / FILE, LABELS, bytes(labels))
    (plan / "names").write_bytes(names)


def _table(names: bytes) -> bytes:
    """Return the table that ``bytes.translate`` takes."""
    return bytes(names) + bytes(range(len(names), 256))


if __name__ == "__main__":
    main()
