"""Writes the point that the knobs name, a little blurred by the seed."""

import argparse
import json
import random
from pathlib import Path

X = 1.0  # knob left: 0.0 .. 8.0
Y = 2.0  # knob right: 0.0 .. 8.0
PADDING = 10  # knob right: 0 .. 100000


def main() -> None:
    """Trains, so to speak."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--smoke", action="store_true")
    args = parser.parse_args()
    blur = random.Random(args.seed).gauss(0.0, 0.01)
    padding = "" if args.smoke else "." * PADDING
    model = {"x": X + blur, "y": Y - blur, "padding": padding}
    (args.out / "model.json").write_text(json.dumps(model))
    print("loss 0.0 accuracy 1.0")


if __name__ == "__main__":
    main()
