"""``best_chain``, ``children`` and ``in_flight``: trials by where they stand in the lineage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recipelab.tools.answers import capped_rows
from recipelab.tools.lineage.arguments import (
    ChainArguments,
    ChildrenArguments,
    ScopeArguments,
)
from recipelab.tools.lineage.rows import brief_rows
from recipelab.tools.lineage.scope import LineageTool, Scope


class BestChainTool(LineageTool[ChainArguments]):
    """Tells how a trial came to be.

    Args:
        scope: What it may tell of.
    """

    def __init__(self, scope: Scope) -> None:
        super().__init__(
            ChainArguments,
            "best_chain",
            "List the trials that led to the best one (or to another), by first parents, the "
            "newest first: each step with its hypothesis, changes and gain.",
            scope,
        )

    def look_up(self, campaign: str, args: ChainArguments) -> Mapping[str, Any]:
        """Gives the chain, from the trial back to the root."""
        number = args.trial
        if number is None:
            number = self._store.best_brief(campaign).number
        page = self._store.chain_briefs(campaign, number, limit=args.limit)
        rows = brief_rows(self._store, campaign, reversed(page.items))
        answer = capped_rows("trials", rows, page.total, 0, capped=page.capped)
        if "more" in answer:
            shown = answer["trials"]
            rest = page.total - len(shown)
            answer["more"] = f"{rest} more; ask with trial={shown[-1]['parents'][0]}"
        return answer


class ChildrenTool(LineageTool[ChildrenArguments]):
    """Tells what was tried on top of a trial.

    Args:
        scope: What it may tell of.
    """

    def __init__(self, scope: Scope) -> None:
        super().__init__(
            ChildrenArguments,
            "children",
            "List the trials that were made from a trial, the newest first.",
            scope,
        )

    def look_up(self, campaign: str, args: ChildrenArguments) -> Mapping[str, Any]:
        """Gives the children."""
        page = self._store.children(campaign, args.trial, limit=args.limit, offset=args.offset)
        rows = brief_rows(self._store, campaign, page.items)
        return capped_rows("trials", rows, page.total, args.offset, capped=page.capped)


class InFlightTool(LineageTool[ScopeArguments]):
    """Tells what runs now.

    Args:
        scope: What it may tell of.
    """

    def __init__(self, scope: Scope) -> None:
        super().__init__(
            ScopeArguments,
            "in_flight",
            "List the trials that have no outcome yet: do not propose the same.",
            scope,
        )

    def look_up(self, campaign: str, args: ScopeArguments) -> Mapping[str, Any]:
        """Gives the trials in flight, lowest number first."""
        briefs = self._store.in_flight_briefs(campaign)
        rows = brief_rows(self._store, campaign, briefs)
        return capped_rows("trials", rows, len(rows), 0)
