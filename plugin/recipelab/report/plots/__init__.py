"""Plots of campaigns as vector graphics or pictures, of the size that a paper has room for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from recipelab.core.errors import RecipelabError, unknown_name

if TYPE_CHECKING:
    from recipelab.lineage import LineageStore

KINDS: Mapping[str, str] = {
    "best": "recipelab.report.plots.courses:draw_best",
    "tree": "recipelab.report.plots.trials:draw_tree",
    "gates": "recipelab.report.plots.trials:draw_gates",
    "surfaces": "recipelab.report.plots.groups:draw_surfaces",
    "noise": "recipelab.report.plots.groups:draw_noise",
    "cost": "recipelab.report.plots.courses:draw_cost",
}
"""The plots by name, as ``"module:function"``."""

SEVERAL = ("best", "cost")
"""Plots of any number of campaigns; the others are of one."""

AXES = ("trials", "hours", "device-hours", "cost")
"""What the best can be drawn against."""

SUFFIXES = (".svg", ".png", ".pdf")

WIDTHS: Mapping[str, float] = {"single": 3.35, "double": 7.0}
"""Widths by name in inches: one column of a paper, and two."""

MOST_INCHES = 40.0
LEAST_INCHES = 2.0


def check_plot(path: Path, option: str) -> None:
    """Check that a picture can be drawn, before time is spent on its contents.

    Args:
        path: The file of the picture.
        option: What named the file, for the message.

    Raises:
        RecipelabError: The library is not installed, or it does not write files with this ending.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise RecipelabError(f"{option}: {path} must end with one of {', '.join(SUFFIXES)}")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise RecipelabError("a plot needs matplotlib: pip install 'recipelab[plot]'") from None


def inches(width: str | float) -> float:
    """Return a width in inches.

    Args:
        width: A name of :data:`WIDTHS`, or inches.

    Raises:
        RecipelabError: It is neither, or out of bounds.
    """
    try:
        found = WIDTHS.get(str(width)) or float(width)
    except (TypeError, ValueError):
        found = 0.0
    if not LEAST_INCHES <= found <= MOST_INCHES:
        raise RecipelabError(
            f"width {str(width)!r} is not valid; valid: {', '.join(WIDTHS)}, or inches from "
            f"{LEAST_INCHES:g} to {MOST_INCHES:g}"
        )
    return found


def draw(
    kind: str,
    store: LineageStore,
    campaigns: Sequence[str],
    path: str | Path,
    *,
    width: str | float = "single",
    against: str = "trials",
    apart: bool = False,
    force: bool = False,
) -> None:
    """Draw a plot into a file. The same lineage gives the same bytes.

    Args:
        kind: One of :data:`KINDS`.
        store: The lineage.
        campaigns: Names of the campaigns; one, but for ``best`` and ``cost``.
        path: The file; its ending says whether it is ``.svg``, ``.pdf`` or ``.png``.
        width: A name of :data:`WIDTHS`, or inches.
        against: What ``best`` is drawn against; one of :data:`AXES`.
        apart: Whether each campaign has a line of its own where several are drawn, in place of the
            mean and the range of those that were asked to do the same.
        force: Whether a file that is there may be replaced.

    Raises:
        RecipelabError: matplotlib is not installed, an argument is not valid, there is nothing to
            draw, or the file cannot be written.
    """
    from recipelab.exchange.replacing import replacing

    path = Path(path)
    check_plot(path, "the plot's file")
    if kind not in KINDS:
        raise RecipelabError(unknown_name("plot", kind, KINDS))
    if against not in AXES:
        raise RecipelabError(unknown_name("axis", against, AXES))
    if against != "trials" and kind != "best":
        raise RecipelabError(f"plot {kind} is always against trials; only best can be drawn so")
    names = list(dict.fromkeys(campaigns))
    if not names:
        raise RecipelabError("name at least one campaign to plot")
    if len(names) > 1 and kind not in SEVERAL:
        raise RecipelabError(
            f"plot {kind} is of one campaign, not {len(names)}; of several: {', '.join(SEVERAL)}"
        )
    from recipelab.analysis.course import course_of
    from recipelab.report.plots.page import Drawing

    drawing = Drawing(
        store=store,
        courses=tuple(course_of(store, name) for name in names),
        width=inches(width),
        against=against,
        apart=apart,
    )
    module, _, function = KINDS[kind].partition(":")
    with replacing(path, force=force) as place, drawing.styled():
        getattr(import_module(module), function)(drawing)
        drawing.save(
            place, path.suffix.lower().removeprefix("."), title=f"{kind}: {', '.join(names)}"
        )
