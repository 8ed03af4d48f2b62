"""Turns a hidden play into items, and their candidates into the windows that predict is asked.

With ``--control`` it also leaves the plays for training with the letters of each in any order.
"""

import json
import random
import sys
from pathlib import Path

from items import LENGTH, SPAN, items_of
from recipelab_scoring import causal

HEAD = 8_192  # title and list of persons

nonce = int(sys.argv[1])
text = Path("hidden/play.txt").read_bytes()[HEAD:].decode("ascii", "replace").replace("\r", "")
items = list(items_of(text))
asked = [
    (number, candidate, len(continuation), (context + continuation)[-LENGTH:])
    for number, item in enumerate(items)
    for candidate, (context, continuation) in enumerate(item.candidates)
]
# The order would give away which candidates belong together, and which one is right.
random.Random(nonce + 1).shuffle(asked)
# Secret places are where it counts: a short continuation would be missed among the last bytes.
windows, sizes = [row[3] for row in asked], [row[2] for row in asked]
causal.prepare_windows(windows, last=SPAN, nonce=nonce, scored=sizes)
key = {"tasks": [item.task for item in items], "windows": [row[:3] for row in asked]}
Path("out/plan/key.json").write_text(json.dumps(key))
if "--control" in sys.argv:
    causal.leave_without_order(nonce)
