"""Scores bits per byte of the hidden text, if the predictions are honest."""

from recipelab_scoring import causal, write_score

write_score({"bits": causal.bits_per_byte(causal.ProbePlan.load())})
