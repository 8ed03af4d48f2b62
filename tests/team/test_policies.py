"""Who speaks next: the policies that ship."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipelab.core.trial import Status
from recipelab.packs.judging_sections import Goal
from recipelab.team.speakers import (
    ModelSpeaker,
    RoundRobin,
    SpeakerContext,
    TrialResult,
    UCBSpeaker,
)
from recipelab.team.turns import TurnOutcome, TurnResult

SURFACES = {"arch": ("arch",), "opt": ("opt",), "data": ("data",)}
NAMES = tuple(SURFACES)


def result(specialist: str, status: Status, delta: float = 0.0, surface: str = "") -> TrialResult:
    return TrialResult(1, specialist, surface or specialist, status, delta)


def context(
    past: Sequence[TrialResult] = (),
    *,
    goal: Goal = Goal.MINIMIZE,
    surfaces: Mapping[str, tuple[str, ...]] = SURFACES,
    exploration: float = 0.7,
) -> SpeakerContext:
    return SpeakerContext(surfaces, goal, exploration=exploration, past=past)


def played(policy: UCBSpeaker, gains: dict[str, float], turns: int) -> Counter[str]:
    """Lets a policy choose, where each specialist's trials always gain the same."""
    chosen: Counter[str] = Counter()
    for _ in range(turns):
        name = policy.choose(NAMES, {})
        chosen[name] += 1
        gain = gains[name]
        policy.trial_judged(result(name, Status.KEPT if gain else Status.DISCARDED, -gain))
    return chosen


def test_credit_goes_to_gains_and_still_looks_at_the_others() -> None:
    chosen = played(UCBSpeaker(context()), {"arch": 0.0, "opt": 1.0, "data": 0.1}, 60)
    assert chosen["opt"] > 40
    assert min(chosen.values()) >= 2


def test_credit_turns_away_when_gains_run_dry() -> None:
    policy = UCBSpeaker(context())
    played(policy, {"arch": 0.0, "opt": 1.0, "data": 0.0}, 100)
    later = played(policy, {"arch": 1.0, "opt": 0.0, "data": 0.0}, 150)
    assert later["arch"] > later["opt"]


def test_credit_begins_with_whoever_has_not_been_heard() -> None:
    policy = UCBSpeaker(context([result("arch", Status.KEPT, -5.0)]))
    assert policy.choose(NAMES, {}) == "opt"
    # Who thinks or has a trial in flight is not asked again before the others.
    assert policy.choose(NAMES, {"opt": 1}) == "data"


def test_credit_counts_what_others_find_on_a_surface_and_not_what_machines_break() -> None:
    past = [
        result("person", Status.KEPT, -1.0, surface="opt"),
        result("arch", Status.ABORTED),
        result("arch", Status.REJECTED),
        result("data", Status.CRASHED),
    ]
    rewards = UCBSpeaker(context(past)).rewards()
    assert rewards == {"arch": (0, 0.0), "opt": (1, 1.0), "data": (1, 0.0)}


def test_a_share_is_given_whatever_the_credit_and_no_more_than_it() -> None:
    surfaces = {**SURFACES, "meta": ("arch", "opt", "data")}
    policy = UCBSpeaker(SpeakerContext(surfaces, Goal.MINIMIZE, shares={"meta": 0.2}))
    chosen: Counter[str] = Counter()
    for turn in range(100):
        name = policy.choose(tuple(surfaces), {})
        chosen[name] += 1
        assert chosen["meta"] >= 0.2 * (turn + 1) - 1
        if name == "meta":
            policy.turn_ended(TurnOutcome("meta", TurnResult.PASSED))
        else:
            policy.trial_judged(result(name, Status.KEPT, -1.0))
    assert chosen["meta"] <= 25
    # What it does not use is not saved up for it: who thinks counts.
    assert policy.choose(tuple(surfaces), {"meta": 9}) != "meta"


def test_credit_is_signed_by_the_goal() -> None:
    better = UCBSpeaker(context([result("arch", Status.KEPT, 2.0)], goal=Goal.MAXIMIZE))
    assert better.rewards()["arch"] == (1, 1.0)


def test_who_owns_everything_is_judged_by_what_it_proposed() -> None:
    surfaces = {**SURFACES, "meta": ("arch", "opt", "data")}
    past = [result("opt", Status.KEPT, -1.0)] * 5
    assert UCBSpeaker(context(past, surfaces=surfaces)).rewards()["meta"] == (0, 0.0)


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
    results = [result(name, status, delta) for name, status, delta in past]
    campaign = context(results, exploration=exploration)
    for policy in (UCBSpeaker(campaign), RoundRobin(campaign), ModelSpeaker(campaign)):
        assert policy.choose(candidates, busy) in candidates


def test_round_robin_goes_on_where_earlier_rounds_stopped() -> None:
    past = [result(name, Status.DISCARDED) for name in ("arch", "arch", "opt", "data")]
    policy = RoundRobin(context(past))
    assert [policy.choose(NAMES, {}) for _ in range(5)] == ["opt", "data", "arch", "opt", "data"]


@pytest.mark.parametrize(
    "without_a_trial", [TurnResult.PASSED, TurnResult.REJECTED, TurnResult.FAILED]
)
def test_credit_does_not_take_a_turn_without_a_trial_for_none(without_a_trial: TurnResult) -> None:
    policy = UCBSpeaker(context([result("opt", Status.DISCARDED), result("data", Status.KEPT, -1)]))
    chosen: Counter[str] = Counter()
    for _ in range(30):
        name = policy.choose(NAMES, {})
        chosen[name] += 1
        if name == "arch":
            policy.turn_ended(TurnOutcome("arch", without_a_trial))
        else:
            policy.trial_judged(result(name, Status.KEPT if name == "data" else Status.DISCARDED))
    assert 1 <= chosen["arch"] < 15
