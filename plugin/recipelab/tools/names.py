"""The names of the tools, for modules that must not load AutoGen for them."""

from __future__ import annotations

LINEAGE_TOOLS = (
    "lineage_query",
    "lineage_failures",
    "near_misses",
    "trial_detail",
    "diff_trials",
    "best_chain",
    "children",
    "in_flight",
    "similar_trials",
    "surface_summary",
)
"""Tools that read the lineage."""

BY_NAME = ("best_chain", "children", "in_flight", "turn_knob")
"""Tools that only a charter has that names them: the opening of a turn, or another tool, tells as
much, and every schema goes out with every call."""

SUBMITTING = ("submit_trial", "turn_knob")
"""Tools that submit a trial; their answer holds its number."""

TOOLS = (*LINEAGE_TOOLS, "read_recipe", "check_edit", *SUBMITTING, "wait_for")
"""All tools of specialists."""
