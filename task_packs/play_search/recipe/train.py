"""Learns from plays in which share of the passages each term occurs; leaves a table in out/."""

import argparse
import json
import random
import re
import time
import zlib
from collections import Counter
from pathlib import Path

from terms import terms

SHARE = 0.3  # knob learn: 0.1 .. 1.0
TABLE = 1000  # knob learn: 100 .. 8000 log
SHORTEST = 1  # knob learn: 1 .. 12


def main() -> None:
    """Reads the command line, counts, saves."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--smoke", action="store_true", help="say what the training takes")
    args = parser.parse_args()
    plays = [path.read_text(encoding="latin-1") for path in sorted(args.data.glob("*.txt"))]
    passages = [part for play in plays for part in re.split(r"\n\s*\n", play)]
    passages = [part for part in passages if len(part.split()) >= SHORTEST]
    chosen = random.Random(args.seed).sample(passages, max(1, int(SHARE * len(passages))))
    holding: Counter[str] = Counter()
    for passage in chosen:
        holding.update(terms(passage).keys())
    table = {term: round(number / len(chosen), 5) for term, number in holding.most_common(TABLE)}
    packed = zlib.compress(json.dumps(table).encode(), 9)
    (args.out / "table").write_bytes(packed)
    if args.smoke:  # All of the training takes a moment, so nothing has to be left out.
        projection = {"artifact_bytes": len(packed), "train_cpu_seconds": time.process_time()}
        (args.out / "projection.json").write_text(json.dumps(projection))


if __name__ == "__main__":
    main()
