"""Plots with a mark for each trial: the tree of trials, and the margins of gates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recipelab.analysis.course import Course, Measured, measured
from recipelab.core.errors import RecipelabError
from recipelab.core.text import shorten
from recipelab.core.trial import GateResult, Standing, Status
from recipelab.lineage import TrialBrief
from recipelab.report.plots.page import (
    BLACK,
    BLUE,
    GREY,
    HALF_WIDTH,
    MANY,
    NAME_CHARACTERS,
    RED,
    Drawing,
    axis_name,
    count_ticks,
    put_legend,
    visible,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_GATES = 8
"""Gates that a plot has room for; those that were missed most come first."""

ROOM = 150
"""So many marks of a kind have their full size; more of them get smaller."""

ROW_INCHES = 0.13
"""Height of a row of failures."""


@dataclass(frozen=True)
class Marks:
    """How the trials of one kind are drawn in the tree."""

    label: str
    marker: str
    size: float
    edge: str
    face: str


_MARKS = (
    Marks("no gain", "o", 5.0, "none", GREY),
    Marks("missed a limit", "v", 9.0, RED, "none"),
    Marks("unproven", "X", 22.0, BLUE, "white"),
    Marks("kept", "o", 18.0, BLACK, "white"),
    Marks("certified", "o", 18.0, BLACK, BLACK),
)


def _marks(trial: TrialBrief) -> Marks:
    nothing, missed, unproven, kept, certified = _MARKS
    if trial.status is Status.BASELINE or trial.standing is Standing.CERTIFIED:
        return certified
    if trial.status is Status.KEPT:
        return unproven if trial.standing is Standing.UNPROVEN else kept
    return nothing if trial.status is Status.DISCARDED else missed


def draw_tree(drawing: Drawing) -> None:
    """Draw the lineage: each trial at its score, joined with its parent; failures below."""
    course = drawing.course
    points = {trial.number: found for trial in course.judged if (found := measured(trial))}
    if not points:
        raise RecipelabError(f"campaign {course.campaign} has no measured trial: nothing to plot")
    failed = [t for t in course.judged if t.status is not None and t.number not in points]
    statuses = [one for one in Status if any(trial.status is one for trial in failed)]
    strip = ROW_INCHES * len(statuses) + 0.1
    height = drawing.width * (0.8 if drawing.width < 5 else 0.55)
    figure = drawing.begin(height + (strip if statuses else 0.0))
    if statuses:
        axes, below = figure.subplots(
            2, 1, sharex=True, gridspec_kw={"height_ratios": [height, strip]}
        )
        _draw_failures(below, failed, statuses)
    else:
        axes = below = figure.add_subplot()
    parents = [p.score for p in points.values() if _is_parent(course.trials[p.number])]
    low, high = visible((point.score for point in points.values()), parents)
    places = {n: (float(n), min(max(p.score, low), high)) for n, p in points.items()}
    _draw_branches(axes, course, places)
    _draw_points(axes, course, places)
    room = 0.03 * (high - low)
    axes.set_ylim(low - room, high + room)
    axes.set_ylabel(axis_name(course.metric))
    below.set_xlabel("trial")
    count_ticks(below)
    axes.margins(x=0.02)
    put_legend(figure, columns=3 if drawing.width < 5 else 5)


def _is_parent(trial: TrialBrief) -> bool:
    return trial.status is not None and trial.status.is_parent


def _draw_branches(axes: Axes, course: Course, places: Mapping[int, tuple[float, float]]) -> None:
    """Draw the lines from parents to children, those of kept trials above the others."""
    from matplotlib.collections import LineCollection

    lines: dict[bool, list[Any]] = {False: [], True: []}
    for number, place in places.items():
        trial = course.trials[number]
        lines[_is_parent(trial)].extend(
            (places[parent], place) for parent in trial.parents if parent in places
        )
    for is_kept, found in lines.items():
        axes.add_collection(
            LineCollection(
                found,
                colors=BLACK if is_kept else GREY,
                linewidths=1.0 if is_kept else 0.35,
                alpha=None if is_kept else 0.55,
                zorder=2 if is_kept else 1,
                rasterized=len(found) > MANY,
            )
        )


def _draw_points(axes: Axes, course: Course, places: Mapping[int, tuple[float, float]]) -> None:
    groups: dict[Marks, list[tuple[float, float]]] = {marks: [] for marks in _MARKS}
    for number, place in places.items():
        groups[_marks(course.trials[number])].append(place)
    for order, (marks, found) in enumerate(groups.items()):
        if found:
            axes.scatter(
                [place[0] for place in found],
                [place[1] for place in found],
                s=marks.size * min(1.0, max(0.3, ROOM / len(found))),
                marker=marks.marker,
                edgecolors=marks.edge,
                facecolors=marks.face,
                linewidths=0.7,
                label=marks.label,
                zorder=3 + order,
                rasterized=len(found) > MANY,
            )


def _draw_failures(axes: Axes, failed: Sequence[TrialBrief], statuses: Sequence[Status]) -> None:
    """Draw a row of ticks for each way to fail without a score."""
    for row, status in enumerate(statuses):
        places = [trial.number for trial in failed if trial.status is status]
        axes.scatter(
            places,
            [row] * len(places),
            marker="|",
            s=14,
            linewidths=0.5,
            color=BLACK,
            rasterized=len(places) > MANY,
        )
    axes.set_yticks(range(len(statuses)), [status.replace("_", " ") for status in statuses])
    axes.set_ylim(len(statuses) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


@dataclass
class _Margins:
    """The margins of one gate: of each judged trial, and of the head of the working line."""

    numbers: list[int]
    values: list[float]
    errors: list[float]
    missed: int = 0

    def add(self, number: int, gate: GateResult) -> None:
        # A limit of zero has no share of it: such a margin is as it was measured.
        unit = 100.0 / abs(gate.limit) if gate.limit else 1.0
        self.numbers.append(number)
        self.values.append(gate.margin * unit)
        self.errors.append((gate.error or 0.0) * unit)
        self.missed += not gate.passed


def draw_gates(drawing: Drawing) -> None:
    """Draw by how much trials hold their gates, a row for each gate, with the head's own."""
    course = drawing.course
    gates = _margins(drawing)
    if not gates:
        raise RecipelabError(f"campaign {course.campaign} has no judged gate: nothing to plot")
    ranked = sorted(gates, key=lambda name: (-gates[name].missed, list(gates).index(name)))
    shown = [name for name in gates if name in ranked[:MOST_GATES]]
    row = drawing.width * (0.4 if drawing.width < 5 else 0.2)
    figure = drawing.begin(0.35 + row * len(shown))
    rows = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(rows, shown, strict=True):
        _draw_margins(axes, gates[name], _heads(course))
        axes.set_title(shorten(name, 2 * NAME_CHARACTERS), loc="left", pad=2.0)
    figure.supylabel("margin (% of the limit)", fontsize=7.5)
    rows[-1].set_xlabel("trial")
    count_ticks(rows[-1])
    put_legend(figure, columns=3)


