"""The lineage view: the part of the lineage that a specialist sees when its turn begins.

It is Markdown in parts, each with a budget of characters of its own, so that no part can push out
another. A part asks the lineage for a few rows, never for all, and texts of agents are put on one
line, so that they cannot make headings. A trial is told in one part alone, the first that has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from recipelab.core.text import shorten
from recipelab.core.trial import Status
from recipelab.evaluation.metric import METRIC
from recipelab.lineage import (
    FailureGroup,
    LineageStore,
    NearMiss,
    SurfaceSummary,
    TrialBrief,
    TrialFilter,
)
from recipelab.lineage.trial_view import status_words
from recipelab.packs.pack import Pack
from recipelab.tools.rows import IN_FLIGHT, SATURATED, comparison_words

CHAIN, NEAR_MISSES, UNPROVEN, BANKED, OWN, OTHERS, FAILURES = 8, 6, 6, 4, 10, 14, 8
"""Lines of each part at most."""

RUNNING = 60
"""Trials in flight to ask for: more than the part has room for, and of a thousand slots not all."""

NEWEST = 40
"""Newest trials among which those of the others are looked for."""

IN_FLIGHT_SPARE = 8
"""Additional trials to ask for, because some of the newest are in flight."""

REPEATED = 2
"""Trials from which on a failure counts as one that repeats."""

PLATEAU = 15
"""Judged trials of all without one kept, from which the search counts as stuck."""

ENOUGH, TOO_MANY_FAILED = 6, 0.5
"""Judged trials from which a share of failures is telling, and the share that is too large."""

HYPOTHESIS_CHARACTERS = 140
REASON_CHARACTERS = 160
SIGNATURE_CHARACTERS = 160
NOTE_CHARACTERS = 400
FINDING_CHARACTERS = 600

SUBMITTED = "Submitted trial"
"""How the words at the end of a turn begin that brought a trial, whose hypothesis says all."""

IN_TURN = "turn"
"""Key of the metadata of a specialist's message: the number of its turn in the lineage."""

MISS_DIFF = 2_400
"""Characters of the diff of a near miss that the view shows, at most."""

FINDINGS, TOLD_AMONG = 6, 40
"""Sentences of specialists that are told, and messages among which they are looked for."""


@dataclass(frozen=True)
class ViewContext:
    """The campaign and the specialist that a view is rendered for.

    Attributes:
        store: An open lineage.
        campaign: Name of the campaign.
        pack: Its pack.
        specialist: The specialist whose turn begins.
        surfaces: The surfaces that it owns.
        remaining: Trials left in the budget; ``None`` without a bound.
        priors: Names of campaigns that serve as prior knowledge.
        seeds_done: Returns the seeds that a running trial has been scored on so far.
        slots: Trials that may run at the same time; ``None`` where that is not known.
        speakers: Names of the specialists.
        trial_seconds: How long a trial takes, in seconds; ``None`` before the first has ended.
        free_slots: Returns in how many seconds each slot is likely to be free.
        thinking: Names of the specialists whose turn it is, beside this one.
        check_of: Returns the id of the edits that a turn checked last; ``None`` for none.
    """

    store: LineageStore
    campaign: str
    pack: Pack
    specialist: str
    surfaces: tuple[str, ...]
    remaining: int | None = None
    priors: tuple[str, ...] = ()
    seeds_done: Callable[[int], tuple[int, ...]] = lambda number: ()
    slots: int | None = None
    speakers: frozenset[str] = frozenset()
    trial_seconds: float | None = None
    free_slots: Callable[[], Sequence[float]] = tuple
    thinking: tuple[str, ...] = ()
    check_of: Callable[[int], str | None] = lambda turn: None

    def score(self, value: float | None) -> str:
        """Return a score with its unit."""
        metric = self.pack.metric
        return "no score" if value is None else f"{value:.4g} {metric.unit}".strip()


class Line(NamedTuple):
    """A line of a part.

    Attributes:
        text: The line.
        trial: The trial that it tells; ``None`` if it tells none.
    """

    text: str
    trial: int | None = None


def _trial_lines(context: ViewContext, briefs: Iterable[TrialBrief]) -> list[Line]:
    """Return trials: how each ended, by how much it changed the score, its idea, and why."""
    briefs = tuple(briefs)
    numbers = [brief.number for brief in briefs if brief.status is not None]
    compared = context.store.comparisons(context.campaign, numbers, metric=METRIC)
    lines: list[Line] = []
    for brief in briefs:
        status = status_words(brief.status, brief.standing)
        told = compared.get(brief.number)
        if brief.status is None:
            status += f", {brief.phase}" if brief.phase else ""
            status += f", seeds done: {len(context.seeds_done(brief.number))}"
        else:
            status += f", {context.score(brief.score)}{comparison_words(told, brief)}"
        if brief.parents and (told is None or told.against != brief.parents[0]):
            status += f"; made from {brief.parents[0]}"
        # That a kept trial gained is told already.
        reason = "" if brief.status is Status.KEPT else shorten(brief.reason, REASON_CHARACTERS)
        text = (
            f"- {brief.number} ({brief.surface} by {brief.specialist}) {status}: "
            f"{shorten(brief.hypothesis, HYPOTHESIS_CHARACTERS)}"
            + (f" | {reason}" if reason else "")
        )
        lines.append(Line(text, brief.number))
    return lines


