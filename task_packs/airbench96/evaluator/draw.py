"""Draws by a secret number which images are hidden, which are held out, and which are for training.

All 70,000 labels are public. Whoever writes some of them into a recipe does not know which of them
a campaign asks for.
"""

import random
import sys
from pathlib import Path

from idx import IMAGES, LABELS, SIZES, read_idx, write_idx

HIDDEN = 10_000  # and as many held out
FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "hidden": ("hidden-images.gz", "hidden-labels.gz"),
    "held-out": ("held-out-images.gz", "held-out-labels.gz"),
}
PARTS = ("train", "t10k")


def main() -> None:
    """Write images and labels of the three parts into out/."""
    pool = Path("pool")
    images, labels = (
        b"".join(read_idx(pool / f"{part}-{kind}-ubyte.gz", magic) for part in PARTS)
        for kind, magic in (("images-idx3", IMAGES), ("labels-idx1", LABELS))
    )
    order = list(range(len(labels)))
    random.Random(int(sys.argv[1])).shuffle(order)
    places = {
        "hidden": order[:HIDDEN],
        "held-out": order[HIDDEN : 2 * HIDDEN],
        "train": order[2 * HIDDEN :],
    }
    size = SIZES[IMAGES]
    for name, some in places.items():
        for_images, for_labels = (Path("out") / file for file in FILES[name])
        chosen = b"".join(images[size * place : size * (place + 1)] for place in some)
        write_idx(for_images, IMAGES, chosen)
        write_idx(for_labels, LABELS, bytes(labels[place] for place in some))


if __name__ == "__main__":
    main()
