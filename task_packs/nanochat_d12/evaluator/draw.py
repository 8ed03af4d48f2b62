"""Draws by a secret number which play is hidden and which is held out; the others are trained on.

Items that are written into a recipe are most likely not asked for.
"""

import random
import sys
from pathlib import Path

plays = sorted(Path("pool").glob("*.txt"))
random.Random(int(sys.argv[1])).shuffle(plays)
names = ["hidden.txt", "held_out.txt", *(f"play_{number:02}.txt" for number in range(1, 11))]
for name, play in zip(names, plays, strict=True):
    (Path("out") / name).write_bytes(play.read_bytes())
