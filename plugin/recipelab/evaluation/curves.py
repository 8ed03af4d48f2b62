"""Training curves: what a recipe appends to a file while it trains, and when that is hopeless.

The file is the recipe's own, so it is read as any output of code that nobody trusts, and nothing in
it counts as a score. A recipe that lies in it is stopped, or trains to its end and is measured.

A run is held against the finished runs of the campaign at the step that it has reached. The line
through their final values over their curves' values at that step (least squares) says how it would
end, with the error of one new observation: Student's t at ``n - 2`` degrees of freedom (Draper and
Smith, Applied Regression Analysis, 1998, section 3.1). A run is stopped if it is behind the best's
own curves there, and its chance to end within reach of the best is below the stated error, which
the looks of a run share.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from recipelab.core.trial import Outcome, SeedRun, Status
from recipelab.evaluation.metric import Incumbent
from recipelab.packs.judging_sections import Goal
from recipelab.packs.pack import Pack
from recipelab.packs.phase_sections import CurveSpec
from recipelab.sandbox.base import PhaseResult

CURVE = "curve."
"""Prefix of a curve's points among the measurements of a seed run, as ``curve.100``."""

CHECKED = "curve_checked"
"""Measurement: 1 if the run would have been stopped, and went on as a check."""

POINTS = 16
"""How many points of a curve are kept."""

LEAST_RUNS, LEAST_RECIPES = 8, 4
"""Finished runs, and recipes among them, before any run is stopped."""

LOOKS = (0.15, 0.3, 0.45, 0.6, 0.8)
"""Shares of the best's last step at which a run is looked at."""

SLACK = 1.0
"""Standard deviations of a run below the best from which a run is out of reach: one that is as
much better as is worth finding is hardly ever so unlucky."""

_LONGEST_LINE = 200

Curve = tuple[tuple[float, float], ...]
"""Points of step and value, with growing steps."""


class CurveReader:
    """Reads lines ``step,value`` that come in pieces; lines that are none are passed over."""

    def __init__(self) -> None:
        self._rest = b""
        self._too_long = False
        self._last = -math.inf

    def feed(self, piece: bytes) -> list[tuple[float, float]]:
        """Return the points that a piece completes: finite, and each step beyond the last."""
        *lines, rest = (self._rest + piece).split(b"\n")
        if lines and self._too_long:
            lines, self._too_long = lines[1:], False
        if len(rest) > _LONGEST_LINE:
            rest, self._too_long = b"", True
        self._rest = rest
        found = []
        for line in lines:
            point = _point(line)
            if point is not None and point[0] > self._last:
                self._last = point[0]
                found.append(point)
        return found


def _point(line: bytes) -> tuple[float, float] | None:
    words = line.split(b",")
    if len(line) > _LONGEST_LINE or len(words) != 2:
        return None
    try:
        step, value = float(words[0]), float(words[1])
    except ValueError:
        return None
    return (step, value) if math.isfinite(step) and math.isfinite(value) else None


def curve_measures(content: bytes) -> dict[str, float]:
    """Return at most :data:`POINTS` points of a curve, spread over it, as measurements.

    Args:
        content: What the recipe left in the file.
    """
    points = CurveReader().feed(content + b"\n")
    count = min(POINTS, len(points))
    chosen = {round((len(points) - 1) * i / max(1, count - 1)) for i in range(count)}
    return {f"{CURVE}{points[i][0]:.9g}": points[i][1] for i in sorted(chosen)}


def curve_words(content: bytes) -> str:
    """Return the points of a training that did not come to its end; empty if there are none.

    Args:
        content: What the recipe left in the file.
    """
    points = [
        f"{name.removeprefix(CURVE)}: {value:.4g}"
        for name, value in curve_measures(content).items()
    ]
    return f"its curve until then (step: value): {', '.join(points)}" if points else ""


def curve_of(run: SeedRun) -> Curve:
    """Return the points of a seed run's curve that are kept."""
    found = []
    for name, value in run.measures.items():
        if name.startswith(CURVE):
            found.append((float(name.removeprefix(CURVE)), value))
    return tuple(sorted(found))


