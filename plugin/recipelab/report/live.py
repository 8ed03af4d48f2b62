"""Show the phases that run right now: which, since when, and the newest lines of their logs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from recipelab.evaluation.live import LivePhase

NOTHING = "nothing runs right now"


def phase_facts(phase: LivePhase) -> dict[str, Any]:
    """Return a phase that runs as plain values; ``seconds`` have passed of its ``budget``."""
    facts = asdict(phase)
    del facts["began"]
    return facts | {"seconds": round(phase.seconds, 1), "log": list(phase.log)}


def phase_words(phase: LivePhase) -> str:
    """Return which phase runs and how long, as ``trial 4: train, seed 2, 31 s of 300 s``."""
    seed = "" if phase.seed is None else f", seed {phase.seed}"
    whose = " (the best, run beside it)" if phase.beside else ""
    return (
        f"trial {phase.trial}: {phase.phase}{seed}{whose}, "
        f"{phase.seconds:.0f} s of {phase.budget:g} s"
    )


def phases_view(phases: Sequence[LivePhase]) -> RenderableType:
    """Return phases that run, each with the newest lines of its log."""
    if not phases:
        return Text(NOTHING)
    parts: list[RenderableType] = []
    for phase in phases:
        parts.append(Text(phase_words(phase), style="bold"))
        if phase.log:
            parts.append(Panel(Text("\n".join(phase.log)), title="newest lines of its log"))
    return Group(*parts)
