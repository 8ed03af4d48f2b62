"""Scores a point by its squared distance from the answer."""

import json
import math
import sys
from pathlib import Path

LIMIT = 1000


def read_point(path: Path) -> list[float]:
    if not path.is_file():
        raise ValueError("is missing")
    with path.open("rb") as file:
        raw = file.read(LIMIT + 1)
    if len(raw) > LIMIT:
        raise ValueError(f"is longer than {LIMIT} bytes")
    point = [float(word) for word in raw.decode("ascii").split()]
    if len(point) != 2 or any(abs(value) > 1e6 for value in point):
        raise ValueError("need two numbers")
    return point


answer = [float(word) for word in Path("answers/answers.txt").read_text().split()]
try:
    point = read_point(Path("predictions/predictions.txt"))
except ValueError as error:
    print(f"predictions.txt: {error}", file=sys.stderr)
    sys.exit(3)
loss = sum((a - b) ** 2 for a, b in zip(answer, point, strict=True))
Path("out/score.json").write_text(json.dumps({"loss": loss, "fit": math.exp(-loss / 100)}))
