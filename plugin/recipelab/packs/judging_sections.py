"""The tables of a pack that say what is measured, and how: metric, acceptance, gates."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from recipelab.core.attributes import key_texts, summary
from recipelab.core.errors import unknown_name
from recipelab.core.registry import Registry
from recipelab.core.trial import Phase, Status

NAME = r"^[a-z][a-z0-9_]{0,63}$"
SHA256 = r"^[0-9a-f]{64}$"

SANDBOX_MEASURES = ("cpu_seconds", "wall_seconds", "peak_memory_mb")
"""What the sandbox measures of a phase, as in ``train.cpu_seconds``."""

PACKED = "submission.packed_bytes"
"""The size of a submission as a contest's authors hand it in: each editable file compressed into a
Python file that unpacks and runs it."""

RECIPE_TIMES = ("recipe.cpu_seconds", "recipe.wall_seconds")
"""What the recipe's own phases, train and predict, take together: work that is moved from one to
the other does not change it."""

SUBMITTED_MEASURES = ("submission.bytes", PACKED)
"""Measures of code and artifact together."""

FILE_MEASURES = ("artifact.bytes", "recipe.bytes", "submission.bytes", PACKED)
"""What :class:`~recipelab.evaluation.phases.PhaseRunner` measures of files, without running
anything; a submission is recipe and artifact."""


class Section(BaseModel):
    """A table of a pack: frozen, and without keys that nobody reads.

    Its JSON schema has the texts of its docstring, which editors show beside a key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Return the schema of the table, with a description of each key."""
        schema = handler(core_schema)
        table = handler.resolve_ref_schema(schema)
        table["description"] = summary(cls)
        texts = key_texts(cls)
        for key, value in table.get("properties", {}).items():
            if key in texts:
                value.setdefault("description", texts[key])
        return schema


class Goal(StrEnum):
    """Which way the metric is better."""

    MINIMIZE = "minimize"
    MAXIMIZE = "maximize"

    @property
    def sign(self) -> int:
        """+1 if larger is better, else -1."""
        return 1 if self is Goal.MAXIMIZE else -1

    def gain_percent(self, before: float | None, after: float | None) -> float | None:
        """Return by how much a score is better than another, in percent of the other.

        Returns:
            The gain, negative if the score is worse; ``None`` without both, or of 0.
        """
        change = change_percent(before, after)
        return None if change is None else self.sign * change


def change_percent(before: float | None, after: float | None) -> float | None:
    """Return how far a score lies from another, in percent of the other; ``None`` of 0."""
    if before is None or after is None or before == 0.0:
        return None
    return 100.0 * (after - before) / abs(before)


def check_measure(name: str) -> str:
    """Return the name of a measurement.

    Raises:
        ValueError: Neither the sandbox nor the evaluator nor the scorer has such a measurement.
    """
    head, _, tail = name.partition(".")
    of_sandbox = head in tuple(Phase) and tail in SANDBOX_MEASURES
    of_scorer = head == "score" and tail.isidentifier()
    if not (of_sandbox or of_scorer or name in (*RECIPE_TIMES, *FILE_MEASURES)):
        valid = [f"<phase>.{measure}" for measure in SANDBOX_MEASURES]
        valid += [*RECIPE_TIMES, *FILE_MEASURES]
        raise ValueError(
            f"no such measurement {name!r}; valid: {', '.join(valid)}, "
            f"score.<key of score.json>; phases: {', '.join(Phase)}"
        )
    return name


class Scale(StrEnum):
    """The scale on which two recipes are compared."""

    LINEAR = "linear"
    LOG = "log"
    """In logarithms, where noise is in proportion to the value, as it is of times."""

    def on(self, value: float) -> float:
        """Return a value on this scale.

        Raises:
            ValueError: A value that is not positive has no logarithm.
        """
        return math.log(value) if self is Scale.LOG else value

    def delta(self, difference: float, at: float) -> float:
        """Return a difference on this scale in the metric's unit.

        Args:
            difference: The difference on this scale.
            at: The value that it is a difference to, in the metric's unit.
        """
        return at * math.expm1(difference) if self is Scale.LOG else difference

    def error(self, error: float, at: float) -> float:
        """Return a standard error on this scale in the metric's unit, to first order."""
        return abs(at) * error if self is Scale.LOG else error


