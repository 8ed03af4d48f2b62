"""What trackers are told of a campaign and its trials: names that they all take, finite numbers."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from recipelab.analysis.course import Course
from recipelab.core.knobs import find_knobs
from recipelab.core.text import plain, shorten
from recipelab.core.trial import Outcome, SeedRun
from recipelab.evaluation.metric import METRIC
from recipelab.exchange.metric import metric_of
from recipelab.lineage import CampaignRecord, LineageStore, TrialRecord
from recipelab.plan import PLAN
from recipelab.trackers.base import short_hash

KEY_CHARACTERS = 48
"""Characters of one part of a key: MLflow takes 250 in all."""

VALUE_CHARACTERS = 480
"""Characters of a parameter: the least that a version of MLflow takes is 500."""

TEXT_CHARACTERS = 2000
"""Characters of a tag."""

_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9_. -]")
_FROM_PLAN = ("arm", "speakers", "profile", "slots", "seed")


@dataclass(frozen=True)
class CampaignFacts:
    """A campaign as trackers know it.

    Attributes:
        key: Tells it from any other, in whatever lineage; a copy of it has the same.
        name: Its name.
        pack: Name of its task pack.
        params: What it was asked to do.
        tags: What else is told of it.
        began: When it was created, in UTC.
    """

    key: str
    name: str
    pack: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    began: datetime


@dataclass(frozen=True)
class TrialFacts:
    """A judged trial as trackers know it.

    Attributes:
        number: Its number in its campaign.
        name: Its name as a run.
        is_failure: Whether it came to no valid measurement.
        params: Knobs with their values, surface, specialist, parent.
        tags: Status, reason, hypothesis, parents, standing.
        metrics: Score, change, gates, seconds by phase; finite numbers.
        seeds: For each seed run what it measured.
        texts: Files by name: the diff from its parent, the end of its log.
        began: When it was proposed, in UTC.
        ended: When it was judged, in UTC.
    """

    number: int
    name: str
    is_failure: bool
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    seeds: Sequence[Mapping[str, float]]
    texts: Mapping[str, str]
    began: datetime
    ended: datetime


@dataclass(frozen=True)
class ProgressPoint:
    """How the best stood after some trials.

    Attributes:
        trials: Trials judged by then that count.
        at: When it was, in UTC.
        metrics: ``best`` and ``certified`` score, ``kept`` trials, what was spent.
    """

    trials: int
    at: datetime
    metrics: Mapping[str, float]


def key_of(*parts: str) -> str:
    """Return a key that every tracker takes, of its parts with ``/`` between them.

    Letters, digits and ``_ . -`` and spaces stay. What has other characters, or is too long, has
    them replaced and a hash behind it, so that two names never become one.
    """
    return "/".join(map(_part, parts))


def _part(text: str) -> str:
    cleaned = _NOT_IN_KEYS.sub("_", text)[:KEY_CHARACTERS].strip()
    if cleaned != text or not cleaned.strip("."):
        return f"{cleaned.strip('.')}-{short_hash(text, 6)}"
    return cleaned


def campaign_facts(record: CampaignRecord) -> CampaignFacts:
    """Return a campaign as trackers know it."""
    plan = record.settings.get(PLAN) or {}
    params = {"pack": record.pack, "profile": record.profile, "model": record.model}
    params |= {"sandbox": record.sandbox, "seed": str(record.seed)}
    params |= {key: str(plan[key]) for key in _FROM_PLAN if plan.get(key) is not None}
    limits = plan.get("limits") or {}
    params |= {f"limit/{key}": str(value) for key, value in limits.items() if value is not None}
    metric = metric_of(record)
    return CampaignFacts(
        key=short_hash(f"{record.name}\n{record.created_at.isoformat()}", 16),
        name=record.name,
        pack=key_of(record.pack.rstrip("/").rpartition("/")[2]),
        params={key: shorten(value, VALUE_CHARACTERS) for key, value in params.items()},
        tags={"metric": shorten(metric.name, 100), "unit": metric.unit, "goal": str(metric.goal)},
        began=record.created_at,
    )


def trial_facts(store: LineageStore, campaign: str, record: TrialRecord) -> TrialFacts:
    """Return a judged trial as trackers know it.

    Raises:
        ValueError: It is in flight.
    """
    outcome, ended = record.outcome, record.judged_at
    if outcome is None or ended is None:
        raise ValueError(f"trial {record.number} is in flight")
    params = {"specialist": record.specialist, "surface": record.surface}
    if record.parents:
        params["parent"] = str(record.parents[0])
    tags = {
        "status": str(outcome.status),
        "reason": outcome.reason,
        "hypothesis": record.hypothesis,
        "parents": ", ".join(map(str, record.parents)),
        "standing": str(record.standing or ""),
        "failure": str(outcome.failure.kind) if outcome.failure else "",
        "signature": outcome.failure.signature if outcome.failure else "",
    }
    params |= _knobs(store.files(campaign, record.number))
    return TrialFacts(
        number=record.number,
        name="baseline" if record.number == 0 else f"trial {record.number}",
        is_failure=outcome.status.is_failure,
        params={key: shorten(value, VALUE_CHARACTERS) for key, value in params.items()},
        tags={key: shorten(value, TEXT_CHARACTERS) for key, value in tags.items() if value},
        metrics=_metrics(outcome, record.expected_delta),
        seeds=[_finite(_of_seed(run)) for run in outcome.seed_runs],
        texts={
            name: plain(text)
            for name, text in (("diff.patch", record.diff), ("log.txt", outcome.log_tail))
            if text
        },
        began=record.proposed_at,
        ended=ended,
    )


def _knobs(files: Mapping[str, str]) -> dict[str, str]:
    """Return the values of a recipe's knobs by their names, with the file where two share one."""
    knobs = find_knobs(files)
    named = Counter(knob.name for knob in knobs)
    return {
        key_of("knob", *knob.path.split("/"), knob.name)
        if named[knob.name] > 1
        else key_of("knob", knob.name): str(knob.value)
        for knob in knobs
    }


