"""Plots over the course of campaigns: the best so far, and what a kept trial has cost."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from recipelab.analysis.course import Course, Measured, Step
from recipelab.core.errors import RecipelabError
from recipelab.core.text import shorten
from recipelab.report.plots.page import (
    BLACK,
    GREY,
    HALF_WIDTH,
    LINES,
    NAME_CHARACTERS,
    ORANGE,
    Drawing,
    axis_name,
    count_ticks,
    put_legend,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_AXES: Mapping[str, tuple[str, Callable[[Step], float]]] = {
    "trials": ("trials", lambda step: step.trials),
    "hours": ("wall-clock time (h)", lambda step: step.hours),
    "device-hours": ("device time (h)", lambda step: step.device_hours),
    "cost": ("cost of models (US$)", lambda step: step.money),
}
"""Name and value of a horizontal axis, by what ``--against`` says."""

_COSTS: Mapping[str, Callable[[Step], float]] = {
    "device time (min)": lambda step: step.device_hours * 60.0,
    "tokens (thousands)": lambda step: step.tokens / 1000.0,
    "models (US$)": lambda step: step.money,
}
"""What a kept trial costs, with its unit."""


@dataclass(frozen=True)
class Stairs:
    """A quantity that jumps: it has each value from its place on until the next.

    Attributes:
        places: Where it jumps, ascending.
        values: The values from there on; as many.
    """

    places: Sequence[float]
    values: Sequence[float]

    def at(self, place: float) -> float | None:
        """Return the value at a place; ``None`` before the first."""
        found = bisect_right(self.places, place)
        return self.values[found - 1] if found else None


def draw_best(drawing: Drawing) -> None:
    """Draw the best so far: of one campaign with bands, of several with means and ranges."""
    _check_courses(drawing.courses)
    figure = drawing.begin(drawing.width * (0.72 if drawing.width < 5 else 0.5))
    axes = figure.add_subplot()
    label, value = _AXES[drawing.against]
    metric = drawing.courses[0].metric
    if len(drawing.courses) == 1:
        _draw_lines(axes, drawing.course, value)
        axes.set_ylabel(axis_name(metric))
    else:
        is_tested = all(course.is_tested for course in drawing.courses)
        stairs = {
            course.campaign: Stairs(
                [value(step) for step in course.steps],
                [(step.certified if is_tested else step.head).score for step in course.steps],
            )
            for course in drawing.courses
        }
        _draw_groups(axes, drawing, stairs)
        axes.set_ylabel(axis_name(metric, "certified " if is_tested else "best "))
    if drawing.against == "trials":
        count_ticks(axes)
    else:
        _check_axis(drawing)
    axes.set_xlabel(label)
    axes.margins(x=0.01)
    put_legend(figure, columns=2 if drawing.width < 5 else 4)


def _check_courses(courses: Sequence[Course]) -> None:
    """Check that there is something to draw, and that it is of one kind.

    Raises:
        RecipelabError: A campaign has no measured baseline, none has kept a trial, or they measure
            different things.
    """
    for course in courses:
        if not course.steps:
            raise RecipelabError(
                f"campaign {course.campaign} has no measured baseline: there is nothing to plot"
            )
    first = courses[0]
    for course in courses[1:]:
        if course.metric != first.metric:
            raise RecipelabError(
                f"campaigns {first.campaign} and {course.campaign} cannot share a plot: "
                f"{axis_name(first.metric)}, {first.metric.goal}, and {axis_name(course.metric)}, "
                f"{course.metric.goal}"
            )
    if not any(course.steps[-1].kept for course in courses):
        names = ", ".join(course.campaign for course in courses)
        raise RecipelabError(f"{names}: no trial was kept, so there is nothing but a baseline")


def _check_axis(drawing: Drawing) -> None:
    """Check that it is known what was spent, where that is the axis.

    Raises:
        RecipelabError: A campaign has nothing of it.
    """
    label, value = _AXES[drawing.against]
    for course in drawing.courses:
        if value(course.steps[-1]) <= 0.0:
            why = "it was imported" if course.is_imported else "nothing of it was booked"
            raise RecipelabError(
                f"--against {drawing.against}: {label} of campaign {course.campaign} is not "
                f"known, as {why}; valid: {', '.join(_AXES)}"
            )


def _draw_lines(axes: Axes, course: Course, value: Callable[[Step], float]) -> None:
    """Draw working line and certified recipe of a campaign, with their bands."""
    places = [value(step) for step in course.steps]
    start = course.steps[0].head.score
    axes.axhline(start, color=GREY, linewidth=0.7, linestyle=(0, (1, 2)), label="baseline")
    lines: list[tuple[str, str, object, list[Measured]]] = [
        ("working line", ORANGE, (0, (4, 1.2)), [step.head for step in course.steps])
    ]
    if course.is_tested:
        certified = [step.certified for step in course.steps]
        lines.append(("certified", BLACK, "-", certified))
    for label, color, dashes, line in lines:
        scores = [one.score for one in line]
        errors = [HALF_WIDTH * (one.error or 0.0) for one in line]
        low = [score - error for score, error in zip(scores, errors, strict=True)]
        high = [score + error for score, error in zip(scores, errors, strict=True)]
        axes.step(places, scores, where="post", color=color, linestyle=dashes, label=label)
        if any(errors):
            axes.fill_between(places, low, high, step="post", color=color, alpha=0.16, linewidth=0)


def _draw_groups(axes: Axes, drawing: Drawing, stairs: Mapping[str, Stairs]) -> None:
    """Draw mean and range of each group of campaigns."""
    for place, (label, names) in enumerate(groups_of(drawing).items()):
        color, dashes = LINES[place % len(LINES)]
        found = [stairs[name] for name in names if name in stairs]
        # A group begins where all its campaigns have begun.
        start = max((one.places[0] for one in found if one.places), default=0.0)
        places = sorted({x for one in found for x in one.places if x >= start})
        columns = [[v for one in found if (v := one.at(x)) is not None] for x in places]
        means = [fmean(column) for column in columns]
        axes.step(places, means, where="post", color=color, linestyle=dashes, label=label)
        if len(found) > 1:
            low, high = [min(column) for column in columns], [max(column) for column in columns]
            axes.fill_between(places, low, high, step="post", color=color, alpha=0.14, linewidth=0)


def groups_of(drawing: Drawing) -> dict[str, list[str]]:
    """Return the campaigns that were asked to do the same, by what tells them from the others."""
    courses = drawing.courses
    if drawing.apart:
        return {shorten(course.campaign, NAME_CHARACTERS): [course.campaign] for course in courses}
    keys = [key for key in dict.fromkeys(key for course in courses for key in course.facts)]
    told = [key for key in keys if len({course.facts.get(key) for course in courses}) > 1]
    groups: dict[tuple[str, ...], list[str]] = {}
    for course in courses:
        group = tuple(course.facts.get(key, "") for key in told)
        groups.setdefault(group, []).append(course.campaign)
    found: dict[str, list[str]] = {}
    for group, names in groups.items():
        words = ", ".join(word for word in group if word) or "mean"
        many = f" ({len(names)} campaigns)" if len(names) > 1 else ""
        label = shorten(words, NAME_CHARACTERS) + many
        # Two long names may be cut to the same.
        found[label if label not in found else f"{label} {len(found) + 1}"] = names
    return found


def draw_cost(drawing: Drawing) -> None:
    """Draw what a kept trial has cost so far, as trials go on: device time, tokens, money."""
    _check_courses(drawing.courses)
    for course in drawing.courses:
        if course.is_imported:
            raise RecipelabError(
                f"campaign {course.campaign} was imported: when it spent what is not known"
            )
    shown = {
        label: value
        for label, value in _COSTS.items()
        if any(value(course.steps[-1]) > 0.0 for course in drawing.courses)
    }
    if not shown:
        raise RecipelabError("the lineage has no device time, tokens or money of these campaigns")
    height = 0.3 + len(shown) * drawing.width * (0.36 if drawing.width < 5 else 0.2)
    figure = drawing.begin(height)
    rows = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (label, value) in zip(rows, shown.items(), strict=True):
        stairs = {}
        for course in drawing.courses:
            steps = [step for step in course.steps if step.kept]
            if steps:
                stairs[course.campaign] = Stairs(
                    [step.trials for step in steps], [value(step) / step.kept for step in steps]
                )
        _draw_groups(axes, drawing, stairs)
        axes.set_ylim(bottom=0.0)
        axes.set_ylabel(f"{label}\nper kept trial")
    count_ticks(rows[-1])
    rows[-1].set_xlabel("trials")
    if len(drawing.courses) > 1:
        put_legend(figure, columns=2 if drawing.width < 5 else 4)