class Metric(Section):
    """The score: one measurement, averaged over seeds.

    Recipes are compared on a ``scale``: times and sizes in logarithms, as their noise is in
    proportion to them, anything else as it is, unless the pack says.

    With ``side_by_side`` the best trains again beside every trial, seed by seed and on the same
    slot, and the two are compared at that moment: a time means little on a machine that drifts.
    CPU times are compared while both run at once, wall-clock times (as on GPUs) in turns, best
    trial trial best; where the best's own times are further apart than ``drift``, a share of their
    mean, the comparison is repeated.

    With ``charge_predict`` the time of predict is added to that of train, so that nothing is won by
    moving work from one to the other.

    Attributes:
        name: Its name, as it is shown.
        unit: The unit in which it is shown, as ``s`` or ``bits``.
        goal: Which way it is better: ``minimize`` or ``maximize``.
        measure: The measurement that it is, as ``train.cpu_seconds`` or ``score.accuracy``.
        side_by_side: Whether the best trains again beside every trial; for times.
        charge_predict: Whether the time of predict counts, too; for times.
        drift: How far the best's own times may be apart, as a share of their mean, before a
            comparison side by side is repeated.
        scale: ``linear``, or ``log`` where noise is in proportion to the value; ``log`` for times
            and sizes unless given.
    """

    name: str
    unit: str
    goal: Goal
    measure: str
    side_by_side: bool = False
    charge_predict: bool = False
    drift: float = Field(default=0.05, gt=0)
    scale: Scale = Scale.LINEAR

    _measure = field_validator("measure")(check_measure)

    @model_validator(mode="before")
    @classmethod
    def _scale_of_measure(cls, given: Any) -> Any:
        if isinstance(given, dict) and "scale" not in given:
            measure = str(given.get("measure", ""))
            positive = measure.partition(".")[2] in SANDBOX_MEASURES or measure in FILE_MEASURES
            return {**given, "scale": Scale.LOG if positive else Scale.LINEAR}
        return given

    @model_validator(mode="after")
    def _needs_a_time(self) -> Self:
        times = (f"{Phase.TRAIN}.cpu_seconds", f"{Phase.TRAIN}.wall_seconds")
        for key in ("side_by_side", "charge_predict"):
            if getattr(self, key) and self.measure not in times:
                raise ValueError(f"{key} is for the measures {' and '.join(times)}")
        return self

    @property
    def is_clock(self) -> bool:
        """Whether it is a time, which is another at every measurement."""
        return self.measure.partition(".")[2] in SANDBOX_MEASURES[:2]

    @property
    def in_turns(self) -> bool:
        """Whether trial and best run in turns, and not at the same moment."""
        return self.side_by_side and self.measure == f"{Phase.TRAIN}.wall_seconds"

    @property
    def predict_measure(self) -> str:
        """The measurement of predict that answers to that of train, as ``predict.cpu_seconds``."""
        return f"{Phase.PREDICT}.{self.measure.partition('.')[2]}"


ACCEPTANCE_POLICIES: Registry[object] = Registry(
    "acceptance policy",
    "recipelab.acceptance",
    {
        "line": "recipelab.acceptance.registry:line",
        "confirmed": "recipelab.acceptance.registry:confirmed",
        "paired-two-sigma": "recipelab.acceptance.registry:paired_two_sigma",
        "keep-if-better": "recipelab.acceptance.registry:keep_if_better",
    },
)
"""The policies that a pack may name: makers of policies, which only acceptance itself calls."""


class AcceptanceSpec(Section):
    """How a gain is told from noise; see :mod:`recipelab.acceptance`.

    Attributes:
        policy: ``line``, ``confirmed``, ``paired-two-sigma``, ``keep-if-better``, or the name under
            which an installed distribution registers a policy of its own.
        false_keep_rate: Chance that a campaign claims anything if nothing is ever better.
        confirm: On how many fresh seeds a promising trial, or the head of a working line, is
            tested, one look after the other.
        fresh: Fresh seeds of a promising trial before it joins the working line.
        lead: Standard deviations of a seed run by which the line leads the certified recipe when a
            checkpoint is due.
        deterministic: Whether a recipe measures the same whatever its seed, so that one run tells
            all. ``packs check`` looks whether that is so.
        calibration: Seed runs of the baseline, which tell the noise; all the pack's seeds at least.
        racing_error: Chance at which a trial counts as hopeless and its seed runs stop; 0 runs all.
    """

    policy: str = Field(
        default="line",
        json_schema_extra={
            "anyOf": [
                {"enum": ["line", "confirmed", "paired-two-sigma", "keep-if-better"]},
                {"description": "A policy that an installed distribution registers."},
            ]
        },
    )
    false_keep_rate: float = Field(default=0.05, gt=0, lt=1)
    confirm: tuple[Annotated[int, Field(ge=2)], ...] = Field(default=(4, 8, 16, 32), min_length=1)
    fresh: int = Field(default=4, ge=2)
    lead: float = Field(default=3.0, gt=0)
    calibration: int = Field(default=4, ge=2)
    racing_error: float = Field(default=0.01, ge=0, le=0.5)
    deterministic: bool = False

    @property
    def most(self) -> int:
        """Fresh seeds of the last look, beyond which nothing asks for more."""
        return self.confirm[-1]

    @field_validator("policy")
    @classmethod
    def _registered(cls, name: str) -> str:
        if name not in ACCEPTANCE_POLICIES:
            raise ValueError(
                unknown_name(ACCEPTANCE_POLICIES.what, name, ACCEPTANCE_POLICIES.names())
            )
        return name

    @model_validator(mode="after")
    def _grows(self) -> Self:
        if list(self.confirm) != sorted(set(self.confirm)):
            raise ValueError("confirm: each look has more seeds than the one before")
        return self