def value_at(curve: Curve, step: float) -> float | None:
    """Return the value of a curve at a step, on the line between its points.

    Returns:
        The value; ``None`` before the first and behind the last point.
    """
    place = bisect_left(curve, (step, -math.inf))
    if place == len(curve):
        return None
    if curve[place][0] == step:
        return curve[place][1]
    if place == 0:
        return None
    (x0, y0), (x1, y1) = curve[place - 1], curve[place]
    share = (step - x0) / (x1 - x0)
    return y0 * (1.0 - share) + y1 * share


def chance_to_end(pairs: Sequence[tuple[float, float]], value: float, need: float) -> float:
    """Return the chance that a run which is at a value ends at least at what is needed.

    Args:
        pairs: Of each finished run its value at that step, and how it ended; both are the better
            the larger they are.
        value: The value of the run in question.
        need: What it has to reach.

    Returns:
        The chance; 1 where the finished runs do not tell: too few, all at one value, or such that a
        better value ends worse.
    """
    count = len(pairs)
    if count < 3:
        return 1.0
    mean_x, mean_y = fmean(x for x, _ in pairs), fmean(y for _, y in pairs)
    sum_xx = math.fsum((x - mean_x) ** 2 for x, _ in pairs)
    sum_xy = math.fsum((x - mean_x) * (y - mean_y) for x, y in pairs)
    if not sum_xx > 0.0 or not sum_xy > 0.0:
        return 1.0
    slope = sum_xy / sum_xx
    left = math.fsum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in pairs) / (count - 2)
    off = value - mean_x
    error = math.sqrt(left * (1.0 + 1.0 / count + off * off / sum_xx))
    distance = need - (mean_y + slope * off)
    if not math.isfinite(distance) or not math.isfinite(error):
        return 1.0
    if error == 0.0:
        return float(distance <= 0.0)
    from scipy.special import stdtr

    return float(stdtr(count - 2, -distance / error))


@dataclass(frozen=True)
class Stop:
    """Why a run was stopped, or would have been.

    Attributes:
        step: The step that it had reached.
        value: The value of its curve there.
        best: The mean value of the best's curves there.
        chance: Its chance to end within reach of the best.
    """

    step: float
    value: float
    best: float
    chance: float

    @property
    def words(self) -> str:
        """The stop in words."""
        return (
            f"stopped on its training curve at step {self.step:g}: {self.value:.4g}, and the best "
            f"had {self.best:.4g} (chance {self.chance:.2g} to end within reach of it)"
        )


@dataclass
class CurveRace:
    """One run, held against what is known of curves while it trains.

    Attributes:
        spec: What the pack says of its curves.
        finished: Curve and final value of the campaign's finished runs.
        best: The curves of the best among them.
        need: The final value that a run within reach of the best has at least, or at most.
        ends: Which way the final value is better.
        error: Chance below which a run is stopped, over all of its looks.
        is_check: Whether it goes on all the same.
        stop: Why it was stopped, or would have been; ``None`` as long as nothing speaks against it.
    """

    spec: CurveSpec
    finished: tuple[tuple[Curve, float], ...]
    best: tuple[Curve, ...]
    need: float
    ends: Goal
    error: float
    is_check: bool = False
    stop: Stop | None = None
    _reader: CurveReader = field(default_factory=CurveReader)
    _looked: int = 0

    @property
    def looks(self) -> tuple[float, ...]:
        """The steps at which the run is looked at."""
        last = fmean(curve[-1][0] for curve in self.best)
        return tuple(share * last for share in LOOKS)

    def tell(self, piece: bytes) -> bool:
        """Take what was appended to the file; return whether to stop the run."""
        for step, value in self._reader.feed(piece):
            if self.stop is None:
                self._look(step, value)
        return self.stop is not None and not self.is_check

    def _look(self, step: float, value: float) -> None:
        due = sum(step >= look for look in self.looks)
        if due <= self._looked:
            return
        self._looked = due
        known = [found for curve in self.best if (found := value_at(curve, step)) is not None]
        if not known or self.spec.goal.sign * (value - fmean(known)) >= 0.0:
            return
        pairs = [
            (self.spec.goal.sign * found, self.ends.sign * end)
            for curve, end in self.finished
            if (found := value_at(curve, step)) is not None
        ]
        if len(pairs) < LEAST_RUNS:
            return
        chance = chance_to_end(pairs, self.spec.goal.sign * value, self.ends.sign * self.need)
        if chance < self.error / len(LOOKS):
            self.stop = Stop(step, value, fmean(known), chance)


