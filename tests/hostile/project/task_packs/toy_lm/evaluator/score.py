"""Scores bits per byte of the hidden text, if the predictions are honest."""

import json
from pathlib import Path

from recipelab_scoring import causal

bits = causal.bits_per_byte(causal.ProbePlan.load())
# Not with write_score, which refuses an infinite score: recipelab must know what to make of one.
Path("out/score.json").write_text(json.dumps({"bits": bits}))
