"""One tiny step of the real thing: a few steps of training, then predictions for a few windows.

Both are made by train.py and predict.py as they stand, so that an error is found in seconds.
"""

from __future__ import annotations

import os
import runpy
import shutil
import sys
import tempfile
from pathlib import Path

LENGTH, LAST = 64, 24  # bytes of a window, and of its end that is asked for

WINDOWS = 4


def main() -> None:
    """Trains as the command line says, and predicts from what that has left."""
    recipe, left, data = Path(sys.path[0]).resolve(), Path("out").resolve(), Path("data")
    sys.path[0] = str(recipe)
    text = next(iter(sorted(data.glob("*.txt")))).read_bytes()
    runpy.run_path(str(recipe / "train.py"), run_name="__main__")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        shutil.copytree(left, "artifact")
        Path("inputs").mkdir()
        Path("inputs/windows.bin").write_bytes(text[: WINDOWS * LENGTH])
        Path("out").mkdir()
        runpy.run_path(str(recipe / "predict.py"), run_name="__main__")
        size, right = Path("out/probabilities.bin").stat().st_size, WINDOWS * LAST * 256 * 4
        os.chdir(left)
    if size != right:
        raise SystemExit(f"predict left {size} bytes for {WINDOWS} windows, not {right}")


if __name__ == "__main__":
    main()
