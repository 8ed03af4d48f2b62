"""Writes the point as a prediction."""

import json
from pathlib import Path

# first
model = json.loads(Path("artifact/model.json").read_text())
Path("out/predictions.txt").write_text(f"{model['x']} {model['y']}\n")
# last
