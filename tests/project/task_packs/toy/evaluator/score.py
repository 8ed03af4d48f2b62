"""Scores a point by its squared distance from the answer."""

import json
import math
import sys

shift = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0
with open("answers/answers.txt") as file:
    answer = [float(word) + shift for word in file.read().split()]
with open("predictions/predictions.txt") as file:
    text = file.read()
try:
    point = [float(word) for word in text.split()]
    if len(point) != 2:
        raise ValueError("need two numbers")
except ValueError as error:
    print(f"predictions.txt:1: {error}", file=sys.stderr)
    sys.exit(3)
loss = sum((a - b) ** 2 for a, b in zip(answer, point, strict=True))
with open("out/score.json", "w") as file:
    json.dump({"loss": loss, "fit": math.exp(-loss / 100)}, file)
