"""One tiny step of the real thing: a few steps of training, then predictions for a few images.

Both are made by train.py and predict.py as they stand, so that an error is found in seconds.
"""

from __future__ import annotations

import gzip
import runpy
import sys
import tempfile
from pathlib import Path

IMAGES = 4
HEADER, PIXELS = 16, 28 * 28  # bytes of an IDX file: its header, an image


def main() -> None:
    """Trains as the command line says, and predicts from what that has left."""
    recipe = Path(sys.path[0])
    runpy.run_path(str(recipe / "train.py"), run_name="__main__")
    with gzip.open("data/train-images-idx3-ubyte.gz") as stream:
        few = stream.read(HEADER + IMAGES * PIXELS)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(few))
        sys.argv = ["predict.py", "--artifact", "out", "--inputs", folder, "--out", folder]
        runpy.run_path(str(recipe / "predict.py"), run_name="__main__")
        classes = Path(folder, "predictions.txt").read_text().split()
    if len(classes) != IMAGES:
        raise SystemExit(f"predict left {len(classes)} classes for {IMAGES} images")


if __name__ == "__main__":
    main()
