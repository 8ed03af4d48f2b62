"""The whole training, which takes a moment, then answers to a few queries.

Both are made by train.py and predict.py as they stand, so that an error is found in seconds.
"""

import os
import runpy
import shutil
import sys
import tempfile
from pathlib import Path

PASSAGES, QUERIES = 40, 4


def main() -> None:
    """Trains as the command line says, and predicts from what that has left."""
    recipe, left = Path(sys.path[0]).resolve(), Path("out").resolve()
    sys.path[0] = str(recipe)
    play = next(iter(sorted(Path("data").glob("*.txt")))).read_text(encoding="latin-1")
    lines = [line for line in play.splitlines() if len(line.split()) > 5][:PASSAGES]
    runpy.run_path(str(recipe / "train.py"), run_name="__main__")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        shutil.copytree(left, "artifact")
        Path("inputs").mkdir()
        Path("inputs/passages.txt").write_text("\n".join(lines))
        Path("inputs/queries.txt").write_text("\n".join(lines[:QUERIES]).lower())
        Path("out").mkdir()
        runpy.run_path(str(recipe / "predict.py"), run_name="__main__")
        answers = Path("out/predictions.txt").read_text().splitlines()
        os.chdir(left)
    if len(answers) != QUERIES:
        raise SystemExit(f"predict left {len(answers)} answers to {QUERIES} queries")


if __name__ == "__main__":
    main()
