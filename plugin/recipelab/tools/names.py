"""Names of the tools that a charter may give its agent."""

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
"""Tools that ask the lineage."""

SUBMITTING_TOOLS = ("submit_trial", "turn_knob")
"""Tools that start a trial."""

TOOLS = (*LINEAGE_TOOLS, "read_recipe", "check_edit", *SUBMITTING_TOOLS)
"""All tools of a specialist."""
