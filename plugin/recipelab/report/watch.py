"""A campaign as it goes on, for a terminal: one picture of lines, each cut to the width.

What is shown of the lineage is read again only when a trial was judged or proposed, and the log of
a phase only when it has grown, so that a picture a second costs next to nothing.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from recipelab.core.errors import RecipelabError
from recipelab.core.text import duration, plain, shorten
from recipelab.core.trial import Checkpoint, Status
from recipelab.evaluation.now import Now, RunningPhase
from recipelab.lineage import TrialBrief, TrialFilter
from recipelab.lineage.trial_view import plus_minus
from recipelab.packs.judging_sections import change_percent
from recipelab.report.trial import brief_status_text, spent

if TYPE_CHECKING:
    from recipelab.campaign.reader import CampaignReader

NEWEST = 8
"""Newest outcomes that are shown where there is room."""

FAILURES = 50
"""Signatures of failures that are summed up by kind."""

LOG_LINES = 3
"""Newest lines of a log that are shown where there is room."""

READ_SECONDS = 10.0
"""After so long the lineage is read again in any case: a checkpoint may have changed a standing."""

BAR = 10
"""Columns of a bar."""


@dataclass(frozen=True)
class Figures:
    """What the lineage tells of a campaign.

    Attributes:
        title: Name, pack, profile and model.
        unit: The unit of the metric; empty if that is not known.
        trials: Trials that count toward the budget.
        chain: Baseline, certified recipe and head, by those words; the same trial is there once.
        test: The last checkpoint that held, if one did.
        newest: The newest judged trials, newest first.
        failures: Trials that failed by kind.
    """

    title: str
    unit: str
    trials: int
    chain: dict[str, TrialBrief]
    test: Checkpoint | None
    newest: tuple[TrialBrief, ...]
    failures: dict[str, int]


class CampaignWatch:
    """Reads a campaign for its picture.

    Args:
        reader: The campaign.
    """

    def __init__(self, reader: CampaignReader) -> None:
        self._reader = reader
        self._key: Any = None
        self._read_at = 0.0
        self._figures: Figures | None = None

    def picture(self) -> WatchPicture:
        """Return how the campaign stands now."""
        return WatchPicture(self._reader.now(), self.figures())

    def figures(self) -> Figures:
        """Return what the lineage tells, read again if a trial has changed."""
        key = self._reader.store.counts(self._reader.name)
        is_old = time.monotonic() - self._read_at > READ_SECONDS
        if self._figures is None or key != self._key or is_old:
            self._figures, self._key = self._read(key), key
            self._read_at = time.monotonic()
        return self._figures

    def _read(self, counts: dict[Status | None, int]) -> Figures:
        reader, store, name = self._reader, self._reader.store, self._reader.name
        record, unit = reader.record, ""
        with suppress(RecipelabError):  # Its pack is not here, and it does not say.
            unit = reader.metric.unit
        chain: dict[str, TrialBrief] = {}
        test = None
        if Status.BASELINE in counts:
            head, certified = store.best_brief(name), store.certified_brief(name)
            chain["baseline"] = store.brief(name, 0)
            if certified.number:
                chain["certified"] = certified
            if head.number not in (0, certified.number):
                chain["head"] = head
            held = [one.found for one in store.checkpoints(name) if one.found.held]
            test = held[-1] if held else None
        newest = store.briefs(name, TrialFilter(in_flight=False, limit=NEWEST)).items
        failures: Counter[str] = Counter()
        for group in store.failures(name, limit=FAILURES).items:
            failures[group.kind] += group.count
        title = f"{name} · {record.pack.rsplit('/', 1)[-1]} ({record.profile}) · {record.model}"
        return Figures(title, unit, spent(counts), chain, test, newest, dict(failures))


@dataclass(frozen=True)
class WatchPicture:
    """A picture of a campaign; Rich shows it as wide and as high as the terminal is.

    Attributes:
        now: What goes on.
        figures: What the lineage tells.
    """

    now: Now
    figures: Figures

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the lines that fit."""
        for line in self.lines(options.max_width, options.height or options.size.height - 1):
            line.truncate(options.max_width, overflow="ellipsis")
            yield line

    def lines(self, width: int, height: int) -> list[Text]:
        """Return the lines, of which the least important ones go if they are too many.

        Args:
            width: Columns.
            height: Lines at most.
        """
        room = max(height, 4)
        for logs, newest in ((LOG_LINES, NEWEST), (1, NEWEST), (1, 4), (0, 4), (0, 1), (0, 0)):
            found = list(self._lines(width, logs, newest))
            if len(found) <= room:
                return found
        return [*found[: room - 1], Text(f"... {len(found) - room + 1} more lines", "dim")]

    def _lines(self, width: int, logs: int, newest: int) -> Iterator[Text]:
        now = self.now
        yield Text(plain(self.figures.title), "bold")
        yield _state_line(now)
        yield from _score_lines(self.figures)
        if now.budget:
            yield _named("budget", " · ".join(
                f"{one.kind.replace('_', ' ')} {amount(one.used)} of {amount(one.limit)}"
                for one in now.budget
            ))  # fmt: skip
        if now.next_stop:
            yield from _wrapped("next stop", now.next_stop, width, most=2)
        yield from _team_lines(now)
        yield from _slot_lines(now, width, logs)
        yield from _outcome_lines(self.figures, newest)
        if self.figures.failures:
            words = ", ".join(
                f"{count} {kind}"
                for kind, count in sorted(self.figures.failures.items(), key=lambda one: -one[1])
            )
            yield _named("failures", words)
        for warning in now.warnings[-3:]:
            yield _named("warning", shorten(warning, 400), "yellow")