def _metrics(outcome: Outcome, expected: float) -> dict[str, float]:
    found: dict[str, float | None] = {
        "score": outcome.score,
        "score_se": outcome.score_se,
        "delta": outcome.delta,
        "delta_se": outcome.delta_se,
        "expected_delta": expected,
    }
    for gate in outcome.gates:
        found[key_of("gate", gate.name, "value")] = gate.value
        found[key_of("gate", gate.name, "margin")] = gate.margin
    if outcome.seed_runs:
        found["seed_runs"] = float(len(outcome.seed_runs))
    for run in outcome.seed_runs:
        for timing in run.timings:
            for kind, value in (
                ("wall_seconds", timing.wall_seconds),
                ("cpu_seconds", timing.cpu_seconds),
            ):
                name = f"{kind}/{timing.phase}"
                found[name] = (found.get(name) or 0.0) + value
    return _finite(found)


def _of_seed(run: SeedRun) -> dict[str, float | None]:
    found: dict[str, float | None] = {"seed/score": run.measures.get(METRIC)}
    found |= {f"seed/wall_seconds/{t.phase}": t.wall_seconds for t in run.timings}
    return found


def _finite(values: Mapping[str, float | None]) -> dict[str, float]:
    return {
        key: float(value)
        for key, value in values.items()
        if value is not None and math.isfinite(value)
    }


def progress_points(course: Course, began: datetime) -> Iterator[ProgressPoint]:
    """Yield how the best stood after each step of a campaign that changed it, or counted.

    As a campaign goes on, there are more of them, and none changes its place.

    Args:
        course: The steps.
        began: When the campaign was created.
    """
    before: tuple[object, ...] = ()
    for step in course.steps:
        now = (step.trials, step.kept, step.head, step.certified)
        if now == before:
            continue
        before = now
        metrics = {
            "best": step.head.score,
            "best_trial": float(step.head.number),
            "kept": float(step.kept),
            "device_hours": step.device_hours,
            "tokens": float(step.tokens),
            "dollars": step.money,
        }
        if course.is_tested:
            metrics |= {"certified": step.certified.score}
        yield ProgressPoint(step.trials, began + timedelta(hours=step.hours), _finite(metrics))
