"""``similar_trials`` and ``surface_summary``: has this been tried, and what has worked where."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recipelab.errors import LineageError
from recipelab.tools.answers import capped_rows
from recipelab.tools.lineage.arguments import ScopeArguments, SimilarArguments
from recipelab.tools.lineage.rows import brief_rows, summary_row
from recipelab.tools.lineage.scope import LineageTool, Scope

SATURATED = 8
"""Judged trials in a row without one kept, from which a surface counts as saturated."""


class SimilarTrialsTool(LineageTool[SimilarArguments]):
    """Tells whether an idea has been tried.

    Args:
        scope: What it may tell of.
    """

    def __init__(self, scope: Scope) -> None:
        super().__init__(
            SimilarArguments,
            "similar_trials",
            "Has this been tried? Give edits, words, or both: lists trials with the same edit "
            "(formatting aside), the same knob and value, or alike in words, and how they ended.",
            scope,
        )

    def look_up(self, campaign: str, args: SimilarArguments) -> Mapping[str, Any]:
        """Gives trials that are alike, the likest first.

        Raises:
            LineageError: Neither edits nor words are given.
        """
        if not args.edits and not args.text.strip():
            raise LineageError("give edits or text: what is to be compared?")
        found = self._store.similar(
            campaign,
            edits=tuple(edit.to_edit() for edit in args.edits),
            text=args.text,
            parent=args.parent,
            limit=args.limit,
        )
        trials = brief_rows(self._store, campaign, (item.brief for item in found))
        rows = [
            {"why": item.why, "likeness": round(item.likeness, 3)} | row
            for item, row in zip(found, trials, strict=True)
        ]
        return capped_rows("trials", rows, len(rows), 0)


class SurfaceSummaryTool(LineageTool[ScopeArguments]):
    """Tells what has worked where.

    Args:
        scope: What it may tell of.
    """

    def __init__(self, scope: Scope) -> None:
        super().__init__(
            ScopeArguments,
            "surface_summary",
            "Summarize every surface and specialist: trials by status, kept, best gain, and "
            f"whether it is saturated ({SATURATED} judged trials without one kept).",
            scope,
        )

    def look_up(self, campaign: str, args: ScopeArguments) -> Mapping[str, Any]:
        """Gives one row a surface and one a specialist."""
        goal = self._scope.goal
        return {
            f"{name}s": [summary_row(name, item, saturated=SATURATED) for item in items]
            for name, items in (
                ("surface", self._store.surfaces(campaign, goal=goal)),
                ("specialist", self._store.specialists(campaign, goal=goal)),
            )
        }
