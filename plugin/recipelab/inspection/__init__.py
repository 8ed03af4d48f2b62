"""Tells whether a task pack is sound: what can be read, what its baseline does, what fools it."""

from recipelab.inspection.findings import Finding, Level
from recipelab.inspection.probing import probe_scorer
from recipelab.inspection.readiness import (
    lacks_gpus,
    lacks_upstream,
    left_to_prove,
    readiness,
    rules_on_baseline,
)
from recipelab.inspection.reading import read_findings
from recipelab.inspection.trying import try_baseline

__all__ = [
    "Finding",
    "Level",
    "lacks_gpus",
    "lacks_upstream",
    "left_to_prove",
    "probe_scorer",
    "read_findings",
    "readiness",
    "rules_on_baseline",
    "try_baseline",
]
