"""Bits per byte of the hidden play, if every prediction was made from the past alone."""

import json
import math
import sys
from pathlib import Path

from recipelab_scoring import causal

MALFORMED, BROKEN_RULE = 3, 4

try:
    bits = causal.bits_per_byte(causal.Plan.load(Path("plan")), Path("predictions"))
except causal.MalformedPredictions as error:
    print(error, file=sys.stderr)
    sys.exit(MALFORMED)
except causal.BrokenRule as error:
    print(error, file=sys.stderr)
    sys.exit(BROKEN_RULE)
if not math.isfinite(bits):
    print("a byte that came was called impossible", file=sys.stderr)
    sys.exit(MALFORMED)
Path("out/score.json").write_text(json.dumps({"bits_per_byte": bits}))
