"""The three tasks whose runs were released: their columns, limits and machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recipelab.errors import RecipelabError
from recipelab.exchange.mark import MetricFacts
from recipelab.pack_measures import Goal
from recipelab.trial import GateResult, Status

STATUSES = {
    "baseline": Status.BASELINE,
    "keep": Status.KEPT,
    "discard": Status.DISCARDED,
    "crash": Status.CRASHED,
    "preflight_crash": Status.CRASHED,
    "size_blocked": Status.OVERSIZE,
    "train_budget_overrun": Status.TRAIN_OVERRUN,
    "eval_budget_overrun": Status.EVAL_OVERRUN,
    "disqualified": Status.GATE_MISSED,
    "harness_abort": Status.ABORTED,
}
"""What the statuses of a released run are here."""

_ROUNDING = 5e-7
"""Half of the last digit that a released run prints."""


@dataclass(frozen=True)
class ReleasedGate:
    """A limit of a task.

    Attributes:
        column: Column of the measured value.
        limit: The limit.
        sign: +1 if the value must not be below the limit, -1 if it must not be above.
        status: How a trial ends that misses it.
    """

    column: str
    limit: float
    sign: int
    status: Status

    def judge(self, value: float, status: Status) -> GateResult:
        """The gate of a trial; the released status decides where rounding hides a miss."""
        margin = self.sign * (value - self.limit)
        if status is self.status:
            margin = min(margin, -_ROUNDING)
        return GateResult(self.column, value, self.limit, margin)


@dataclass(frozen=True)
class ReleasedTask:
    """A task of the release.

    Attributes:
        name: Its name.
        metric: What the score is.
        column: Column of the score in ``results.tsv`` and ``tree.tsv``.
        stands_in: Column that holds the score of trials that missed a gate; empty for none.
        gates: Its limits.
        devices: How many GPUs a trial occupies.
        marks: Columns by which its runs are told from those of the others.
    """

    name: str
    metric: MetricFacts
    column: str
    stands_in: str
    gates: tuple[ReleasedGate, ...]
    devices: int
    marks: frozenset[str]


_TASKS = (
    ReleasedTask(
        name="parameter-golf",
        metric=MetricFacts("val_bpb", "bits/byte", Goal.MINIMIZE),
        column="val_bpb",
        stands_in="",
        gates=(
            ReleasedGate("artifact_bytes", 16_000_000.0, -1, Status.OVERSIZE),
            ReleasedGate("eval_s", 600.0, -1, Status.EVAL_OVERRUN),
        ),
        devices=8,
        marks=frozenset({"val_bpb", "artifact_bytes", "eval_s"}),
    ),
    ReleasedTask(
        name="nanochat-d12",
        metric=MetricFacts("core_metric", "", Goal.MAXIMIZE),
        column="core_metric",
        stands_in="",
        gates=(),
        devices=8,
        marks=frozenset({"core_metric"}),
    ),
    ReleasedTask(
        name="airbench96",
        metric=MetricFacts("train_s", "s", Goal.MINIMIZE),
        column="train_s",
        # The mean seconds of a seed: equal to train_s wherever that is given.
        stands_in="total_s",
        gates=(ReleasedGate("accuracy", 0.96, 1, Status.GATE_MISSED),),
        devices=1,
        marks=frozenset({"train_s", "accuracy"}),
    ),
)

REQUIRED = ("exp_id", "timestamp", "specialist", "parent_exp", "domain")
"""Columns before the free text of a row."""


def task_of(header: Sequence[str]) -> ReleasedTask:
    """The task whose columns a ``results.tsv`` has.

    Raises:
        RecipelabError: It lacks columns that every run has, or those of any task.
    """
    needed = (*REQUIRED, "hypothesis", "expected_delta", "status")
    if missing := [name for name in needed if name not in header]:
        raise RecipelabError(f"results.tsv has no column {', '.join(missing)}")
    for task in _TASKS:
        if task.marks <= set(header):
            return task
    told = "; ".join(f"{task.name}: {', '.join(sorted(task.marks))}" for task in _TASKS)
    raise RecipelabError(f"results.tsv has the columns of no known task; known: {told}")
