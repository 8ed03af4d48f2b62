"""Scores the share of wrong classes."""

import sys
from pathlib import Path

from recipelab_scoring import write_score

plan = Path("plan/names")
names = plan.read_text() if plan.exists() else "0123"
answers = [names[int(name)] for name in Path("answers/answers.txt").read_text().split()]
said = Path("predictions/classes.txt").read_text().split()
if len(said) != len(answers):
    sys.exit(3)
wrong = sum(a != b for a, b in zip(answers, said, strict=True))
write_score({"error": wrong / len(answers)})
