"""Parts of a ``pack.toml`` about measurements: the metric and the gates."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from recipelab.pack_parts import Part
from recipelab.trial import Phase, Status

SANDBOX_MEASURES = ("cpu_seconds", "wall_seconds", "peak_memory_mb")
"""What the sandbox measures of a phase, as in ``train.cpu_seconds``."""
PACKED = "submission.packed_bytes"
SIZE_MEASURES = ("artifact.bytes", "recipe.bytes", "submission.bytes", PACKED)
"""What the evaluator measures of files, without running anything; a submission is both.

Packed, the code counts as a contest's authors hand it in: its editable files as a Python file that
unpacks and runs them.
"""


class Goal(StrEnum):
    """Which way the metric is better."""

    MINIMIZE = "minimize"
    MAXIMIZE = "maximize"

    @property
    def sign(self) -> int:
        """+1 if larger is better, else -1."""
        return 1 if self is Goal.MAXIMIZE else -1


def check_measure(name: str) -> str:
    """Checks the name of a measurement.

    Raises:
        ValueError: It is neither of the sandbox, nor of a file size, nor of the scorer.
    """
    head, _, tail = name.partition(".")
    of_sandbox = head in tuple(Phase) and tail in SANDBOX_MEASURES
    of_scorer = head == "score" and tail.isidentifier()
    if not (of_sandbox or of_scorer or name in SIZE_MEASURES):
        valid = [f"<phase>.{x}" for x in SANDBOX_MEASURES]
        raise ValueError(
            f"no such measurement {name!r}; valid: {', '.join([*valid, *SIZE_MEASURES])}, "
            f"score.<key of score.json>; phases: {', '.join(Phase)}"
        )
    return name


class Metric(Part):
    """The score: one measurement, averaged over seeds.

    With ``side_by_side`` the best trains again beside every trial, seed by seed and on the same
    slot, and the two are compared at that moment: a time means little on a machine that drifts.
    CPU times are compared while both run at once, wall-clock times (as on GPUs) in turns, best
    trial trial best; where the best's own times are further apart than ``drift``, a share of their
    mean, the comparison is repeated.

    With ``charge_predict`` the time that predict takes beyond the baseline's own is added to the
    metric, so that nothing is won by moving work from train to predict.
    """

    name: str
    unit: str
    goal: Goal
    measure: str
    side_by_side: bool = False
    charge_predict: bool = False
    drift: float = Field(default=0.05, gt=0)

    _measure = field_validator("measure")(check_measure)

    @model_validator(mode="after")
    def _of_training(self) -> Self:
        times = (f"{Phase.TRAIN}.cpu_seconds", f"{Phase.TRAIN}.wall_seconds")
        for key in ("side_by_side", "charge_predict"):
            if getattr(self, key) and self.measure not in times:
                raise ValueError(f"{key} is for the measures {' and '.join(times)}")
        return self

    @property
    def in_turns(self) -> bool:
        """Whether trial and best run in turns, and not at the same moment."""
        return self.side_by_side and self.measure == f"{Phase.TRAIN}.wall_seconds"

    @property
    def predict_measure(self) -> str:
        """The measurement of predict that answers to that of train, as ``predict.cpu_seconds``."""
        return f"{Phase.PREDICT}.{self.measure.partition('.')[2]}"


class Gate(Part):
    """A pass/fail limit beside the score, on a measurement averaged over seeds."""

    name: str
    measure: str
    at_least: float | None = None
    at_most: float | None = None
    failure: Literal[
        Status.GATE_MISSED,
        Status.OVERSIZE,
        Status.TRAIN_OVERRUN,
        Status.EVAL_OVERRUN,
        Status.ILLEGAL,
    ] = Status.GATE_MISSED

    _measure = field_validator("measure")(check_measure)

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("a gate has exactly one of: at_least, at_most")
        return self

    @property
    def limit(self) -> float:
        """The limit, whichever way it points."""
        return self.at_least if self.at_least is not None else float(self.at_most or 0.0)

    def margin(self, value: float) -> float:
        """Signed distance of a value to the limit; negative when the gate is missed."""
        return value - self.limit if self.at_least is not None else self.limit - value
