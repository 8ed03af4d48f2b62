"""Draws by a secret number which plays are hidden and held out, and a passage of each.

The others are for training. A passage that is written into a recipe is most likely not asked for.
"""

import random
import sys
from pathlib import Path

HEAD, SIZE = 8_192, 16_384  # behind the list of persons; bytes of a passage

chance = random.Random(int(sys.argv[1]))
plays = sorted(Path("pool").glob("*.txt"))
chance.shuffle(plays)
for name, play in zip(("hidden.txt", "held_out.txt"), plays, strict=False):
    text = play.read_bytes()
    start = chance.randrange(HEAD, len(text) - SIZE)
    (Path("out") / name).write_bytes(text[start : start + SIZE])
for number, play in enumerate(plays[2:], start=1):
    (Path("out") / f"play_{number:02}.txt").write_bytes(play.read_bytes())
