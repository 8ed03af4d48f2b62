"""Scores ranked lists by the rank of the passage that each query was made from.

Exit status: 0, the score is written; 3, the predictions are malformed and the last line says where.
Whatever the recipe left is read as hostile text: a plain file, of bounded size, parsed strictly. No
code of the recipe runs here.
"""

import json
import os
import re
import stat
import sys
from pathlib import Path
from typing import NoReturn

DEPTH = 10  # answers to a query that count; more are refused
NUMBER = re.compile(rb"[1-9][0-9]{0,6}")
LONGEST = 8 * DEPTH  # bytes of a line


def refuse(reason: str) -> NoReturn:
    """Ends with the exit status for malformed predictions."""
    print(f"predictions.txt: {reason}", file=sys.stderr)
    sys.exit(3)


def read(path: str, most: int) -> bytes:
    """The bytes of a plain file, one more than `most` of them if there are too many."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        refuse(f"cannot be opened: {error.strerror}")
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        refuse("is not a plain file")
    with os.fdopen(handle, "rb") as stream:
        return stream.read(most + 1)


def parsed(line: bytes, number: int, passages: int) -> list[int]:
    """The passages that a line names, best first."""
    parts = line.split(b" ")
    if len(parts) > DEPTH:
        refuse(f"line {number}: more than {DEPTH} passages")
    for place, part in enumerate(parts, start=1):
        if not NUMBER.fullmatch(part):
            refuse(f"line {number}, answer {place}: not the number of a passage")
        if int(part) > passages:
            refuse(f"line {number}, answer {place}: there are only {passages} passages")
    found = [int(part) for part in parts]
    if len(set(found)) < len(found):
        refuse(f"line {number}: names a passage twice")
    return found


def main() -> None:
    """Reads the plan and the predictions, writes the score."""
    passages = int(Path("plan/passages.txt").read_text())
    answers = [int(line) for line in Path("plan/answers.txt").read_text().split()]
    raw = read("predictions/all/predictions.txt", LONGEST * len(answers))
    if len(raw) > LONGEST * len(answers):
        refuse("is longer than all answers could be")
    lines = raw.split(b"\n")
    if lines.pop() or len(lines) != len(answers):
        refuse(f"must have {len(answers)} lines, one for each query, and a line end after each")
    ranked = [parsed(line, number, passages) for number, line in enumerate(lines, start=1)]
    gains = [
        1 / (found.index(answer) + 1) if answer in found else 0.0
        for found, answer in zip(ranked, answers, strict=True)
    ]
    first = sum(gain == 1 for gain in gains) / len(gains)
    score = {"mrr": sum(gains) / len(gains), "first": first}
    Path("out/score.json").write_text(json.dumps(score))


if __name__ == "__main__":
    main()
