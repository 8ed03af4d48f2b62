"""The parts of the view. Each asks the lineage for a few rows, never for all."""

from __future__ import annotations

from collections.abc import Sequence

from recipelab.lineage import TrialBrief, TrialFilter
from recipelab.pack_measures import Gate
from recipelab.view.frame import Frame
from recipelab.view.lines import (
    failure_line,
    near_miss_line,
    one_line,
    trial_lines,
)

CHAIN, NEAR_MISSES, OWN, OTHERS, FAILURES = 8, 6, 10, 14, 8
LOOKED_THROUGH = 40
"""Newest trials among which those of the others are looked for."""

RUNNING = 8
"""How many more are asked for, in place of those among them that are in flight."""

NOTE_CHARACTERS = 400
REPEATED = 2
"""From how many times on a failure is a repeated one."""


def rules(frame: Frame) -> list[str]:
    """The rules in force: the metric, the gates, the budget."""
    metric, counts = frame.pack.metric, frame.store.counts(frame.campaign)
    told = ", ".join(f"{status or 'in flight'} {count}" for status, count in counts.items())
    left = "no bound" if frame.remaining is None else f"{frame.remaining} left"
    return [
        f"- {metric.goal} {metric.name}"
        + (f" ({metric.unit})" if metric.unit else "")
        + "; a trial is kept only if it passes every gate and its gain stands out of the noise.",
        *(f"- Gate {_gate(gate)}." for gate in frame.pack.gates),
        f"- Trials so far: {told}. Budget of trials: {left}.",
        *(
            f"- Prior knowledge: lineage tools take campaign={name!r} too; their answers say what "
            "its scores mean here."
            for name in frame.priors
        ),
    ]


def _gate(gate: Gate) -> str:
    side = "at least" if gate.at_least is not None else "at most"
    return f"{gate.name}: mean of {gate.measure} {side} {gate.limit:g}"


def best(frame: Frame) -> list[str]:
    """The best trial and the chain that led to it, the newest first."""
    number = frame.store.best_brief(frame.campaign).number
    chain = frame.store.chain_briefs(frame.campaign, number, limit=CHAIN)
    lines = trial_lines(frame, reversed(chain.items))
    hidden = chain.total - len(chain.items)
    return [*lines, f"- ... {hidden} older: ask best_chain"] if hidden > 0 else lines


def near_misses(frame: Frame) -> list[str]:
    """Near misses, the largest gain first."""
    page = frame.store.near_misses(frame.campaign, goal=frame.pack.metric.goal, limit=NEAR_MISSES)
    return [near_miss_line(frame, miss) for miss in page.items]


def own(frame: Frame) -> list[str]:
    """The specialist's own last trials."""
    return trial_lines(frame, _judged(frame, OWN, specialists=(frame.specialist,)))


def others(frame: Frame) -> list[str]:
    """The last trials of the others."""
    page = _judged(frame, LOOKED_THROUGH)
    theirs = [brief for brief in page if brief.specialist != frame.specialist]
    return trial_lines(frame, theirs[:OTHERS])


def _judged(frame: Frame, count: int, *, specialists: tuple[str, ...] = ()) -> Sequence[TrialBrief]:
    """The newest judged trials.

    To ask for judged ones makes the lineage look through what matches, up to a thousand rows, so
    a few more of all are taken instead, as long as that is enough.
    """
    some = TrialFilter(specialists=specialists, limit=count + RUNNING)
    page = frame.store.briefs(frame.campaign, some).items
    judged = [brief for brief in page if brief.status is not None][:count]
    if len(judged) == count or len(page) < some.limit:
        return judged
    exactly = TrialFilter(specialists=specialists, in_flight=False, limit=count)
    return frame.store.briefs(frame.campaign, exactly).items


def in_flight(frame: Frame) -> list[str]:
    """What runs now."""
    return trial_lines(frame, frame.store.in_flight_briefs(frame.campaign))


def failures(frame: Frame) -> list[str]:
    """Failures that came more than once, the most frequent first."""
    page = frame.store.failures(frame.campaign, limit=FAILURES)
    return [failure_line(group) for group in page.items if group.count >= REPEATED]


def notes(frame: Frame) -> list[str]:
    """What people say, the newest first."""
    found = frame.store.notes(frame.campaign, specialist=frame.specialist)
    return [
        f"- {f'on trial {note.trial}: ' if note.trial is not None else ''}"
        f"{one_line(note.text, NOTE_CHARACTERS)}"
        for note in sorted(found, key=lambda note: -note.number)
    ]
