"""Scores predictions against the labels of the Fashion-MNIST test set.

Runs after the recipe, in a place of its own, and reads text that the recipe wrote: the file may be
anything, so it is opened as a plain file, read up to a bound, and parsed strictly.

Exit status: 0, the score is written; 3, the predictions are malformed and one line on stderr says
where and how; anything else, this program or the answers are at fault.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import stat
import struct
import sys
from pathlib import Path

PREDICTIONS = "predictions.txt"
ANSWERS = "t10k-labels-idx1-ubyte.gz"
LABEL_MAGIC = 2049
MALFORMED = 3
HALVES = ("search", "held-out")
VALID = frozenset(b"%d" % number for number in range(10))
QUOTED_BYTES = 20


class MalformedError(Exception):
    """The predictions are not what they must be."""


def read_answers(path: Path) -> bytes:
    """Reads the labels, one byte each.

    Raises:
        ValueError: The file is not a whole IDX file of labels.
    """
    with gzip.open(path, "rb") as stream:
        magic, count = struct.unpack(">II", stream.read(8))
        labels = stream.read()
    if magic != LABEL_MAGIC or len(labels) != count or not count:
        raise ValueError(f"{path.name}: not an IDX file of labels")
    return labels


def read_bounded(path: Path, limit: int) -> bytes:
    """Reads a plain file of at most `limit` bytes; follows no link and waits for no pipe.

    Raises:
        MalformedError: It is missing, not a plain file, or too long.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise MalformedError(f"cannot be opened: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise MalformedError("is not a plain file")
    with os.fdopen(handle, "rb") as stream:
        raw = stream.read(limit + 1)
    if len(raw) > limit:
        raise MalformedError(f"is longer than {limit} bytes, which one digit a line never is")
    return raw


def read_predictions(path: Path, count: int) -> bytes:
    """Reads one class number a line.

    Args:
        path: The file of the predictions.
        count: Lines that it must have.

    Returns:
        The class numbers, one byte each.

    Raises:
        MalformedError: The file or a line is not as it must be.
    """
    # One digit and one or two bytes of line end; the last line may lack its end.
    raw = read_bounded(path, 3 * count)
    lines = raw.replace(b"\r\n", b"\n").removesuffix(b"\n").split(b"\n")
    for number, line in enumerate(lines[:count], start=1):
        if line not in VALID:
            shown = ascii(line[:QUOTED_BYTES])[1:]
            raise MalformedError(f"line {number}: expected one digit 0..9, found {shown}")
    if len(lines) != count:
        raise MalformedError(f"has {len(lines)} lines, expected {count}")
    return bytes(int(line) for line in lines)


def main() -> int:
    """Reads the command line, scores, and returns the exit status."""
    parser = argparse.ArgumentParser(description="Score the predictions.")
    parser.add_argument("--predictions", type=Path, required=True)
    parser.add_argument("--answers", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--half",
        choices=HALVES,
        default=HALVES[0],
        help="Which images count: every second one for trials, the others for certification.",
    )
    args = parser.parse_args()
    labels = read_answers(args.answers / ANSWERS)
    try:
        classes = read_predictions(args.predictions / PREDICTIONS, len(labels))
    except MalformedError as error:
        print(f"{PREDICTIONS}: {error}", file=sys.stderr)
        return MALFORMED
    start = HALVES.index(args.half)
    pairs = list(zip(classes[start::2], labels[start::2], strict=True))
    score = json.dumps({"accuracy": sum(a == b for a, b in pairs) / len(pairs)})
    (args.out / "score.json").write_text(score + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