class StoppedOnCurve(Exception):
    """A training was stopped because its curve is hopeless: no failure, and no score.

    Attributes:
        stop: Where, and why.
        result: What the sandbox saw.
    """

    def __init__(self, stop: Stop, result: PhaseResult) -> None:
        super().__init__(stop.words)
        self.stop = stop
        self.result = result


class CurveBook:
    """The curves of a campaign's finished runs, as far as this process knows them.

    Args:
        spec: What the pack says of its curves.
    """

    def __init__(self, spec: CurveSpec) -> None:
        self.spec = spec
        self._runs: dict[tuple[str, int], tuple[Curve, float]] = {}
        self._checks: dict[str, bool] = {}

    def note_check(self, trial: str, outcome: Outcome) -> str:
        """Note how a trial ended whose runs went on as a check.

        Args:
            trial: Its number.
            outcome: Its outcome.

        Returns:
            What is to be said of it; empty for a trial that would not have been stopped.
        """
        if not any(run.measures.get(CHECKED) for run in outcome.seed_runs):
            return ""
        confirmed = outcome.evidence is not None and outcome.evidence.confirmed > 0
        self._checks[trial] = confirmed or outcome.status is Status.KEPT
        changed, count = sum(self._checks.values()), len(self._checks)
        return (
            "went on as a check where its curve would have had it stopped; so far that would have "
            f"changed the verdict of {changed} of {count} such trials"
        )

    def add(self, recipe: str, runs: Iterable[SeedRun]) -> None:
        """Add finished runs of a recipe; those without a curve tell nothing.

        Args:
            recipe: What tells it from others.
            runs: Its runs.
        """
        for run in runs:
            curve, end = curve_of(run), run.measures.get(self.spec.foretells)
            if curve and end is not None:
                self._runs[recipe, run.seed] = (curve, end)

    def race(
        self, best: Sequence[SeedRun], need: float, ends: Goal, error: float, *, is_check: bool
    ) -> CurveRace | None:
        """Return what one more run is held against.

        Args:
            best: The runs of the best.
            need: As in :class:`CurveRace`.
            ends: Which way the final value is better.
            error: As in :class:`CurveRace`.
            is_check: As in :class:`CurveRace`.

        Returns:
            The race; ``None`` as long as too little is known of curves.
        """
        curves = tuple(curve for run in best if (curve := curve_of(run)))
        recipes = {recipe for recipe, _ in self._runs}
        if not curves or len(self._runs) < LEAST_RUNS or len(recipes) < LEAST_RECIPES:
            return None
        finished = tuple(self._runs.values())
        return CurveRace(self.spec, finished, curves, need, ends, error, is_check)


def race_against(
    book: CurveBook, pack: Pack, best: Incumbent, *, is_check: bool
) -> CurveRace | None:
    """Return what a trial's training is held against: the best, or the limit of a gate.

    Args:
        book: The curves that are known.
        pack: Says what curves foretell: the metric, or what a gate is on.
        best: The best, whose noise says what is within reach of it.
        is_check: Whether the run goes on all the same.

    Returns:
        The race; ``None`` where too little is known, or runs are not to be stopped.
    """
    spec, noise = book.spec, best.noise
    spread = noise.measures.get(spec.foretells) if noise is not None else None
    if spread is None or spec.error <= 0.0:
        return None
    runs = tuple(best.runs.values())
    book.add(str(best.number), runs)
    if spec.foretells == pack.metric.measure:
        ends, limit = pack.metric.goal, best.mean(spec.foretells)
    else:
        gates = [gate for gate in pack.gates if gate.measure == spec.foretells]
        gate = next((gate for gate in gates if not gate.relative), None)
        if gate is None:
            return None
        ends = Goal.MAXIMIZE if gate.at_least is not None else Goal.MINIMIZE
        limit = gate.limit
    need = limit - ends.sign * SLACK * spread.sd
    return book.race(runs, need, ends, spec.error, is_check=is_check)
