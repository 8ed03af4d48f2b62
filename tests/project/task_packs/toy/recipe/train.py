"""Writes the point that the knobs name, a little blurred by the seed."""

# Tests start this thousands of times, and imports would be the most of it.
import sys
from random import Random

X = 1.0  # knob left: 0.0 .. 8.0
Y = 2.0  # knob right: 0.0 .. 8.0
PADDING = 10  # knob right: 0 .. 100000


def main(seed: int, *, smoke: bool) -> None:
    """Trains, so to speak."""
    blur = Random(seed).gauss(0.0, 0.01)
    padding = "" if smoke else "." * PADDING
    with open("out/model", "w") as file:
        file.write(f"{X + blur} {Y - blur} {padding}")
    print("loss 0.0 accuracy 1.0")


if __name__ == "__main__":
    main(int(sys.argv[4]), smoke="--smoke" in sys.argv)