def _margins(drawing: Drawing) -> dict[str, _Margins]:
    found: dict[str, _Margins] = {}
    for record in drawing.store.each_trial(drawing.course.campaign):
        for gate in record.outcome.gates if record.outcome else ():
            if math.isfinite(gate.margin) and math.isfinite(gate.limit):
                found.setdefault(gate.name, _Margins([], [], [])).add(record.number, gate)
    return found


def _heads(course: Course) -> list[int]:
    """Return the trials that headed the working line, each once, in their order."""
    heads: Iterable[Measured] = (step.head for step in course.steps)
    return list(dict.fromkeys(head.number for head in heads))


def _draw_margins(axes: Axes, margins: _Margins, heads: Sequence[int]) -> None:
    by_number = dict(
        zip(margins.numbers, zip(margins.values, margins.errors, strict=True), strict=True)
    )
    line = [(number, *by_number[number]) for number in heads if number in by_number]
    # What is missed lies apart from what is held, and matters as much.
    held, missed = ([v for v in margins.values if (v >= 0.0) is side] for side in (True, False))
    low, high = visible(held, [0.0, *visible(missed, [0.0]), *(value for _, value, _ in line)])
    many = len(margins.values) > MANY
    for is_held, marker, color, size, label in (
        (True, "o", GREY, 4.0, "held"),
        (False, "x", RED, 9.0, "missed"),
    ):
        found = [
            (number, min(max(value, low), high))
            for number, value in zip(margins.numbers, margins.values, strict=True)
            if (value >= 0.0) is is_held
        ]
        if found:
            axes.scatter(
                [place for place, _ in found],
                [value for _, value in found],
                marker=marker,
                s=size,
                color=color,
                linewidths=0.0 if is_held else 0.7,
                label=label,
                rasterized=many,
            )
    if line:
        numbers = [*(number for number, *_ in line), max(margins.numbers)]
        values, errors = ([*column, column[-1]] for column in list(zip(*line, strict=True))[1:])
        low_band = [v - HALF_WIDTH * e for v, e in zip(values, errors, strict=True)]
        high_band = [v + HALF_WIDTH * e for v, e in zip(values, errors, strict=True)]
        axes.step(numbers, values, where="post", color=BLACK, label="working line")
        axes.fill_between(
            numbers, low_band, high_band, step="post", color=BLACK, alpha=0.15, linewidth=0
        )
    axes.axhline(0.0, color=BLACK, linewidth=0.6, linestyle=(0, (1, 2)))
    axes.set_ylim(low, high)
    axes.margins(x=0.02)
