"""Names of tools that others than the tools themselves must know."""

from __future__ import annotations

SUBMITTING = frozenset({"submit_trial", "turn_knob"})
"""Tools whose answers tell of a trial."""