def amount(value: float) -> str:
    """Return an amount of a budget, as ``27``, ``1.25`` or ``1,250,000``."""
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.4g}"


def _named(name: str, words: str, style: str = "") -> Text:
    return Text.assemble((f"{name:<10} ", "dim"), (words, style))


def _wrapped(name: str, words: str, width: int, most: int) -> Iterator[Text]:
    """Yield words that are long on lines of their own, broken where parts end."""
    line, lines = "", list[str]()
    for part in words.split("; "):
        longer = f"{line}; {part}" if line else part
        if line and len(longer) > width - 11:
            lines.append(f"{line};")
            line = part
        else:
            line = longer
    lines.append(line)
    for place, text in enumerate(lines[:most]):
        yield _named("" if place else name, plain(text))


def _state_line(now: Now) -> Text:
    passed = duration(time.time() - now.since)
    if not now.driver_alive:
        return Text(f"{now.state}, and no process runs it", "yellow")
    state = "paused" if now.paused else "runs"
    left = "" if now.seconds_left is None else f", some {duration(now.seconds_left)} to the end"
    return Text(f"{state} for {passed}{left}", "yellow" if now.paused else "green")


def _score_lines(figures: Figures) -> Iterator[Text]:
    baseline = figures.chain.get("baseline")
    for name, brief in figures.chain.items():
        if brief.score is None:
            continue
        score = plus_minus(f"{brief.score:.5g}", brief.score_se)
        line = _named(name, f"trial {brief.number}: {score} {figures.unit}".rstrip())
        change = change_percent(baseline.score if baseline is not None else None, brief.score)
        if brief.number and change is not None:
            line.append(f"  {change:+.2f} %", "bold green")
        if name == "head" and brief.standing:
            line.append(f"  {brief.standing}", "cyan")
        test = figures.test
        if name == "certified" and test is not None and test.trial == brief.number:
            low, high = test.delta_low, test.delta_high
            if low is not None and high is not None:
                line.append(f"  by {low:+.4g} to {high:+.4g} against trial {test.against}", "dim")
        yield line
    if not figures.chain:
        yield _named("baseline", "it is not measured yet")


def _team_lines(now: Now) -> Iterator[Text]:
    moment = time.time()
    for one in now.floor:
        since = f"{plain(one.specialist)} for {duration(moment - one.since)}"
        called = f" for {duration(moment - one.call_since)}" if one.call_since > one.since else ""
        yield _named("floor", f"{since}: {plain(one.doing)}{called}", "bold")
    for passed in now.passes[:3]:
        ago = f"{plain(passed.specialist)} {duration(moment - passed.at)} ago"
        yield _named("passed", f"{ago}: {shorten(passed.reason, 300) or 'no word why'}")
    if (test := now.confirming) is not None:
        what = "the working line up to trial" if test.kind == "checkpoint" else "trial"
        looks = f", look {test.look} of {test.of}" if test.of > 1 else ""
        yield _named("confirming", f"{what} {test.trial} on fresh seeds{looks}", "bold")


def _slot_lines(now: Now, width: int, logs: int) -> Iterator[Text]:
    if not now.driver_alive:
        return
    total = "" if now.slots.total is None else f" of {now.slots.total}"
    waits = f", queued {', '.join(map(str, now.queued))}" if now.queued else ", none queued"
    yield _named("slots", f"{now.slots.busy}{total} busy{waits}")
    for phase in now.running:
        yield Text(f"  {phase_line(phase)}")
        for line in phase.log[-logs:] if logs else ():
            yield Text(f"      {plain(line).strip()[:width]}", "dim")


def phase_line(phase: RunningPhase) -> str:
    """Return a phase that runs: trial, phase, seed, slot, and what has passed of its budget."""
    seconds = max(0.0, time.time() - phase.began)
    share = min(1.0, seconds / phase.budget) if phase.budget > 0 else 1.0
    done = round(BAR * share)
    seed = "" if phase.seed is None else f" seed {phase.seed}"
    beside = " (the best, beside it)" if phase.beside else ""
    slot = f" on {plain(phase.slot)}" if phase.slot else ""
    return (
        f"{phase.trial:>4} {phase.phase:<9} {'#' * done}{'.' * (BAR - done)} "
        f"{duration(seconds)} of {duration(phase.budget)}{seed}{beside}{slot}"
    )


def _outcome_lines(figures: Figures, most: int) -> Iterator[Text]:
    if not most or not figures.newest:
        return
    yield _named("outcomes", f"{figures.trials} trials count; the newest:")
    for brief in figures.newest[:most]:
        yield _outcome_line(brief)


def _outcome_line(brief: TrialBrief) -> Text:
    status = brief_status_text(brief)
    status.pad_right(max(0, 18 - len(status)))
    score = "-" if brief.score is None else f"{brief.score:.5g}"
    delta = "" if brief.delta is None else plus_minus(f"{brief.delta:+.3g}", brief.delta_se)
    why = shorten(brief.hypothesis, 200)
    return Text.assemble(
        f"  {brief.number:>4} {shorten(brief.surface, 10):<10} ",
        status,
        f" {score:>9} {delta:<18} {why}",
    )
