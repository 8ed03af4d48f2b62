"""Whom a view is for, and in which campaign."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from recipelab.core.trial import Status
from recipelab.lineage import (
    FailureGroup,
    LineageStore,
    NearMiss,
    SurfaceSummary,
    TrialBrief,
    TrialFilter,
)
from recipelab.packs.pack import Pack


@dataclass(frozen=True)
class ViewContext:
    """What a view is rendered from.

    Attributes:
        store: An open lineage.
        campaign: Name of the campaign.
        pack: Its pack.
        specialist: Whose turn begins.
        surfaces: The surfaces that it owns.
        remaining: Trials left in the budget; ``None`` without a bound.
        priors: Names of campaigns that serve as prior knowledge.
    """

    store: LineageStore
    campaign: str
    pack: Pack
    specialist: str
    surfaces: tuple[str, ...]
    remaining: int | None = None
    priors: tuple[str, ...] = ()

    def score(self, value: float | None) -> str:
        """A score in words."""
        metric = self.pack.metric
        return "no score" if value is None else f"{value:.4g} {metric.unit}".strip()


HYPOTHESIS_CHARACTERS = 140
REASON_CHARACTERS = 160
SIGNATURE_CHARACTERS = 160


def one_line(text: str, characters: int) -> str:
    """A text on one line, cut where it is too long: text of agents cannot make headings."""
    text = " ".join(text.split())
    return text if len(text) <= characters else f"{text[: characters - 3]}..."


def trial_line(frame: ViewContext, brief: TrialBrief) -> str:
    """One trial: how it ended, what it was about, and why it ended so."""
    status = brief.status or (f"in flight, {brief.phase}" if brief.phase else "in flight")
    gain = f" ({brief.delta:+.3g})" if brief.delta is not None else ""
    reason = one_line(brief.reason, REASON_CHARACTERS)
    return (
        f"- {brief.number} ({brief.surface} by {brief.specialist}) {status}, "
        f"{frame.score(brief.score)}{gain}: {one_line(brief.hypothesis, HYPOTHESIS_CHARACTERS)}"
        + (f" | {reason}" if reason else "")
    )


def trial_lines(frame: ViewContext, briefs: Iterable[TrialBrief]) -> list[str]:
    """Some trials, a line each."""
    return [trial_line(frame, brief) for brief in briefs]


def near_miss_line(frame: ViewContext, miss: NearMiss) -> str:
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


SATURATED = 8
"""Judged trials on a surface without one kept, from which it counts as saturated."""

PLATEAU = 15
"""Judged trials of all without one kept, from which the search counts as stuck."""

ENOUGH, TOO_MANY_FAILED = 6, 0.5
"""Judged trials from which a share of failures says something, and the share that is too large."""


def signals(frame: ViewContext) -> list[str]:
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


CHAIN, NEAR_MISSES, OWN, OTHERS, FAILURES = 8, 6, 10, 14, 8
LOOKED_THROUGH = 40
"""Newest trials among which those of the others are looked for."""

RUNNING = 8
"""How many more are asked for, in place of those among them that are in flight."""

NOTE_CHARACTERS = 400
REPEATED = 2
"""From how many times on a failure is a repeated one."""


def rules(frame: ViewContext) -> list[str]:
    """The rules in force: the metric, the gates, the budget."""
    metric, counts = frame.pack.metric, frame.store.counts(frame.campaign)
    told = ", ".join(f"{status or 'in flight'} {count}" for status, count in counts.items())
    left = "no bound" if frame.remaining is None else f"{frame.remaining} left"
    return [
        f"- {metric.goal} {metric.name}"
        + (f" ({metric.unit})" if metric.unit else "")
        + "; a trial is kept only if it passes every gate and its gain stands out of the noise.",
        *(f"- Gate {gate.rule}." for gate in frame.pack.gates),
        f"- Trials so far: {told}. Budget of trials: {left}.",
        *(
            f"- Prior knowledge: lineage tools take campaign={name!r} too; their answers say what "
            "its scores mean here."
            for name in frame.priors
        ),
    ]


def best(frame: ViewContext) -> list[str]:
    """The best trial and the chain that led to it, the newest first."""
    number = frame.store.best_brief(frame.campaign).number
    chain = frame.store.chain_briefs(frame.campaign, number, limit=CHAIN)
    lines = trial_lines(frame, reversed(chain.items))
    hidden = chain.total - len(chain.items)
    return [*lines, f"- ... {hidden} older: ask best_chain"] if hidden > 0 else lines


def near_misses(frame: ViewContext) -> list[str]:
    """Near misses, the largest gain first."""
    page = frame.store.near_misses(frame.campaign, goal=frame.pack.metric.goal, limit=NEAR_MISSES)
    return [near_miss_line(frame, miss) for miss in page.items]


def own(frame: ViewContext) -> list[str]:
    """The specialist's own last trials."""
    return trial_lines(frame, _judged(frame, OWN, specialists=(frame.specialist,)))


def others(frame: ViewContext) -> list[str]:
    """The last trials of the others."""
    page = _judged(frame, LOOKED_THROUGH)
    theirs = [brief for brief in page if brief.specialist != frame.specialist]
    return trial_lines(frame, theirs[:OTHERS])


def _judged(
    frame: ViewContext, count: int, *, specialists: tuple[str, ...] = ()
) -> Sequence[TrialBrief]:
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


def in_flight(frame: ViewContext) -> list[str]:
    """What runs now."""
    return trial_lines(frame, frame.store.in_flight_briefs(frame.campaign))


def failures(frame: ViewContext) -> list[str]:
    """Failures that came more than once, the most frequent first."""
    page = frame.store.failures(frame.campaign, limit=FAILURES)
    return [failure_line(group) for group in page.items if group.count >= REPEATED]


def notes(frame: ViewContext) -> list[str]:
    """What people say, the newest first."""
    found = frame.store.notes(frame.campaign, specialist=frame.specialist)
    return [
        f"- {f'on trial {note.trial}: ' if note.trial is not None else ''}"
        f"{one_line(note.text, NOTE_CHARACTERS)}"
        for note in sorted(found, key=lambda note: -note.number)
    ]


@dataclass(frozen=True)
class ViewPart:
    """A part of the view.

    Attributes:
        title: Its heading.
        characters: Its budget, heading left out.
        lines: Makes its lines, the most important first.
        more: The tool that tells the rest.
    """

    title: str
    characters: int
    lines: Callable[[ViewContext], list[str]]
    more: str = "lineage_query"


PARTS = (
    ViewPart("Rules in force", 1_400, rules),
    ViewPart("Notes from people", 1_600, notes),
    ViewPart("Best trial and those that led to it, newest first", 2_400, best, "best_chain"),
    ViewPart("Near misses worth repairing", 1_800, near_misses, "near_misses"),
    ViewPart("Your last trials", 2_400, own),
    ViewPart("Last trials of the others", 2_400, others),
    ViewPart("Running now: do not propose the same", 1_600, in_flight, "in_flight"),
    ViewPart("Failures that repeat", 1_800, failures, "lineage_failures"),
    ViewPart("Signals", 1_200, signals, "surface_summary"),
)


def render_view(frame: ViewContext, wanted: Sequence[ViewPart] = PARTS) -> str:
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
