"""Makes images in the format of CIFAR-10's own files: ten prototypes, and noise.

    python make_data.py [IMAGES]

The real files are pickles of Python 2, read with ``encoding="bytes"``: their keys are bytes.
"""

import pickle
import sys
from pathlib import Path

import numpy as np

IMAGES = 400
"""Images of a file. The real ones have 10,000."""
NOISE = 40.0


def batch(rng, prototypes, count, label):
    """Return a table of images, three planes of 32 x 32 bytes each, and their labels."""
    labels = rng.integers(len(prototypes), size=count)
    images = prototypes[labels] + rng.normal(0.0, NOISE, (count, prototypes.shape[1]))
    return {
        b"batch_label": label.encode(),
        b"labels": [int(label) for label in labels],
        b"data": np.clip(images, 0, 255).astype(np.uint8),
        b"filenames": [f"made_{number:06d}.png".encode() for number in range(count)],
    }


def smooth(rng):
    """Return a prototype: eight by eight random colors, each over four by four pixels."""
    colors = rng.uniform(0, 255, (3, 8, 8))
    return colors.repeat(4, axis=1).repeat(4, axis=2).reshape(-1)


if __name__ == "__main__":
    rng = np.random.default_rng(96)
    prototypes = np.stack([smooth(rng) for _ in range(10)])
    count = int(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        table = batch(rng, prototypes, count, name)
        Path("out", name).write_bytes(pickle.dumps(table, protocol=2))
