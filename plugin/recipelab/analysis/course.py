"""The course of a campaign: head, certified recipe and what was spent, step by step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from recipelab.budget import DEVICE
from recipelab.core.trial import Standing, Status
from recipelab.exchange.metric import MetricFacts, mark_of, metric_of
from recipelab.lineage import CheckpointRecord, LineageStore, TrialBrief, UsageEntry
from recipelab.lineage.campaigns import heading_of
from recipelab.plan import PLAN

_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Measured:
    """A recipe that was measured.

    Attributes:
        number: Number of its trial.
        score: Its score.
        error: Standard error of the score; ``None`` if it is not known.
    """

    number: int
    score: float
    error: float | None


@dataclass(frozen=True, slots=True)
class Step:
    """What held once a trial was judged, or a checkpoint made.

    Attributes:
        trials: Trials judged so far that count toward the budget.
        kept: Those of them that were kept.
        hours: Wall-clock hours since the campaign was created, pauses included.
        head: The head of the working line.
        certified: The certified recipe, or the baseline.
        device_hours: Hours that trials had held slots.
        tokens: Tokens sent to and received from models.
        money: US dollars for models, as far as prices are known.
    """

    trials: int
    kept: int
    hours: float
    head: Measured
    certified: Measured
    device_hours: float = 0.0
    tokens: int = 0
    money: float = 0.0


@dataclass(frozen=True)
class Course:
    """The course of a campaign.

    Attributes:
        campaign: Its name.
        metric: What its scores are.
        facts: What it was asked to do, to tell campaigns apart: pack, profile, arm, model and
            speakers, as far as they are known.
        trials: All its trials, each at the place of its number.
        order: Numbers of the judged trials in the order in which they were judged.
        steps: The steps, from the judged baseline on; empty before that.
        is_tested: Whether a test on fresh seeds says which kept trials are certified.
        is_imported: Whether it came from elsewhere: when its usage was booked is not known.
        heading: What has to stand above its scores; empty where nothing has to.
    """

    campaign: str
    metric: MetricFacts
    facts: Mapping[str, str]
    trials: tuple[TrialBrief, ...]
    order: tuple[int, ...]
    steps: tuple[Step, ...]
    is_tested: bool
    is_imported: bool
    heading: str

    @property
    def judged(self) -> Iterator[TrialBrief]:
        """The judged trials in the order in which they were judged."""
        return (self.trials[number] for number in self.order)


def course_of(store: LineageStore, campaign: str) -> Course:
    """Return the course of a campaign.

    Raises:
        RecipelabError: The campaign does not exist, or its pack cannot be read.
    """
    record = store.campaign(campaign)
    trials = tuple(store.each_brief(campaign))
    # A trial may have been proposed and judged after the others were read.
    order = tuple(
        number
        for number in store.judged_order(campaign)
        if number < len(trials) and trials[number].status is not None
    )
    judged = [trials[number] for number in order]
    checkpoints = store.checkpoints(campaign)
    is_imported = mark_of(record) is not None
    booked = () if is_imported else store.usage_entries(campaign)
    plan = record.settings.get(PLAN) or {}
    facts = {"pack": record.pack, "profile": record.profile, "model": record.model}
    facts |= {key: str(plan[key]) for key in ("arm", "speakers") if plan.get(key)}
    tested = (Standing.CERTIFIED, Standing.PROVISIONAL, Standing.UNPROVEN)
    return Course(
        campaign=record.name,
        metric=metric_of(record),
        facts=facts,
        trials=trials,
        order=order,
        steps=tuple(_with_usage(_steps(judged, checkpoints), booked, record.created_at)),
        is_tested=any(trial.standing in tested for trial in judged),
        is_imported=is_imported,
        heading=heading_of(record),
    )


def measured(trial: TrialBrief) -> Measured | None:
    """Return what was measured of a trial; ``None`` without a finite score."""
    if trial.score is None or not math.isfinite(trial.score):
        return None
    error = trial.score_se
    return Measured(
        trial.number, trial.score, error if error is not None and math.isfinite(error) else None
    )


def _steps(
    judged: Sequence[TrialBrief], checkpoints: Sequence[CheckpointRecord]
) -> Iterator[tuple[datetime, Step]]:
    """Yield each step with its time, nothing booked on it yet."""
    scores = {trial.number: found for trial in judged if (found := measured(trial)) is not None}
    alone = _certified_alone(judged, checkpoints)
    waiting = list(reversed(checkpoints))
    step: Step | None = None
    for trial in judged:
        if trial.judged_at is None:
            raise AssertionError("unreachable: a judged trial has the time of its judgment")
        while waiting and step is not None and waiting[-1].made_at < trial.judged_at:
            step = _tested(step, waiting[-1], scores)
            yield waiting.pop().made_at, step
        own = scores.get(trial.number)
        if step is None:
            if trial.status is not Status.BASELINE or own is None:
                continue
            step = Step(0, 0, 0.0, own, own)
        elif trial.status is not None:
            is_kept = trial.status is Status.KEPT
            step = replace(step, trials=step.trials + trial.status.counts, kept=step.kept + is_kept)
            if is_kept and own is not None:
                is_certified = trial.number in alone
                step = replace(step, head=own, certified=own if is_certified else step.certified)
        yield trial.judged_at, step
    while waiting and step is not None:
        step = _tested(step, waiting[-1], scores)
        yield waiting.pop().made_at, step


def _tested(step: Step, record: CheckpointRecord, scores: Mapping[int, Measured]) -> Step:
    found = record.found
    if found.held and found.trial in scores:
        return replace(step, certified=scores[found.trial])
    if found.fell_back and found.against in scores:
        return replace(step, head=scores[found.against], certified=scores[found.against])
    return step


def _certified_alone(
    judged: Sequence[TrialBrief], checkpoints: Sequence[CheckpointRecord]
) -> frozenset[int]:
    """Return the trials that were certified when they were kept, and not by a checkpoint."""
    place = {trial.number: position for position, trial in enumerate(judged)}
    held = [place.get(record.found.trial, -1) for record in checkpoints if record.found.held]
    last = max(held, default=-1)
    return frozenset(
        trial.number for trial in judged[last + 1 :] if trial.standing is Standing.CERTIFIED
    )


def _with_usage(
    steps: Iterator[tuple[datetime, Step]], booked: Sequence[UsageEntry], began: datetime
) -> Iterator[Step]:
    """Yield the steps with their hours, and with what had been booked by then.

    What a trial held and a turn used is booked after the judgment, so that one step more has what
    was booked after the last.
    """
    place, seconds, tokens, money = 0, 0.0, 0, 0.0
    last: Step | None = None
    ends = [(booked[-1].at, None)] if booked else []
    for at, step in (*steps, *ends):
        while place < len(booked) and booked[place].at <= at:
            entry = booked[place]
            if entry.model == DEVICE:
                seconds += entry.seconds
            else:
                tokens, money = tokens + entry.tokens, money + entry.cost
            place += 1
        if (now := step or last) is None:
            return
        hours = max(now.hours, (at - began).total_seconds() / _HOUR)
        last = replace(now, hours=hours, device_hours=seconds / _HOUR, tokens=tokens, money=money)
        yield last