def _near_miss_lines(context: ViewContext, misses: Sequence[NearMiss]) -> list[Line]:
    """Return near misses: what each changed on its own seeds, and the excess that has to go."""
    numbers = [miss.brief.number for miss in misses]
    compared = context.store.comparisons(context.campaign, numbers, metric=METRIC)
    lines = []
    for miss in misses:
        brief = miss.brief
        excess = "; ".join(
            f"{gate.name} {gate.value:.5g}, limit {gate.limit:.5g}: remove {gate.excess:.3g}"
            for gate in miss.missed
        )
        words = comparison_words(compared.get(brief.number), brief)
        tried = f"; {miss.children} made from it" if miss.children else ""
        lines.append(
            Line(
                f"- {brief.number} ({brief.surface}) {brief.status}, {context.score(brief.score)}"
                f"{words}{tried}: {excess or shorten(brief.reason, 80)} | "
                f"{shorten(brief.hypothesis, HYPOTHESIS_CHARACTERS)}",
                brief.number,
            )
        )
    return lines


def _failure_line(group: FailureGroup) -> Line:
    """Return one failure that repeats, and the trials that got past it."""
    fixed = f"; got past it: {', '.join(map(str, group.fixed_by))}" if group.fixed_by else ""
    where = f" in {group.phase}" if group.phase else ""
    return Line(
        f"- {group.count} x {group.kind}{where}, last trial {group.last}: "
        f"{shorten(group.signature, SIGNATURE_CHARACTERS)}{fixed}"
    )


def _signals(context: ViewContext) -> list[Line]:
    """Return advice from the counts of the campaign, the most general first."""
    goal = context.pack.metric.goal
    surfaces = {item.name: item for item in context.store.surfaces(context.campaign, goal=goal)}
    own = [surfaces[name] for name in context.surfaces if name in surfaces]
    untouched = [name for name in context.surfaces if name not in surfaces]
    lines = [
        *_plateau(surfaces.values()),
        *(line for item in own for line in _saturation(item)),
        *(line for item in own for line in _many_failures(item)),
        *(f"- No trial was booked on {name} yet." for name in untouched),
    ]
    return [Line(line) for line in lines]


def _plateau(surfaces: Iterable[SurfaceSummary]) -> Iterator[str]:
    surfaces = tuple(surfaces)
    kept = max((item.last_kept for item in surfaces if item.last_kept is not None), default=0)
    newest = max((item.last_tried for item in surfaces), default=0)
    if newest - kept >= PLATEAU:
        yield (
            f"- Plateau: none of the {newest - kept} trials since {kept} was kept. Small steps "
            "from the best are used up: repair a near miss, build on an unproven gain, combine two "
            "ideas, go back to an earlier trial of the chain, or take something away."
        )


def _saturation(item: SurfaceSummary) -> Iterator[str]:
    if item.since_kept >= SATURATED:
        yield (
            f"- {item.name} is saturated: {item.since_kept} judged trials since one was kept. "
            "Change the kind of your edit, not its size, or take another surface of yours."
        )


def _many_failures(item: SurfaceSummary) -> Iterator[str]:
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


def _state(context: ViewContext) -> list[Line]:
    """Return where the campaign stands: trials, budget, and where else may be asked."""
    counts = context.store.counts(context.campaign)
    trials = ", ".join(f"{status or 'in flight'} {count}" for status, count in counts.items())
    left = "no bound" if context.remaining is None else f"{context.remaining} left"
    if context.remaining == 1:
        left += ": the next one is the last of the campaign"
    lines = [
        f"- Trials so far: {trials}. Budget of trials: {left}.{_slots(context)}",
        *(
            f"- Prior knowledge: lineage tools take campaign={name!r} too; their answers say what "
            "its scores mean here."
            for name in context.priors
        ),
    ]
    return [Line(line) for line in lines]


def _slots(context: ViewContext) -> str:
    """Return how many trials run at once, how long each takes, and when a slot is free."""
    if not context.slots:
        return ""
    told = f" Up to {context.slots} at a time"
    if context.trial_seconds is not None:
        told += f", each some {context.trial_seconds / 60:.2g} minutes"
    free = sorted(context.free_slots())
    if now := sum(seconds <= 0 for seconds in free):
        told += f"; slots free now: {now}"
    elif free and context.trial_seconds is not None:
        told += f"; a slot is free in some {free[0]:.0f} s"
    if context.thinking:
        told += f". Thinking now: {', '.join(context.thinking)}"
    return f"{told}."


