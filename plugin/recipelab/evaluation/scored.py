"""What a scorer leaves: the table of scores, and one number for each item of the hidden set.

Both files are the evaluator's own, written with no recipe near. So whatever is wrong with them is
the pack's fault, but for a score that is not finite: the predictions led there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from recipelab.acceptance.items import ITEM_BYTES, item_mean
from recipelab.core.trial import Failure, FailureKind, Phase, Status
from recipelab.evaluation.failures import EvaluatorFault, PhaseFailed, signature_of
from recipelab.evaluation.integrity import SCORE_FILE
from recipelab.sandbox.base import PhaseResult
from recipelab.sandbox.processes import MIB

SCORE_LIMIT_BYTES = 65_536
"""Size up to which a ``score.json`` is read."""

ITEMS_FILE = "items.f32"
"""Where the scorer writes items, below ``out/``."""

ITEMS_LIMIT_BYTES = 16 * MIB
"""Size up to which they are read: four million items."""

ITEMS_ROUNDING = 2.0**-18
"""How far the mean of the items may be from the score, as a share of their mean size: what 32-bit
floats round, in the file and in the arithmetic of a scorer that has no others."""


def read_score(folder: Path, result: PhaseResult, seed: int) -> dict[str, float]:
    """Read ``score.json``, which the pack's own evaluator wrote with no recipe near.

    Raises:
        EvaluatorFault: It is missing, too large, or no table of numbers.
        PhaseFailed: A number is not finite.
    """
    path = folder / SCORE_FILE
    if not path.is_file() or path.stat().st_size > SCORE_LIMIT_BYTES:
        raise EvaluatorFault(f"the scorer left no {SCORE_FILE} (or one over {SCORE_LIMIT_BYTES} B)")
    try:
        table = json.loads(path.read_text("utf-8"))
        measures = {f"score.{key}": float(value) for key, value in table.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise EvaluatorFault(f"{SCORE_FILE} is no table of numbers: {error}") from None
    not_finite = sorted(name for name, value in measures.items() if not math.isfinite(value))
    if not_finite:
        line = f"{not_finite[0]} is not a finite number"
        failure = Failure(Phase.SCORE, FailureKind.NAN, signature_of(line), line, seed)
        raise PhaseFailed(Status.CRASHED, failure, result)
    return measures


def read_items(folder: Path, measure: str, measures: Mapping[str, float]) -> bytes:
    """Read ``items.f32``: 32-bit floats, little-endian, whose mean is a measure.

    Args:
        folder: What the scorer left.
        measure: The measure that is their mean.
        measures: What was measured, that measure with it.

    Returns:
        The items as they are in the file.

    Raises:
        EvaluatorFault: The file is missing or too large, is not made of whole and finite floats, or
            their mean is another number than the measure.
    """
    path, where = folder / ITEMS_FILE, f"evaluator.items ({measure})"
    if not path.is_file():
        raise EvaluatorFault(f"{where}: the scorer left no {ITEMS_FILE}; write_items writes it")
    if (size := path.stat().st_size) > ITEMS_LIMIT_BYTES:
        raise EvaluatorFault(
            f"{where}: {ITEMS_FILE} has {size:,} bytes, over {ITEMS_LIMIT_BYTES:,}"
        )
    content = path.read_bytes()
    if size % ITEM_BYTES or (found := item_mean([content])) is None:
        text = f"two or more floats of {ITEM_BYTES} bytes"
        raise EvaluatorFault(f"{where}: {ITEMS_FILE} has {size:,} bytes, which are not {text}")
    if not math.isfinite(found.mean):
        raise EvaluatorFault(f"{where}: {ITEMS_FILE} has a number that is not finite")
    told = measures[measure]
    # The mean size of the items, from their mean and their spread.
    size_of_items = math.hypot(found.mean, found.error * math.sqrt(found.count))
    if abs(found.mean - told) > ITEMS_ROUNDING * max(size_of_items, abs(told)):
        raise EvaluatorFault(
            f"{where}: the mean of the {found.count:,} items is {found.mean:.8g}, and the measure "
            f"{told:.8g}; it has to be their mean"
        )
    return content
