"""Who speaks next, and how many think at once."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime

import pytest
from autogen_agentchat.base import TerminatedException, TerminationCondition
from autogen_agentchat.messages import TextMessage
from hypothesis import given
from hypothesis import strategies as st

from recipelab.agents import EVALUATOR
from recipelab.budget import Spent
from recipelab.core.trial import Status
from recipelab.lineage import TrialBrief, TrialState
from recipelab.packs.sections import Goal
from recipelab.team import (
    DeviceTimeTermination,
    MoneyTermination,
    PlateauTermination,
    TargetScoreTermination,
    TokensTermination,
    TrialsTermination,
    WallClockTermination,
)
from recipelab.team.speakers import RoundRobin, UCBSpeaker

SURFACES = {"arch": ("arch",), "opt": ("opt",), "data": ("data",)}
NAMES = tuple(SURFACES)


def brief(specialist: str, status: Status, delta: float = 0.0, surface: str = "") -> TrialBrief:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    return TrialBrief(
        number=1,
        status=status,
        state=TrialState.JUDGED,
        phase=None,
        specialist=specialist,
        surface=surface or specialist,
        hypothesis="",
        reason="",
        score=1.0,
        score_se=None,
        delta=delta,
        delta_se=None,
        parents=(0,),
        failure_kind=None,
        failure_phase=None,
        signature="",
        cpu_seconds=0.0,
        proposed_at=moment,
        judged_at=moment,
        round=1,
    )


def played(policy: UCBSpeaker, gains: dict[str, float], turns: int) -> Counter[str]:
    """Lets a policy choose, where each specialist's trials always gain the same."""
    chosen: Counter[str] = Counter()
    for _ in range(turns):
        name = policy.choose(NAMES, {})
        chosen[name] += 1
        gain = gains[name]
        policy.learn(brief(name, Status.KEPT if gain else Status.DISCARDED, -gain))
    return chosen


def test_credit_goes_to_gains_and_still_looks_at_the_others() -> None:
    chosen = played(UCBSpeaker(SURFACES, Goal.MINIMIZE), {"arch": 0.0, "opt": 1.0, "data": 0.1}, 60)
    assert chosen["opt"] > 40
    assert min(chosen.values()) >= 2


def test_credit_turns_away_when_gains_run_dry() -> None:
    policy = UCBSpeaker(SURFACES, Goal.MINIMIZE)
    played(policy, {"arch": 0.0, "opt": 1.0, "data": 0.0}, 100)
    later = played(policy, {"arch": 1.0, "opt": 0.0, "data": 0.0}, 150)
    assert later["arch"] > later["opt"]


def test_credit_begins_with_whoever_has_not_been_heard() -> None:
    policy = UCBSpeaker(SURFACES, Goal.MINIMIZE, past=[brief("arch", Status.KEPT, -5.0)])
    assert policy.choose(NAMES, {}) == "opt"
    # Who thinks or has a trial in flight is not asked again before the others.
    assert policy.choose(NAMES, {"opt": 1}) == "data"


def test_credit_counts_what_others_find_on_a_surface_and_not_what_machines_break() -> None:
    past = [
        brief("person", Status.KEPT, -1.0, surface="opt"),
        brief("arch", Status.ABORTED),
        brief("arch", Status.REJECTED),
        brief("data", Status.CRASHED),
    ]
    scores = UCBSpeaker(SURFACES, Goal.MINIMIZE, past=past).scores()
    assert scores == {"arch": (0, 0.0), "opt": (1, 1.0), "data": (1, 0.0)}


def test_credit_is_signed_by_the_goal() -> None:
    better = UCBSpeaker(SURFACES, Goal.MAXIMIZE, past=[brief("arch", Status.KEPT, 2.0)])
    assert better.scores()["arch"] == (1, 1.0)


def test_who_owns_everything_is_judged_by_what_it_proposed() -> None:
    surfaces = {**SURFACES, "meta": ("arch", "opt", "data")}
    past = [brief("opt", Status.KEPT, -1.0)] * 5
    assert UCBSpeaker(surfaces, Goal.MINIMIZE, past=past).scores()["meta"] == (0, 0.0)


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(Status), st.floats(-9, 9))),
    st.lists(st.sampled_from(NAMES), min_size=1, unique=True),
    st.dictionaries(st.sampled_from(NAMES), st.integers(0, 5)),
    st.floats(0, 3),
)
def test_a_choice_is_always_one_of_the_candidates(
    past: list[tuple[str, Status, float]],
    candidates: list[str],
    busy: dict[str, int],
    exploration: float,
) -> None:
    briefs = [brief(name, status, delta) for name, status, delta in past]
    policy = UCBSpeaker(SURFACES, Goal.MINIMIZE, exploration=exploration, past=briefs)
    assert policy.choose(candidates, busy) in candidates
    assert RoundRobin(Counter(name for name, _, _ in past)).choose(candidates, busy) in candidates


def test_round_robin_goes_on_where_earlier_rounds_stopped() -> None:
    policy = RoundRobin({"arch": 2, "opt": 1, "data": 1})
    assert [policy.choose(NAMES, {}) for _ in range(5)] == ["opt", "data", "arch", "opt", "data"]


def report(**figures: float | None) -> TextMessage:
    spent = Spent(0, 0.0, 0.0, 0, 0.0, 0, 0, None)
    told = {**vars(spent), **figures}
    return TextMessage(content="", source=EVALUATOR, metadata={"spent": json.dumps(told)})


@pytest.mark.parametrize(
    ("condition", "before", "after"),
    [
        (TrialsTermination(5), {"trials": 4}, {"trials": 5}),
        (DeviceTimeTermination(3600), {"device_hours": 0.9}, {"device_hours": 1.0}),
        (TokensTermination(100), {"tokens": 99}, {"tokens": 130}),
        (MoneyTermination(2.0), {"money": 1.5}, {"money": 2.5}),
        (TargetScoreTermination(0.5), {"best": 0.6}, {"best": 0.5}),
        (TargetScoreTermination(0.5, Goal.MAXIMIZE), {"best": 0.4}, {"best": 0.6}),
        (PlateauTermination(3), {"since_kept": 2}, {"since_kept": 3}),
    ],
)
async def test_conditions_on_figures_are_met_reset_and_survive_json(
    condition: TerminationCondition, before: dict[str, float], after: dict[str, float]
) -> None:
    saved = condition.dump_component().model_dump_json()
    loaded = TerminationCondition.load_component(json.loads(saved))
    for one in (condition, loaded):
        assert await one([report(**before), TextMessage(content="", source="left")]) is None
        assert await one([report(**after)]) is not None
        assert one.terminated
        with pytest.raises(TerminatedException):
            await one([report(**after)])
        await one.reset()
        assert await one([]) is None


async def test_the_clock_starts_with_the_first_message() -> None:
    condition = WallClockTermination(0.000001)
    assert await condition([report()]) is None
    assert await condition([report()]) is not None
    both = WallClockTermination(1000) | TrialsTermination(1)
    assert await both([report(trials=1)]) is not None
