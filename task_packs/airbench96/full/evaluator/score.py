"""Scores the accuracy of the classes that predict gave for the hidden images.

What upstream's script says of its own time is told beside it. It is the script's word, so nothing
is decided by it.
"""

import json
from pathlib import Path

from recipelab_scoring import PredictionFile, write_score


def read_classes(file, count):
    """Return the predicted classes; a file that does not hold ``count`` of them is malformed."""
    lines = file.read_lines(count=count, longest=16, final_newline=False)
    for number, line in enumerate(lines, start=1):
        if not (len(line) == 1 and line in b"0123456789"):
            shown = line.decode("ascii", "replace")
            file.malformed(f"{shown!r} is no class; valid: 0 to 9", line=number)
    return [int(line) for line in lines]


labels = json.loads(Path("plan/labels.json").read_text())
classes = read_classes(PredictionFile("test/classes.txt"), len(labels))
right = sum(one == other for one, other in zip(classes, labels, strict=True))
scores = {"accuracy": right / len(labels)}
if Path("predictions/test/script_seconds.txt").exists():
    (scores["script_seconds"],) = PredictionFile("test/script_seconds.txt").read_numbers(count=1)
write_score(scores)