def _best(context: ViewContext) -> list[Line]:
    """Return the best trial and the chain that led to it, the newest first."""
    number = context.store.best_brief(context.campaign).number
    chain = context.store.chain_briefs(context.campaign, number, limit=CHAIN)
    lines = _trial_lines(context, reversed(chain.items))
    hidden = chain.total - len(chain.items)
    more = Line(f'- ... {hidden} older: ask lineage_query with status ["kept"]')
    return [*lines, more] if hidden > 0 else lines


def _near_misses(context: ViewContext) -> list[Line]:
    """Return near misses, the largest gain first."""
    goal = context.pack.metric.goal
    page = context.store.near_misses(context.campaign, goal=goal, limit=NEAR_MISSES)
    lines = _near_miss_lines(context, page.items)
    return [*lines[:1], *_untried_diff(context, page.items), *lines[1:]]


def _untried_diff(context: ViewContext, misses: Sequence[NearMiss]) -> list[Line]:
    """Return what the largest near miss changed, if that is short and nobody has repaired it."""
    if not misses or misses[0].children:
        return []
    record = context.store.trial(context.campaign, misses[0].brief.number)
    if not record.diff or len(record.diff) > MISS_DIFF:
        return []
    # Every line of a diff begins with a mark of its own, so that none can be a heading.
    return [Line(f"  What it changed in trial {record.parents[0]}:\n{record.diff.rstrip()}")]


def _unproven(context: ViewContext) -> list[Line]:
    """Return trials that were better than the best on too few seeds, the largest gain first."""
    goal = context.pack.metric.goal
    page = context.store.unproven_gains(context.campaign, goal=goal, limit=UNPROVEN)
    return _near_miss_lines(context, page.items)


def _banked(context: ViewContext) -> list[Line]:
    """Return trials that gained margin of a gate at no cost that shows, the cheapest first."""
    goal = context.pack.metric.goal
    found = context.store.banked_margins(context.campaign, goal=goal, limit=BANKED)
    return [
        Line(
            f"- {item.brief.number} ({item.brief.surface}) {context.score(item.brief.score)}: "
            + "; ".join(
                f"{gain.name} margin {gain.margin:.3g}, the best has {gain.best:.3g}"
                for gain in item.gains
            )
            + f" | {shorten(item.brief.hypothesis, HYPOTHESIS_CHARACTERS)}",
            item.brief.number,
        )
        for item in found
    ]


def _own(context: ViewContext) -> list[Line]:
    """Return the specialist's own newest judged trials."""
    return _trial_lines(context, _judged(context, OWN, specialists=(context.specialist,)))


def _others(context: ViewContext) -> list[Line]:
    """Return the newest judged trials of the others."""
    page = _judged(context, NEWEST)
    others = [brief for brief in page if brief.specialist != context.specialist]
    return _trial_lines(context, others[:OTHERS])


def _judged(
    context: ViewContext, count: int, *, specialists: tuple[str, ...] = ()
) -> Sequence[TrialBrief]:
    """Return the newest judged trials.

    A filter for judged ones makes the lineage look through what matches, up to a thousand rows.
    So a few more are asked for without it first, which is nearly always enough.
    """
    newest = TrialFilter(specialists=specialists, limit=count + IN_FLIGHT_SPARE)
    page = context.store.briefs(context.campaign, newest).items
    judged = [brief for brief in page if brief.status is not None][:count]
    if len(judged) == count or len(page) < newest.limit:
        return judged
    only_judged = TrialFilter(specialists=specialists, in_flight=False, limit=count)
    return context.store.briefs(context.campaign, only_judged).items


def _in_flight(context: ViewContext) -> list[Line]:
    """Return the trials that run now."""
    briefs = context.store.in_flight_briefs(context.campaign, limit=RUNNING)
    return _trial_lines(context, briefs)


def _failures(context: ViewContext) -> list[Line]:
    """Return the failures that came more than once, the most frequent first."""
    page = context.store.failures(context.campaign, limit=FAILURES)
    return [_failure_line(group) for group in page.items if group.count >= REPEATED]


