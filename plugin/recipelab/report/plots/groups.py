"""Plots of many trials together: gains by surface, and how noisy measurements are."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from recipelab.core.errors import RecipelabError
from recipelab.core.text import shorten
from recipelab.core.trial import SeedRun, Standing, Status
from recipelab.evaluation.metric import METRIC
from recipelab.report.plots.page import (
    BLACK,
    BLUE,
    GREY,
    HALF_WIDTH,
    MANY,
    NAME_CHARACTERS,
    Drawing,
    axis_name,
    count_ticks,
    put_legend,
    visible,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from recipelab.analysis.course import Course

MOST_SURFACES = 16
"""Surfaces that have a row of their own; the others share one."""


@dataclass
class _Surface:
    """What came of the trials of one surface."""

    name: str
    gain: float = 0.0
    variance: float = 0.0
    counts: Counter[str] = field(default_factory=Counter[str])

    @property
    def trials(self) -> int:
        return self.counts.total()


def draw_surfaces(drawing: Drawing) -> None:
    """Draw for each surface what its kept trials gained, and how its trials ended."""
    course = drawing.course
    surfaces = _surfaces(course)
    if not surfaces:
        raise RecipelabError(f"campaign {course.campaign} has no judged trial: nothing to plot")
    figure = drawing.begin(0.75 + 0.17 * len(surfaces))
    left, right = figure.subplots(1, 2, sharey=True)
    rows = range(len(surfaces))
    gains = [one.gain for one in surfaces]
    errors = [HALF_WIDTH * math.sqrt(one.variance) for one in surfaces]
    left.barh(rows, gains, height=0.62, color=GREY, edgecolor=BLACK, linewidth=0.5)
    shown = [
        (row, gain, error) for row, gain, error in zip(rows, gains, errors, strict=True) if error
    ]
    if shown:
        places, values, ranges = zip(*shown, strict=True)
        left.errorbar(
            values, places, xerr=ranges, fmt="none", ecolor=BLACK, elinewidth=0.8, capsize=1.5
        )
    left.axvline(0.0, color=BLACK, linewidth=0.6)
    starts = [0] * len(surfaces)
    for name, color, hatch in (
        ("kept", BLACK, ""),
        ("no gain", GREY, ""),
        ("failed", "white", "////"),
    ):
        widths = [one.counts[name] for one in surfaces]
        right.barh(
            rows, widths, left=starts, height=0.62, color=color, hatch=hatch, edgecolor=BLACK,
            linewidth=0.5, label=name,
        )  # fmt: skip
        starts = [start + width for start, width in zip(starts, widths, strict=True)]
    left.set_yticks(rows, [shorten(one.name, NAME_CHARACTERS) for one in surfaces])
    left.invert_yaxis()
    left.set_xlabel(axis_name(course.metric, "gain in\n"))
    right.set_xlabel("trials")
    right.tick_params(axis="y", length=0)
    count_ticks(right)
    put_legend(figure, columns=3)


def _surfaces(course: Course) -> list[_Surface]:
    """Return the surfaces, the one with the largest gain first; gains are positive if better.

    What a fallen line had kept is no gain.
    """
    found: dict[str, _Surface] = {}
    sign = course.metric.goal.sign
    for trial in course.judged:
        if trial.status is None or trial.status is Status.BASELINE:
            continue
        surface = found.setdefault(trial.surface, _Surface(trial.surface))
        is_kept = trial.status is Status.KEPT
        name = "kept" if is_kept else "failed" if trial.status.is_failure else "no gain"
        surface.counts[name] += 1
        if is_kept and trial.standing is not Standing.UNPROVEN and trial.delta is not None:
            surface.gain += sign * trial.delta
            surface.variance += (trial.delta_se or 0.0) ** 2
    ranked = sorted(found.values(), key=lambda one: (-one.gain, -one.trials, one.name))
    if len(ranked) <= MOST_SURFACES:
        return ranked
    rest = _Surface(f"{len(ranked) - MOST_SURFACES + 1} others")
    for one in ranked[MOST_SURFACES - 1 :]:
        rest.gain += one.gain
        rest.variance += one.variance
        rest.counts += one.counts
    return [*ranked[: MOST_SURFACES - 1], rest]


@dataclass
class _Spreads:
    """Standard deviations over the seeds of one kind of run, by trial."""

    numbers: list[int] = field(default_factory=list[int])
    values: list[float] = field(default_factory=list[float])

    def add(self, number: int, scores: Sequence[float]) -> None:
        if len(scores) > 1:
            self.numbers.append(number)
            self.values.append(stdev(scores))


@dataclass(frozen=True)
class _Again:
    """A recipe that was chosen on some seeds, and measured on fresh ones."""

    first: float
    fresh: float
    first_error: float
    fresh_error: float


def draw_noise(drawing: Drawing) -> None:
    """Draw how scores vary from seed to seed, and what fresh seeds made of chosen recipes."""
    course = drawing.course
    screened, confirmed, again = _noise(drawing)
    if not screened.values and not confirmed.values:
        raise RecipelabError(
            f"campaign {course.campaign} has no trial with two seed runs: nothing to plot"
        )
    is_wide = drawing.width >= 5
    figure = drawing.begin(drawing.width * (0.42 if is_wide else 0.62 if not again else 1.3))
    if again:
        left, right = figure.subplots(*((1, 2) if is_wide else (2, 1)))
        _draw_again(right, again)
        right.set_xlabel(axis_name(course.metric, "when chosen: "))
        right.set_ylabel(axis_name(course.metric, "on fresh seeds:\n"))
    else:
        left = figure.add_subplot()
    _draw_spreads(left, screened, confirmed)
    left.set_ylabel(axis_name(course.metric, "SD over seeds of\n"))
    left.set_xlabel("trial")
    count_ticks(left)
    put_legend(figure, columns=3 if not is_wide else 5)


def _scores(runs: Sequence[SeedRun]) -> list[float]:
    found = (run.measures.get(METRIC) for run in runs)
    return [value for value in found if value is not None and math.isfinite(value)]


def _again(first: Sequence[float], fresh: Sequence[float]) -> _Again | None:
    if not first or not fresh:
        return None
    errors = [stdev(s) / math.sqrt(len(s)) if len(s) > 1 else 0.0 for s in (first, fresh)]
    return _Again(fmean(first), fmean(fresh), *errors)


def _noise(drawing: Drawing) -> tuple[_Spreads, _Spreads, list[_Again]]:
    """Return the spreads of screenings and of fresh seeds, and what was measured again."""
    name, store = drawing.course.campaign, drawing.store
    screened, confirmed, again = _Spreads(), _Spreads(), list[_Again | None]()
    heads = {record.found.trial for record in store.checkpoints(name)}
    chosen: dict[int, list[float]] = {}
    for record in store.each_trial(name):
        if (outcome := record.outcome) is None:
            continue
        many = outcome.evidence.confirmed if outcome.evidence else 0
        split = len(outcome.seed_runs) - many
        first, fresh = _scores(outcome.seed_runs[:split]), _scores(outcome.seed_runs[split:])
        screened.add(record.number, first)
        confirmed.add(record.number, fresh)
        again.append(_again(first, fresh))
        if record.number in heads:
            chosen[record.number] = fresh or first
    for checkpoint in store.checkpoints(name):
        found = checkpoint.found
        fresh = _scores(found.runs)
        confirmed.add(found.trial, fresh)
        again.append(_again(chosen.get(found.trial, []), fresh))
    return screened, confirmed, [one for one in again if one is not None]


def _draw_spreads(axes: Axes, screened: _Spreads, confirmed: _Spreads) -> None:
    low, high = visible([*screened.values, *confirmed.values], [0.0])
    for spreads, color, face, label in (
        (screened, GREY, "none", "screening"),
        (confirmed, BLACK, BLACK, "fresh seeds"),
    ):
        if spreads.values:
            axes.scatter(
                spreads.numbers,
                [min(value, high) for value in spreads.values],
                s=9.0,
                edgecolors=color,
                facecolors=face,
                linewidths=0.6,
                label=label,
                rasterized=len(spreads.values) > MANY,
            )
    values = [*screened.values, *confirmed.values]
    pooled = math.sqrt(fmean(value * value for value in values))
    if pooled <= high:
        axes.axhline(
            pooled, color=BLUE, linewidth=0.9, linestyle=(0, (4, 1.5)), label="root mean square"
        )
    axes.set_ylim(max(low, -0.03 * high), high * 1.04)
    axes.margins(x=0.02)


def _draw_again(axes: Axes, again: Sequence[_Again]) -> None:
    axes.errorbar(
        [one.first for one in again],
        [one.fresh for one in again],
        xerr=[HALF_WIDTH * one.first_error for one in again],
        yerr=[HALF_WIDTH * one.fresh_error for one in again],
        fmt="o",
        markersize=2.6,
        color=BLACK,
        elinewidth=0.5,
        rasterized=len(again) > MANY,
    )
    ends = [
        value + side * HALF_WIDTH * error
        for one in again
        for value, error in ((one.first, one.first_error), (one.fresh, one.fresh_error))
        for side in (-1, 1)
    ]
    low, high = visible(ends, ends)
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.plot(
        [low, high], [low, high], color=GREY, linewidth=0.7, linestyle=(0, (1, 2)), label="equal"
    )
