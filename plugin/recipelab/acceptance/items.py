"""Items: what a finite hidden set adds to the error of a score, and of a difference of two.

A score is a mean over runs and over the items of a hidden set. Seeds tell how much it moves from
run to run; they say nothing of how it would move with other items, which every run shares. With
``S`` seeds and ``n`` items, the variance of a mean over both is

    seeds / S + items / n,

where ``seeds`` is the variance of the runs' means over seeds, and ``items`` that of the items'
means over items: the two add, as for any mean over a table of rows and columns that are both drawn
(Owen, The pigeonhole bootstrap, Annals of Applied Statistics 1, 2007). What is peculiar to one item
in one run is in both terms, so that the sum is a little too large, never too small.

Where the items are drawn anew for every run (``fresh``), two runs share none: the runs' own spread
holds the error of the items already, and nothing is to be added.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

ITEM_BYTES = 4
"""An item is a 32-bit float, little-endian."""


@dataclass(frozen=True)
class ItemMean:
    """A mean over items, and the error that their number leaves in it.

    Attributes:
        mean: The mean, in the unit of the items.
        error: Its standard error over items.
        count: Number of items; of one run where they are drawn anew for each.
        fresh: Whether they are drawn anew for every run.
    """

    mean: float
    error: float
    count: int
    fresh: bool = False

    @property
    def added_error(self) -> float:
        """What adds to the standard error over seeds, in quadrature: 0 where seeds tell it all."""
        return 0.0 if self.fresh else self.error


def item_mean(runs: Sequence[bytes], *, fresh: bool = False) -> ItemMean | None:
    """Return the mean of a recipe's items over its runs.

    Args:
        runs: The items of each run, one order for all of them unless they are drawn anew.
        fresh: Whether they are drawn anew for every run.

    Returns:
        The mean; ``None`` if a run left no items, the runs differ in their number, or there are
        fewer than two.
    """
    rows = _rows(runs)
    return None if rows is None else _mean(rows, fresh=fresh)


def item_difference(
    candidate: Mapping[int, bytes], best: Mapping[int, bytes], *, fresh: bool = False
) -> ItemMean | None:
    """Return the mean difference of two recipes, candidate minus best, paired by item.

    Args:
        candidate: The items of its runs, by seed.
        best: Those of the recipe that it is compared with. Items that are drawn anew are paired by
            seed, and have to be drawn alike for both.
        fresh: Whether they are drawn anew for every run.

    Returns:
        The difference; ``None`` where :func:`item_mean` has none for one of them, or the two have
        not the same items.
    """
    if fresh:
        seeds = sorted(candidate.keys() & best.keys())
        candidate = {seed: candidate[seed] for seed in seeds}
        best = {seed: best[seed] for seed in seeds}
    own, other = _rows(list(candidate.values())), _rows(list(best.values()))
    if own is None or other is None or own.shape[1] != other.shape[1]:
        return None
    if fresh:
        return _mean(own - other, fresh=True)
    return _mean((own.mean(axis=0) - other.mean(axis=0))[None, :], fresh=False)


def agreement(first: bytes, second: bytes) -> float | None:
    """Return the correlation of two runs, item by item, which an order that moves brings to 0.

    Returns:
        The correlation; ``None`` if their numbers differ, or all items of a run are alike.
    """
    rows = _rows([first, second])
    if rows is None:
        return None
    about = rows - rows.mean(axis=1, keepdims=True)
    size = math.sqrt(float((about[0] ** 2).sum() * (about[1] ** 2).sum()))
    return float((about[0] * about[1]).sum()) / size if size else None


def _rows(runs: Sequence[bytes]) -> NDArray[float64] | None:
    """Return the items as a table, a row for each run and a column for each item."""
    import numpy

    sizes = {len(run) for run in runs}
    if len(sizes) != 1 or (size := sizes.pop()) % ITEM_BYTES or size < 2 * ITEM_BYTES:
        return None
    return numpy.stack([numpy.frombuffer(run, "<f4").astype(numpy.float64) for run in runs])


def _mean(rows: Any, *, fresh: bool) -> ItemMean:
    count = rows.shape[1]
    if fresh:  # Each run has items of its own: their errors are independent.
        error = math.sqrt(float(rows.var(axis=1, ddof=1).sum()) / count) / len(rows)
    else:
        error = math.sqrt(float(rows.mean(axis=0).var(ddof=1)) / count)
    return ItemMean(float(rows.mean()), error, count, fresh)
