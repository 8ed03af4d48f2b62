"""Tells whether a task pack is sound: what can be read, what its baseline does, what fools it."""

from recipelab.inspection.findings import Finding, Level
from recipelab.inspection.probing import probe_scorer
from recipelab.inspection.reading import read_findings
from recipelab.inspection.trying import try_baseline

__all__ = ["Finding", "Level", "probe_scorer", "read_findings", "try_baseline"]
