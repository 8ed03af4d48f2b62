"""Puts the parts of a view together; each has a budget of its own, so none can push out another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from recipelab.view import parts, signals
from recipelab.view.frame import Frame


@dataclass(frozen=True)
class Part:
    """A part of the view.

    Attributes:
        title: Its heading.
        characters: Its budget, heading left out.
        lines: Makes its lines, the most important first.
        more: The tool that tells the rest.
    """

    title: str
    characters: int
    lines: Callable[[Frame], list[str]]
    more: str = "lineage_query"


PARTS = (
    Part("Rules in force", 1_400, parts.rules),
    Part("Notes from people", 1_600, parts.notes),
    Part("Best trial and those that led to it, newest first", 2_400, parts.best, "best_chain"),
    Part("Near misses worth repairing", 1_800, parts.near_misses, "near_misses"),
    Part("Your last trials", 2_400, parts.own),
    Part("Last trials of the others", 2_400, parts.others),
    Part("Running now: do not propose the same", 1_600, parts.in_flight, "in_flight"),
    Part("Failures that repeat", 1_800, parts.failures, "lineage_failures"),
    Part("Signals", 1_200, signals.signals, "surface_summary"),
)


def render_view(frame: Frame, wanted: Sequence[Part] = PARTS) -> str:
    """Renders what one specialist is shown at this moment.

    Args:
        frame: Whom it is for.
        wanted: The parts, in order.

    Returns:
        Markdown; no part is longer than its budget, whatever it holds.
    """
    with frame.store.moment():  # so that the parts fit together
        return "\n\n".join(
            f"## {part.title}\n{_capped(part.lines(frame), part.characters, part.more)}"
            for part in wanted
        )


def _capped(lines: Sequence[str], characters: int, more: str) -> str:
    """Whole lines up to the budget, and whom to ask for what lies beyond it."""
    if not lines:
        return "(none)"
    if sum(len(line) + 1 for line in lines) <= characters + 1:
        return "\n".join(lines)
    rest = f"- ... and more: ask {more}"
    room = characters - len(rest)
    kept: list[str] = []
    for line in lines:
        if len(line) + 1 > room:
            break
        kept.append(line)
        room -= len(line) + 1
    return "\n".join([*kept, rest])
