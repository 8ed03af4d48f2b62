"""``lineage_failures`` and ``near_misses``: what went wrong, and what nearly went right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recipelab.tools.answers import capped_rows
from recipelab.tools.lineage.arguments import FailuresArguments, PageArguments
from recipelab.tools.lineage.rows import brief_rows, failure_row, near_miss_row
from recipelab.tools.lineage.scope import LineageTool, Scope


class LineageFailuresTool(LineageTool[FailuresArguments]):
    """Tells which failures repeat.

    Args:
        scope: What it may tell of.
    """

    def __init__(self, scope: Scope) -> None:
        super().__init__(
            FailuresArguments,
            "lineage_failures",
            "List failures by signature, the most frequent first: how often, when last, the lines "
            "of the log that show the cause, and which later trials got past each.",
            scope,
        )

    def look_up(self, campaign: str, args: FailuresArguments) -> Mapping[str, Any]:
        """Gives groups of failures."""
        page = self._store.failures(
            campaign,
            kinds=tuple(args.failure_kind),
            surfaces=tuple(args.surface),
            limit=args.limit,
            offset=args.offset,
        )
        rows = map(failure_row, page.items)
        return capped_rows("failures", rows, page.total, args.offset, capped=page.capped)


class NearMissesTool(LineageTool[PageArguments]):
    """Tells which trials would be the best, had they kept within a limit.

    Args:
        scope: What it may tell of.
    """

    def __init__(self, scope: Scope) -> None:
        super().__init__(
            PageArguments,
            "near_misses",
            "List trials with a better score than the best that failed a gate, size or time limit, "
            "the largest gain first, with the excess that a repair has to remove.",
            scope,
        )

    def look_up(self, campaign: str, args: PageArguments) -> Mapping[str, Any]:
        """Gives near misses."""
        page = self._store.near_misses(
            campaign, goal=self._scope.goal, limit=args.limit, offset=args.offset
        )
        trials = brief_rows(self._store, campaign, (miss.brief for miss in page.items))
        rows = map(near_miss_row, page.items, trials)
        return capped_rows("near_misses", rows, page.total, args.offset, capped=page.capped)
