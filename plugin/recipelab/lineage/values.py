"""Convert values on their way into the database and back: text, JSON, times, finite numbers."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from recipelab.core.trial import Checkpoint, GateResult, Outcome, Phase, PhaseTiming, SeedRun

CUT_MARK = "…[cut]"
"""Stands where text was cut off."""

HYPOTHESIS_CHARACTERS = 4_000
REASON_CHARACTERS = 4_000
EXCERPT_CHARACTERS = 4_000
SIGNATURE_CHARACTERS = 500
NAME_CHARACTERS = 200
ENVIRONMENT_CHARACTERS = 1_000
LOG_CHARACTERS = 16_000
DIFF_CHARACTERS = 200_000

LARGEST_INTEGER = 2**63 - 1
"""Largest integer that a database stores; models send larger ones."""

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def clean(text: str) -> str:
    """Replace NUL characters and lone surrogates, which databases refuse, by U+FFFD."""
    # Most text is plain, and a recipe is long.
    if text.isascii() and "\0" not in text:
        return text
    return _UNSTORABLE.sub("\ufffd", text)


def cut(text: str, limit: int) -> str:
    """Clean text and keep its beginning; the mark counts towards the limit of characters."""
    text = clean(text)
    return text if len(text) <= limit else text[: limit - len(CUT_MARK)] + CUT_MARK


def cut_front(text: str, limit: int) -> str:
    """Clean text and keep its end, which is where a log shows the cause."""
    text = clean(text)
    return text if len(text) <= limit else CUT_MARK + text[len(CUT_MARK) - limit :]


def cut_name(name: str) -> str:
    """Clean a name and cut it to the length of a name column."""
    return cut(name, NAME_CHARACTERS)


def to_json(table: Mapping[str, Any]) -> str:
    """Serialize a table with its text cleaned; numbers that JSON lacks become ``null``.

    Raises:
        TypeError: A value is not plain data.
    """
    return json.dumps(_clean_json(table), ensure_ascii=False, allow_nan=False)


def _clean_json(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {clean(str(key)): _clean_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean_json(item) for item in value]
    return value


def now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def to_stamp(when: datetime) -> str:
    """Return the text under which a time is stored: ISO 8601 in UTC, so that text order is time
    order. A time without a zone is taken as UTC.
    """
    when = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    return when.isoformat(timespec="microseconds")


def from_stamp(stamp: str) -> datetime:
    """Return the time that :func:`to_stamp` made the text of."""
    return datetime.fromisoformat(stamp)


def from_optional_stamp(stamp: str | None) -> datetime | None:
    """Return the time behind a column that may be empty."""
    return None if stamp is None else datetime.fromisoformat(stamp)


# Most trials have one parent, and many the same.
@lru_cache(maxsize=4096)
def parent_numbers(parents: str) -> tuple[int, ...]:
    """Return the numbers of a trial's parents from their column."""
    return tuple(json.loads(parents))


def gates_json(gates: Sequence[GateResult]) -> str:
    """Serialize judged gates."""
    rows = [(clean(g.name), g.value, g.limit, g.margin, g.error) for g in gates]
    return json.dumps(rows, ensure_ascii=False)


def runs_json(runs: Sequence[SeedRun]) -> str:
    """Serialize seed runs."""
    rows = (f"[{run.seed}, {timings_json(run)}, {measures_json(run)}]" for run in runs)
    return f"[{', '.join(rows)}]"


def timings_json(run: SeedRun) -> str:
    """Serialize the timings of a seed run."""
    return json.dumps(
        [[t.phase.value, t.wall_seconds, t.cpu_seconds, t.peak_memory_mb] for t in run.timings]
    )


def measures_json(run: SeedRun) -> str:
    """Serialize the measurements of a seed run."""
    measures = {clean(name): float(value) for name, value in run.measures.items()}
    return json.dumps(measures, ensure_ascii=False)


def seed_run(seed: int, timings: list[Any], measures: dict[str, float]) -> SeedRun:
    """Build a seed run from its parsed columns."""
    timed = tuple(PhaseTiming(Phase(phase), *rest) for phase, *rest in timings)
    return SeedRun(seed, timed, measures)


def check_outcome(outcome: Outcome) -> None:
    """Check that every figure of an outcome is finite.

    Raises:
        ValueError: One is not; the message names it.
    """
    for name in ("score", "score_se", "delta", "delta_se"):
        require_finite(name, getattr(outcome, name))
    for gate in outcome.gates:
        _check_gate(gate)
    for run in outcome.seed_runs:
        check_seed_run(run)
    if outcome.evidence is not None:
        for name in ("saved_seconds", "p", "level", "parent_delta", "parent_delta_se"):
            require_finite(name, getattr(outcome.evidence, name))
    # Each part may be finite and their sum too large.
    require_finite("cpu_seconds", outcome.cpu_seconds)


def check_checkpoint(found: Checkpoint) -> None:
    """Check that every figure of a checkpoint is finite, and that it ended in one way.

    Raises:
        ValueError: It is not; the message names it.
    """
    if found.held and found.fell_back:
        raise ValueError("a checkpoint that held cannot have fallen back")
    for name in ("delta", "delta_se", "delta_low", "delta_high", "p", "level"):
        require_finite(name, getattr(found, name))
    for gate in found.gates:
        _check_gate(gate)
    for run in (*found.runs, *found.against_runs):
        check_seed_run(run)


def _check_gate(gate: GateResult) -> None:
    for name in ("value", "limit", "margin", "error"):
        require_finite(name, getattr(gate, name))


def check_seed_run(run: SeedRun) -> None:
    """Check that every figure of a seed run is finite, and its seed not too large to store.

    Raises:
        ValueError: One is not; the message names it.
    """
    if abs(run.seed) > LARGEST_INTEGER + 1:
        raise ValueError(f"seed is too large to store: {run.seed}")
    for name, value in run.measures.items():
        require_finite(name, value)
    for timing in run.timings:
        for name in ("wall_seconds", "cpu_seconds", "peak_memory_mb"):
            require_finite(name, getattr(timing, name))


def require_finite(name: str, value: float | None) -> None:
    """Check that a figure is finite, if there is one.

    Raises:
        ValueError: It is not; the message names it.
    """
    if value is not None and not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, not {value}")
