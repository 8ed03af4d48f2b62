"""Lines of the view: one trial, one near miss, one failure a line."""

from __future__ import annotations

from collections.abc import Iterable

from recipelab.lineage import FailureGroup, NearMiss, TrialBrief
from recipelab.view.frame import Frame

HYPOTHESIS_CHARACTERS = 140
REASON_CHARACTERS = 160
SIGNATURE_CHARACTERS = 160


def one_line(text: str, characters: int) -> str:
    """A text on one line, cut where it is too long: text of agents cannot make headings."""
    text = " ".join(text.split())
    return text if len(text) <= characters else f"{text[: characters - 3]}..."


def trial_line(frame: Frame, brief: TrialBrief) -> str:
    """One trial: how it ended, what it was about, and why it ended so."""
    status = brief.status or (f"in flight, {brief.phase}" if brief.phase else "in flight")
    gain = f" ({brief.delta:+.3g})" if brief.delta is not None else ""
    reason = one_line(brief.reason, REASON_CHARACTERS)
    return (
        f"- {brief.number} ({brief.surface} by {brief.specialist}) {status}, "
        f"{frame.score(brief.score)}{gain}: {one_line(brief.hypothesis, HYPOTHESIS_CHARACTERS)}"
        + (f" | {reason}" if reason else "")
    )


def trial_lines(frame: Frame, briefs: Iterable[TrialBrief]) -> list[str]:
    """Some trials, a line each."""
    return [trial_line(frame, brief) for brief in briefs]


def near_miss_line(frame: Frame, miss: NearMiss) -> str:
    """One near miss: what it would gain, and what has to go."""
    brief = miss.brief
    excess = "; ".join(
        f"{gate.name} {gate.value:.5g}, limit {gate.limit:.5g}: remove {gate.excess:.3g}"
        for gate in miss.missed
    )
    tried = f", {miss.children} made from it" if miss.children else ""
    return (
        f"- {brief.number} ({brief.surface}) {brief.status}, {frame.score(brief.score)}, "
        f"{miss.gain:.3g} better than the best{tried}: {excess or brief.reason[:80]} | "
        f"{one_line(brief.hypothesis, HYPOTHESIS_CHARACTERS)}"
    )


def failure_line(group: FailureGroup) -> str:
    """One failure that repeats, and which trials got past it."""
    fixed = f"; got past it: {', '.join(map(str, group.fixed_by))}" if group.fixed_by else ""
    where = f" in {group.phase}" if group.phase else ""
    return (
        f"- {group.count} x {group.kind}{where}, last trial {group.last}: "
        f"{one_line(group.signature, SIGNATURE_CHARACTERS)}{fixed}"
    )
