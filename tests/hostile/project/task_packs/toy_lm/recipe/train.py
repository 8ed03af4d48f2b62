"""Counts which byte follows which, and keeps the counts."""

import argparse
import json
from collections import Counter
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--smoke", action="store_true")
args, _ = parser.parse_known_args()
text = Path("data/train.txt").read_bytes()[: 100 if args.smoke else None]
# first
counts = Counter(zip(b"\n" + text, text, strict=False))
Path("out/counts.json").write_text(json.dumps([[a, b, n] for (a, b), n in counts.items()]))
# last
