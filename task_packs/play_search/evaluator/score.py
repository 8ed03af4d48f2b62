"""Scores ranked lists by the rank of the passage that each query was made from.

Runs after the recipe, where no code of it is. A line holds the numbers of up to ten passages, the
best first.
"""

import re
from pathlib import Path

from recipelab_scoring import PredictionFile, write_items, write_score

DEPTH = 10  # answers to a query that count; more are refused
NUMBER = re.compile(rb"[1-9][0-9]{0,6}")
LONGEST = 8 * DEPTH  # bytes of a line


def read_ranking(file: PredictionFile, line: bytes, number: int, passages: int) -> list[int]:
    """Return the passages that a line names, best first; any other line is malformed."""
    parts = line.split(b" ")
    if len(parts) > DEPTH:
        file.malformed(f"more than {DEPTH} passages", line=number)
    for place, part in enumerate(parts, start=1):
        if not NUMBER.fullmatch(part):
            file.malformed(f"answer {place}: not the number of a passage", line=number)
        if int(part) > passages:
            file.malformed(f"answer {place}: there are only {passages} passages", line=number)
    ranking = [int(part) for part in parts]
    if len(set(ranking)) < len(ranking):
        file.malformed("names a passage twice", line=number)
    return ranking


def main() -> None:
    """Score the mean reciprocal rank of the right passage over all queries."""
    passages = int(Path("plan/passages.txt").read_text())
    answers = [int(line) for line in Path("plan/answers.txt").read_text().split()]
    file = PredictionFile("all/predictions.txt")
    lines = file.read_lines(count=len(answers), longest=LONGEST)
    rankings = [
        read_ranking(file, line, number, passages) for number, line in enumerate(lines, start=1)
    ]
    gains = [
        1 / (ranking.index(answer) + 1) if answer in ranking else 0.0
        for ranking, answer in zip(rankings, answers, strict=True)
    ]
    first = sum(gain == 1 for gain in gains) / len(gains)
    write_score({"mrr": sum(gains) / len(gains), "first": first})
    write_items(gains)


if __name__ == "__main__":
    main()
