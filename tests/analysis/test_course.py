"""The course of a campaign: head and certified recipe step by step, and what was spent by then."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recipelab.analysis.course import Course, course_of
from recipelab.budget import DEVICE
from recipelab.core.trial import Checkpoint, Evidence, Outcome, Standing, Status
from recipelab.lineage import LineageStore

from ..lineage.helpers import CAMPAIGN, judged, propose
from ..tools.history import add_campaign


@pytest.fixture
def lineage(store: LineageStore) -> LineageStore:
    """A lineage whose campaign has a judged baseline."""
    add_campaign(store, CAMPAIGN)
    judged(store, Status.BASELINE, score=10.0)
    return store


def keep(store: LineageStore, score: float, standing: Standing = Standing.PROVISIONAL) -> None:
    number = propose(store, 0)
    outcome = Outcome(Status.KEPT, "better", score=score, score_se=0.25, delta=-1.0)
    store.record(CAMPAIGN, number, replace(outcome, evidence=Evidence(0, 2, 2, standing=standing)))


def line(course: Course) -> list[tuple[int, float, float]]:
    return [(step.trials, step.head.score, step.certified.score) for step in course.steps]


def test_a_test_that_holds_certifies_its_head_and_one_that_fails_falls_back(
    lineage: LineageStore,
) -> None:
    keep(lineage, 9.0)
    keep(lineage, 8.0)
    lineage.add_checkpoint(CAMPAIGN, Checkpoint(2, 0, True, False, "it holds", 4))
    keep(lineage, 7.0)
    judged(lineage, Status.DISCARDED, 3, score=12.0)
    lineage.add_checkpoint(CAMPAIGN, Checkpoint(3, 2, False, True, "it fell back", 4))
    course = course_of(lineage, CAMPAIGN)
    assert line(course) == [
        (0, 10.0, 10.0),
        (1, 9.0, 10.0),
        (2, 8.0, 10.0),
        (2, 8.0, 8.0),
        (3, 7.0, 8.0),
        (4, 7.0, 8.0),
        (4, 8.0, 8.0),
    ]
    assert course.is_tested and course.steps[-1].kept == 3
    assert course.steps[-1].head.error == 0.25 and course.steps[0].head.error is None


def test_trials_that_are_tested_one_by_one_are_certified_as_they_are_kept(
    lineage: LineageStore,
) -> None:
    keep(lineage, 9.0, Standing.CERTIFIED)
    keep(lineage, 8.5, Standing.CERTIFIED)
    assert line(course_of(lineage, CAMPAIGN)) == [
        (0, 10.0, 10.0),
        (1, 9.0, 9.0),
        (2, 8.5, 8.5),
    ]


def test_where_nothing_is_tested_nothing_is_certified(lineage: LineageStore) -> None:
    keep(lineage, 9.0, Standing.UNTESTED)
    course = course_of(lineage, CAMPAIGN)
    assert not course.is_tested
    assert line(course) == [(0, 10.0, 10.0), (1, 9.0, 10.0)]


def test_the_last_step_has_all_that_was_booked(lineage: LineageStore) -> None:
    entry = {"specialist": "opt", "completion_tokens": 0, "round_number": None}
    lineage.add_usage(CAMPAIGN, model="m", prompt_tokens=70, seconds=9.0, cost=0.5, **entry)
    keep(lineage, 9.0)
    lineage.add_usage(CAMPAIGN, model=DEVICE, prompt_tokens=0, seconds=1800.0, **entry)
    steps = course_of(lineage, CAMPAIGN).steps
    assert [(step.tokens, step.money, step.device_hours) for step in steps] == [
        (0, 0.0, 0.0),
        (70, 0.5, 0.0),
        (70, 0.5, 0.5),
    ]
    assert 0.0 <= steps[0].hours <= steps[1].hours <= steps[2].hours < 0.1


def test_a_campaign_without_a_measured_baseline_has_no_course(store: LineageStore) -> None:
    add_campaign(store, CAMPAIGN)
    propose(store)
    course = course_of(store, CAMPAIGN)
    assert course.steps == () and len(course.trials) == 1
