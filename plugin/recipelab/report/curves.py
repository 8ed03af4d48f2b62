"""The best score so far, arm by arm, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from recipelab.errors import RecipelabError

if TYPE_CHECKING:
    from recipelab.analysis.arms import RunFigures

KINDS = (".svg", ".png", ".pdf")


def check_plot(path: Path) -> None:
    """Makes sure that a picture can be drawn, before hours are spent on what it shows.

    Raises:
        RecipelabError: The library is not installed, or the file is of no kind that it writes.
    """
    if path.suffix not in KINDS:
        raise RecipelabError(f"--plot: {path} must end with one of {', '.join(KINDS)}")
    if not path.absolute().parent.is_dir():
        raise RecipelabError(f"--plot: there is no folder {path.absolute().parent}")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise RecipelabError("--plot needs matplotlib: install recipelab[plot]") from None


def draw(path: Path, runs: Mapping[str, Mapping[int, RunFigures]]) -> None:
    """Draws the mean over seeds for each arm, and the range from worst to best seed.

    Args:
        path: Where the picture goes.
        runs: Of each arm its campaigns by seed.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for arm, found in runs.items():
        columns = _columns([run.scores for run in found.values()])
        trials = range(len(columns))
        (line,) = axes.plot(trials, [fmean(column) for column in columns], label=arm)
        low, high = [min(c) for c in columns], [max(c) for c in columns]
        axes.fill_between(trials, low, high, color=line.get_color(), alpha=0.15)
    axes.set_xlabel("trials")
    axes.set_ylabel("best score so far")
    axes.legend()
    figure.savefig(path)


def _columns(scores: Sequence[Sequence[float]]) -> list[list[float]]:
    """The scores of all seeds after each number of trials; a shorter run keeps its last."""
    known = [one for one in scores if one]
    longest = max((len(one) for one in known), default=0)
    return [[one[min(place, len(one) - 1)] for one in known] for place in range(longest)]
