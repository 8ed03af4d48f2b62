"""Bits per byte of the hidden text, if the predictions are honest."""

import json
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
Path("out/score.json").write_text(json.dumps({"bits": bits}))
