"""What all plots share: size, style, names of axes, and files that are the same every time."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, Any

from recipelab.core.text import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from recipelab.analysis.course import Course
    from recipelab.exchange.metric import MetricFacts
    from recipelab.lineage import LineageStore

BLACK, BLUE, ORANGE, RED, GREY = "#000000", "#0072B2", "#E69F00", "#D55E00", "#999999"
"""Colors that the color-blind can tell apart, after Okabe and Ito (2008), and a grey."""

LINES: Sequence[tuple[str, Any]] = (
    (BLACK, "-"),
    (BLUE, (0, (5, 1.5))),
    (ORANGE, (0, (4, 1, 1, 1))),
    ("#009E73", (0, (1.2, 1.2))),
    ("#CC79A7", (0, (7, 1, 1, 1, 1, 1))),
    ("#56B4E9", "-"),
)
"""Color and dashes of the lines of a plot: whoever prints it in grey has the dashes."""

HALF_WIDTH = 1.96
"""Half the width of a band in standard errors: 95 % of a normal distribution."""

MANY = 3000
"""From so many marks on they are one picture within the vector graphic."""

NAME_CHARACTERS = 28

_STYLE: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 7.5,
    "axes.labelsize": 7.5,
    "axes.titlesize": 7.5,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "legend.frameon": False,
    # A name with $ is a name, and no formula.
    "text.parse_math": False,
    "text.usetex": False,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "recipelab",
    "savefig.dpi": 300,
    "figure.dpi": 300,
}

_PAGE: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": "recipelab"},
    "pdf": {"CreationDate": None, "Creator": "recipelab"},
    "png": {"Software": "recipelab"},
}


@dataclass
class Drawing:
    """A plot that is being drawn.

    Attributes:
        store: The lineage.
        courses: The courses of the campaigns.
        width: Its width in inches.
        against: What ``best`` is drawn against.
        apart: Whether each campaign has a line of its own.
        figure: What is drawn, once :meth:`begin` was called.
    """

    store: LineageStore
    courses: Sequence[Course]
    width: float
    against: str = "trials"
    apart: bool = False
    figure: Figure | None = field(default=None, init=False)

    @property
    def course(self) -> Course:
        """The course of the only campaign."""
        (course,) = self.courses
        return course

    @contextmanager
    def styled(self) -> Iterator[None]:
        """Give the style of our plots, whatever the user's own settings are."""
        import matplotlib

        with matplotlib.rc_context(), warnings.catch_warnings():
            # A name in a script that the font lacks is drawn as boxes, and is no fault.
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_STYLE)
            yield

    def begin(self, height: float) -> Figure:
        """Return the empty figure.

        Args:
            height: Its height in inches.
        """
        from matplotlib.figure import Figure

        self.figure = Figure(figsize=(self.width, height), layout="constrained")
        if heading := next((one.heading for one in self.courses if one.heading), ""):
            words = max(30, int(self.width * 19))
            self.figure.suptitle(shorten(heading, 2 * words), fontsize=5.5, color=GREY, wrap=True)
        return self.figure

    def save(self, path: Path, kind: str, *, title: str) -> None:
        """Write what was drawn.

        Args:
            path: Where to.
            kind: ``svg``, ``pdf`` or ``png``.
            title: What the file is about, for those who do not see it.
        """
        if self.figure is None:
            raise RuntimeError("nothing is drawn yet")
        page = _PAGE[kind] | {"Title": shorten(title, 200)}
        self.figure.savefig(path, format=kind, metadata=page)


def axis_name(metric: MetricFacts, prefix: str = "") -> str:
    """Return the name of an axis of scores, with the unit."""
    unit = f" ({shorten(metric.unit, NAME_CHARACTERS)})" if metric.unit else ""
    return f"{prefix}{shorten(metric.name, NAME_CHARACTERS)}{unit}"


def count_ticks(axes: Axes) -> None:
    """Let the ticks of the horizontal axis be whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))


def put_legend(figure: Figure, columns: int) -> None:
    """Put the legend above the axes, where it hides nothing; none if there is nothing to tell."""
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if handles:
        figure.legend(
            list(handles.values()), list(handles), loc="outside upper left", ncols=columns,
            handlelength=2.6, columnspacing=1.2, borderaxespad=0.2,
        )  # fmt: skip


def visible(values: Iterable[float], must: Iterable[float]) -> tuple[float, float]:
    """Return the range of an axis that shows what must be seen, and most of the rest.

    A diverged trial may be a thousand times worse than the others; it is drawn at the edge.

    Args:
        values: All values.
        must: Those that have to be within the range.
    """
    need = [value for value in must if math.isfinite(value)]
    rest = [value for value in values if math.isfinite(value)]
    if len(rest) > 3:
        low, *_, high = quantiles(rest, n=4)
        reach = 1.5 * (high - low)
        rest = [value for value in rest if low - reach <= value <= high + reach]
    found = [*need, *rest] or [0.0]
    low, high = min(found), max(found)
    room = 0.06 * (high - low) or abs(high) * 0.05 or 1.0
    return low - room, high + room
