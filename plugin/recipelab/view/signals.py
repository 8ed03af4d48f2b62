"""Signals of the view: what the trials say as a whole, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from recipelab.lineage import SurfaceSummary
from recipelab.trial import Status
from recipelab.view.frame import Frame

SATURATED = 8
"""Judged trials on a surface without one kept, from which it counts as saturated."""

PLATEAU = 15
"""Judged trials of all without one kept, from which the search counts as stuck."""

ENOUGH, TOO_MANY_FAILED = 6, 0.5
"""Judged trials from which a share of failures says something, and the share that is too large."""


def signals(frame: Frame) -> list[str]:
    """The signals for one specialist, the most general first."""
    goal = frame.pack.metric.goal
    surfaces = {item.name: item for item in frame.store.surfaces(frame.campaign, goal=goal)}
    own = [surfaces[name] for name in frame.surfaces if name in surfaces]
    untouched = [name for name in frame.surfaces if name not in surfaces]
    return [
        *_plateau(surfaces.values()),
        *(line for item in own for line in _saturation(item)),
        *(line for item in own for line in _failing(item)),
        *(f"- Nobody has tried {name} yet: a first look is worth much." for name in untouched),
    ]


def _plateau(surfaces: Iterable[SurfaceSummary]) -> Iterator[str]:
    surfaces = tuple(surfaces)
    kept = max((item.last_kept for item in surfaces if item.last_kept is not None), default=0)
    newest = max((item.last_tried for item in surfaces), default=0)
    if newest - kept >= PLATEAU:
        yield (
            f"- Plateau: none of the {newest - kept} trials since {kept} was kept. Small steps "
            "from the best are used up: repair a near miss, combine two ideas that were each a "
            "little better, go back to an earlier trial of the chain, or take something away."
        )


def _saturation(item: SurfaceSummary) -> Iterator[str]:
    if item.since_kept >= SATURATED:
        yield (
            f"- {item.name} is saturated: {item.since_kept} judged trials since one was kept. "
            "Change the kind of your edit, not its size, or take another surface of yours."
        )


def _failing(item: SurfaceSummary) -> Iterator[str]:
    judged = {status: count for status, count in item.statuses.items() if status is not None}
    total = sum(count for status, count in judged.items() if status is not Status.ABORTED)
    failed = sum(
        count
        for status, count in judged.items()
        if status.is_failure and status is not Status.ABORTED
    )
    if total >= ENOUGH and failed > TOO_MANY_FAILED * total:
        yield (
            f"- {failed} of {total} trials on {item.name} failed. Look at lineage_failures first, "
            "make smaller edits, and check_edit before you submit."
        )
