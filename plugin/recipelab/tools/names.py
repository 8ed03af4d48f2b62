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

BY_NAME = ("best_chain", "children", "in_flight", "similar_trials", "turn_knob")
"""Tools that only a charter has that names them: the opening of a turn, or another tool, tells as
much, and every schema goes out with every call."""

SUBMITTING = ("submit_trial", "turn_knob", "more_seeds")
"""Tools that submit a trial; their answer holds its number."""

WAITING = "wait_for"
"""The tool that waits for a trial."""

RUN_TOOLS = ("run_log", "curve", "profile_trial")
"""Tools that show what the run of a trial did; ``curve`` where the pack has curves."""

SEARCHING = ("search_recipe", "search_knowledge", "run_python", "time_beside")
"""Tools that look at code, knowledge and data; the last three where the pack has use for them."""

TOOLS = (
    *LINEAGE_TOOLS,
    *RUN_TOOLS,
    *SEARCHING,
    "read_recipe",
    "check_edit",
    *SUBMITTING,
    WAITING,
)
"""All tools of specialists."""
