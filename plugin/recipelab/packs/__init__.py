"""Task packs: what is measured, the limits, the starting recipe and the evaluator."""
