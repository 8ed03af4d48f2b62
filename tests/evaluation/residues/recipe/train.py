"""Learns the most frequent class of each rest."""

import random
import sys
from collections import Counter
from pathlib import Path

DIVISOR = 2

chance = random.Random(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
rows = [line.split() for line in Path("data/train.txt").read_text().splitlines()]
seen = {}
for number, name in chance.sample(rows, len(rows) // 2):
    seen.setdefault(int(number) % DIVISOR, Counter())[name] += 1
best = {rest: counts.most_common(1)[0][0] for rest, counts in seen.items()}
model = "".join(f"{rest} {name}\n" for rest, name in best.items())
Path("out/model.txt").write_text(f"{DIVISOR}\n{model}")