class Gate(Section):
    """A pass/fail limit beside the score, on a measurement averaged over seeds.

    A relative gate has no number of its own: it holds a trial to another recipe's measurement on
    the same stage. It can only veto.

    Attributes:
        name: A few words.
        measure: The measurement.
        at_least: Its lower limit, in the unit of the measurement.
        at_most: Its upper limit, in the unit of the measurement.
        relative_to: Whose measurement a trial is held to, in place of a limit: it may not be worse
            than that of the ``best``, or of the ``baseline``.
        goal: Which way the measurement is better; for relative gates.
        times: How many times the other's measurement it may be, or what part of it where more is
            better; for relative gates.
        by: By how much it may be worse all the same, in its own unit; for relative gates.
        failure: The status of a trial that misses it.
    """

    name: str
    measure: str
    at_least: float | None = None
    at_most: float | None = None
    relative_to: Literal["best", "baseline"] | None = None
    goal: Goal | None = None
    times: float = Field(default=1.0, ge=1)
    by: float = Field(default=0.0, ge=0)
    failure: Literal[
        Status.GATE_MISSED,
        Status.OVERSIZE,
        Status.TRAIN_OVERRUN,
        Status.EVAL_OVERRUN,
        Status.ILLEGAL,
    ] = Status.GATE_MISSED

    _measure = field_validator("measure")(check_measure)

    @model_validator(mode="after")
    def _has_one_limit(self) -> Self:
        limits = (self.at_least, self.at_most, self.relative_to)
        if sum(limit is not None for limit in limits) != 1:
            raise ValueError("a gate has exactly one of: at_least, at_most, relative_to")
        if (self.goal is not None) != self.relative:
            raise ValueError("goal: says which way the measure of a relative_to gate is better")
        for key, given in (("by", self.by > 0.0), ("times", self.times > 1.0)):
            if given and not self.relative:
                raise ValueError(f"{key}: belongs to relative_to; a limit is told as it is")
        return self

    @property
    def relative(self) -> bool:
        """Whether it holds a trial to another recipe, and so has no limit of its own."""
        return self.relative_to is not None

    def held_to(self, value: float) -> Gate:
        """Return the absolute gate that a relative one is where the other recipe has a value."""
        more_is_better = self.goal is Goal.MAXIMIZE
        value = value * self.factor
        return Gate(
            name=self.name,
            measure=self.measure,
            at_least=value - self.by if more_is_better else None,
            at_most=None if more_is_better else value + self.by,
            failure=self.failure,
        )

    @property
    def factor(self) -> float:
        """What the other recipe's measurement is multiplied by; for relative gates."""
        return 1.0 / self.times if self.goal is Goal.MAXIMIZE else self.times

    @property
    def limit(self) -> float:
        """The limit, whichever way it points."""
        return self.at_least if self.at_least is not None else float(self.at_most or 0.0)

    def margin(self, value: float) -> float:
        """Return the signed distance of a value to the limit; negative if the gate is missed."""
        return value - self.limit if self.at_least is not None else self.limit - value

    @property
    def bound(self) -> str:
        """The limit in words, as ``at least 0.94``."""
        if self.relative:
            grace = f" by more than {self.by:g}" if self.by else ""
            share = f"{self.factor:.3g} times " if self.times > 1.0 else ""
            return f"not worse than {share}that of the {self.relative_to}{grace}"
        return f"at {'least' if self.at_least is not None else 'most'} {self.limit:g}"

    @property
    def rule(self) -> str:
        """The whole gate in words, as ``accuracy: mean of score.accuracy at least 0.94``."""
        return f"{self.name}: mean of {self.measure} {self.bound}"
