"""Draws 100 hidden numbers by a secret; the others are for training."""

import random
import sys
from pathlib import Path

lines = Path("pool/pool.txt").read_text().splitlines(keepends=True)
random.Random(int(sys.argv[1])).shuffle(lines)
hidden = [line.split() for line in lines[:100]]
Path("out/hidden.txt").write_text("".join(f"{number}\n" for number, _ in hidden))
Path("out/answers.txt").write_text("".join(f"{name}\n" for _, name in hidden))
Path("out/train.txt").write_text("".join(lines[100:]))
