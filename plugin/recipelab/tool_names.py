"""Names of the tools, for those who must know them without loading an agent framework."""

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
"""Tools that read the lineage; a look at one of them comes before a submission."""

SUBMITTING = ("submit_trial", "turn_knob")
"""Tools whose answers tell of a trial."""

TOOLS = (*LINEAGE_TOOLS, "read_recipe", "check_edit", *SUBMITTING)
"""All tools of specialists; ``turn_knob`` is for those alone whose charter names it."""
