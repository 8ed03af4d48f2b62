"""Scores predictions against the labels of the Fashion-MNIST test set.

Runs after the recipe, where no code of it is, and reads one class number a line.
"""

from __future__ import annotations

import argparse
import gzip
import struct
from pathlib import Path

from recipelab_scoring import PredictionFile, quoted, write_items, write_score

ANSWERS = "t10k-labels-idx1-ubyte.gz"
LABEL_MAGIC = 2049
HALVES = ("search", "held-out")
DIGITS = {b"%d" % number: number for number in range(10)}


def read_answers(path: Path) -> bytes:
    """Return the labels, one byte each.

    Raises:
        ValueError: The file is not a whole IDX file of labels.
    """
    with gzip.open(path, "rb") as stream:
        magic, count = struct.unpack(">II", stream.read(8))
        labels = stream.read()
    if magic != LABEL_MAGIC or len(labels) != count or not count:
        raise ValueError(f"{path.name}: not an IDX file of labels")
    return labels


def read_classes(file: PredictionFile, count: int) -> list[int]:
    """Return the predicted classes; a file that does not hold ``count`` of them is malformed."""
    lines = file.read_lines(count=count, longest=8, final_newline=False)
    for number, line in enumerate(lines, start=1):
        if line not in DIGITS:
            file.malformed(f"expected one digit 0..9, found {quoted(line)}", line=number)
    return [DIGITS[line] for line in lines]


def main() -> None:
    """Score the half of the images that the command line names."""
    parser = argparse.ArgumentParser(description="Score the predictions.")
    parser.add_argument(
        "--half",
        choices=HALVES,
        default=HALVES[0],
        help="Which images count: every second one for trials, the others for certification.",
    )
    start = HALVES.index(parser.parse_args().half)
    labels = read_answers(Path("answers") / ANSWERS)
    classes = read_classes(PredictionFile("predictions.txt"), len(labels))
    right = [a == b for a, b in zip(classes[start::2], labels[start::2], strict=True)]
    write_score({"accuracy": sum(right) / len(right)})
    write_items(right)


if __name__ == "__main__":
    main()