def _findings(context: ViewContext) -> list[Line]:
    """Return what specialists said at the end of turns that brought no trial, newest first.

    A trial keeps its own hypothesis; what was measured or ruled out without one is told here alone.
    """
    newest = context.store.newest_messages(context.campaign, type="TextMessage", limit=TOLD_AMONG)
    texts: dict[str, str] = {}
    for message in newest:
        metadata: Mapping[str, str] = message.payload.get("metadata") or {}
        turn = str(metadata.get(IN_TURN, ""))
        check = context.check_of(int(turn)) if turn.isdecimal() and len(turn) < 10 else None
        edits = f" [its edits: {check}]" if check is not None else ""
        said = str(message.payload.get("content", ""))
        text = shorten(said, FINDING_CHARACTERS - len(edits)) + edits
        is_own = message.source in context.speakers and set(metadata) <= {IN_TURN}
        if is_own and not text.startswith(SUBMITTED):
            texts.setdefault(text, message.source)
    return [Line(f"- {source}: {text}") for text, source in texts.items() if text][:FINDINGS]


def _notes(context: ViewContext) -> list[Line]:
    """Return the notes from people, the newest first."""
    notes = context.store.notes(context.campaign, specialist=context.specialist)
    return [
        Line(
            f"- {f'on trial {note.trial}: ' if note.trial is not None else ''}"
            f"{shorten(note.text, NOTE_CHARACTERS)}"
        )
        for note in sorted(notes, key=lambda note: -note.number)
    ]


@dataclass(frozen=True)
class ViewPart:
    """A part of the view.

    Attributes:
        title: Its heading.
        characters: Its budget, without the heading.
        lines: Makes its lines, the most important first.
        more: The tool to ask for what lies beyond the budget.
    """

    title: str
    characters: int
    lines: Callable[[ViewContext], Sequence[Line]]
    more: str = "lineage_query"

    def render(self, context: ViewContext, told: set[int]) -> str:
        """Return the part: whole lines up to the budget, and whom to ask for the rest.

        It is empty where there is nothing to tell.

        Args:
            context: The campaign and the specialist.
            told: Trials that a part before this one tells; those of this part are added.
        """
        lines = [line for line in self.lines(context) if line.trial not in told]
        kept = self._fitting(lines)
        told |= {line.trial for line in kept if line.trial is not None}
        return "\n".join([f"## {self.title}", *(line.text for line in kept)]) if kept else ""

    def _fitting(self, lines: Sequence[Line]) -> Sequence[Line]:
        if sum(len(line.text) + 1 for line in lines) <= self.characters + 1:
            return lines
        rest = Line(f"- ... and more: ask {self.more}")
        room = self.characters - len(rest.text)
        kept: list[Line] = []
        for line in lines:
            if len(line.text) + 1 > room:
                break
            kept.append(line)
            room -= len(line.text) + 1
        return [*kept, rest]


PARTS = (
    ViewPart("The campaign", 1_400, _state),
    ViewPart("Notes from people", 1_600, _notes),
    ViewPart("Best trial and those that led to it, newest first", 2_800, _best),
    ViewPart("Near misses worth repairing", 4_300, _near_misses, "near_misses"),
    ViewPart("Unproven gains worth building on", 1_600, _unproven, "near_misses"),
    ViewPart("Gate margin in the bank, to trade on", 1_000, _banked, "near_misses"),
    ViewPart("Other trials of yours, newest first", 2_400, _own),
    ViewPart("Other trials of others, newest first", 2_400, _others),
    ViewPart(
        "Running now: do not propose the same",
        1_600,
        _in_flight,
        f'lineage_query with status ["{IN_FLIGHT}"]',
    ),
    ViewPart("Failures that repeat", 1_800, _failures, "lineage_failures"),
    ViewPart("Said at the end of turns without a trial", 2_400, _findings),
    ViewPart("Signals", 1_200, _signals, "surface_summary"),
)


@dataclass(frozen=True)
class LineageView:
    """A rendered view.

    Attributes:
        text: Markdown.
        best: Number of the best trial.
        is_whole: Whether it tells every trial of the campaign.
    """

    text: str
    best: int
    is_whole: bool


def lineage_view(context: ViewContext, parts: Sequence[ViewPart] = PARTS) -> LineageView:
    """Return the lineage view of one specialist at this moment.

    Args:
        context: The campaign and the specialist.
        parts: The parts, in order.

    Returns:
        The view; no part is longer than its budget, whatever the lineage holds.
    """
    told: set[int] = set()
    with context.store.moment():  # one read transaction, so that the parts agree
        shown = {part.title: part.render(context, told) for part in parts}
        best = context.store.best_brief(context.campaign).number
        is_whole = len(told) >= context.store.trial_count(context.campaign)
    if empty := [title for title, text in shown.items() if not text]:
        shown["Nothing yet"] = f"## Nothing yet\n- {'; '.join(empty)}"
    return LineageView("\n\n".join(filter(None, shown.values())), best, is_whole)


def render_lineage_view(context: ViewContext, parts: Sequence[ViewPart] = PARTS) -> str:
    """Return the text of :func:`lineage_view`."""
    return lineage_view(context, parts).text
