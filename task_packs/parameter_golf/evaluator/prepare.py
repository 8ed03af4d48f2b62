"""Cuts a hidden passage into windows, and makes the two rounds that predict is asked in.

With ``--control`` it also leaves the plays for training with the letters of each in any order.
"""

import sys
from pathlib import Path

from recipelab_scoring import causal

LENGTH = 128

nonce = int(sys.argv[1])
causal.prepare(Path("hidden/play.txt").read_bytes(), length=LENGTH, nonce=nonce)
if "--control" in sys.argv:
    causal.leave_without_order(nonce)
