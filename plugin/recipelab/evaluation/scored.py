"""What a scorer leaves: the table of scores, and one number for each item of the hidden set.

Both files are the evaluator's own, written with no recipe near. So whatever is wrong with them is
the pack's fault, but for a score that is not finite: the predictions led there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from recipelab.acceptance.items import ITEM_BYTES, item_mean
from recipelab.core.text import plain
from recipelab.core.trial import Failure, FailureKind, Phase, Status
from recipelab.evaluation.failures import EvaluatorFault, PhaseFailed, signature_of
from recipelab.evaluation.integrity import SCORE_FILE
from recipelab.sandbox.base import PhaseResult
from recipelab.sandbox.processes import MIB

SCORE_LIMIT_BYTES = 65_536
"""Size up to which a ``score.json`` is read."""

SHOWN_LINES, SHOWN_CHARACTERS = 32, 300
"""How much of what is no number is shown."""

ITEMS_FILE = "items.f32"
"""Where the scorer writes items, below ``out/``."""

ITEMS_LIMIT_BYTES = 16 * MIB
"""Size up to which they are read: four million items."""

ITEMS_ROUNDING = 2.0**-18
"""How far the mean of the items may be from the score, as a share of their mean size: what 32-bit
floats round, in the file and in the arithmetic of a scorer that has no others."""


def read_score(
    folder: Path, result: PhaseResult, seed: int, judged: Collection[str]
) -> tuple[dict[str, float], dict[str, Any]]:
    """Read ``score.json``, which the pack's own evaluator wrote with no recipe near.

    Args:
        folder: What the scorer left.
        result: What the sandbox saw of it.
        seed: The seed of the run.
        judged: The measures that decide, as ``score.loss``; these have to be finite numbers.

    Returns:
        The finite numbers, and all else that is there: texts, tables, lists, numbers that are not
        finite. That is shown and not judged.

    Raises:
        EvaluatorFault: It is missing, too large, or no table, or what is judged is no number.
        PhaseFailed: A number that is judged is not finite.
    """
    path = folder / SCORE_FILE
    if not path.is_file() or path.stat().st_size > SCORE_LIMIT_BYTES:
        raise EvaluatorFault(f"the scorer left no {SCORE_FILE} (or one over {SCORE_LIMIT_BYTES} B)")
    try:
        table = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise EvaluatorFault(f"{SCORE_FILE} is no JSON: {error}") from None
    if not isinstance(table, dict):
        raise EvaluatorFault(f"{SCORE_FILE} is no table but {str(table)[:SHOWN_CHARACTERS]!r}")
    measures: dict[str, float] = {}
    shown: dict[str, Any] = {}
    for key, value in table.items():
        name, number = f"score.{key}", _number(value)
        if number is not None and math.isfinite(number):
            measures[name] = number
        elif name not in judged:
            shown[name] = value
        elif number is None:
            text = f"{SCORE_FILE}: {name} is judged, so it has to be a number"
            raise EvaluatorFault(f"{text} (it is {str(value)[:SHOWN_CHARACTERS]!r})")
        else:
            line = f"{name} is not a finite number"
            failure = Failure(Phase.SCORE, FailureKind.NAN, signature_of(line), line, seed)
            raise PhaseFailed(Status.CRASHED, failure, result)
    return measures, shown


def _number(value: Any) -> float | None:
    if not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def shown_text(shown: Mapping[str, Any]) -> str:
    """Return lines on what a scorer left besides numbers, for people."""
    lines = []
    for name, value in list(shown.items())[:SHOWN_LINES]:
        text = plain(json.dumps(value, ensure_ascii=False))[:SHOWN_CHARACTERS]
        lines.append(f"{plain(name)[:SHOWN_CHARACTERS]}: {text} (not judged)")
    return "\n".join(lines)


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
