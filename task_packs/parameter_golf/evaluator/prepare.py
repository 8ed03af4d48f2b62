"""Cuts a hidden play into windows, and makes the two rounds that predict is asked in."""

import sys
from pathlib import Path

from recipelab_scoring import causal

LENGTH = 128
START, SIZE = 8_192, 16_384  # behind the list of persons

play, nonce = sys.argv[1], int(sys.argv[2])
text = (Path("hidden") / play).read_bytes()[START : START + SIZE]
causal.prepare(text, length=LENGTH, nonce=nonce)
