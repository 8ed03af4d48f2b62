"""Writes the point that the knobs name, a little blurred by the seed."""

import argparse
import json
import random
from pathlib import Path

X = 1.0
Y = 2.0
STEPS = 0

parser = argparse.ArgumentParser()
parser.add_argument("--out", type=Path)
parser.add_argument("--seed", type=int)
parser.add_argument("--smoke", action="store_true")
args, _ = parser.parse_known_args()
smoke, seed, out = args.smoke, args.seed, args.out
# first
for _ in range(0 if smoke else STEPS):
    pass
blur = random.Random(seed).gauss(0.0, 0.01)
(out / "model.json").write_text(json.dumps({"x": X + blur, "y": Y - blur}))
print("loss 0.0 accuracy 1.0")
# last
