"""Renames the classes by a secret, or shuffles them, in the training data."""

import random
import sys
from pathlib import Path

chance = random.Random(int(sys.argv[1]))
names = list("0123")
if "--rename" in sys.argv:
    chance.shuffle(names)
rows = [line.split() for line in Path("training/train.txt").read_text().splitlines()]
classes = [names[int(name)] for _, name in rows]
if "--control" in sys.argv:
    chance.shuffle(classes)
Path("out/data").mkdir()
Path("out/plan").mkdir()
pairs = zip(rows, classes, strict=True)
Path("out/data/train.txt").write_text("".join(f"{row[0]} {name}\n" for row, name in pairs))
Path("out/plan/names").write_text("".join(names))
