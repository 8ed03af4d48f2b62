"""What is kept, what is not, and what is asked for first."""

from __future__ import annotations

import importlib
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipelab.acceptance import (
    Acceptance,
    Confirmed,
    KeepIfBetter,
    Line,
    LineAcceptance,
    LookTest,
    NeedMoreSeeds,
    Noise,
    Observations,
    PairedTwoSigma,
    Samples,
    Spread,
    Verdict,
    level_of_next,
)
from recipelab.core.trial import Standing
from recipelab.packs.judging_sections import Goal, Scale

NOISE = Noise(Spread(0.0, 1.0, 10), {}, Spread(10.0, 0.7, 10))
QUIET = Noise(Spread(0.0, 0.0, 4), {}, Spread(10.0, 0.0, 4))
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
STEADY = (3.0, 2.0, 3.5, 2.5, 3.0, 1.8, 3.2, 2.6)


def observed(
    *gains: float, fresh: tuple[float, ...] = (), noise: Noise | None = NOISE
) -> Observations:
    """A candidate that is better by so much, seed by seed, if less is better."""

    def samples(found: tuple[float, ...], first: int) -> Samples:
        best = {first + place: 10.0 + place for place in range(len(found))}
        return Samples({seed: best[seed] - found[seed - first] for seed in best}, best)

    return Observations(Goal.MINIMIZE, samples(gains, 1), samples(fresh, 100), noise)


def constant(gain: float, count: int = 4, **more: object) -> Observations:
    """Candidate and best that are the same for every seed."""
    seeds = range(100, 100 + count)
    both = Samples(dict.fromkeys(seeds, 1.0 + gain), dict.fromkeys(seeds, 1.0))
    given = {"noise": QUIET, "confirm": both, **more}
    return Observations(Goal.MAXIMIZE, both, **given)  # type: ignore[arg-type]


def alone(*gains: float, of: Observations) -> Observations:
    """The same candidate, whose fresh runs are held against the pool."""
    runs = {100 + place: 10.0 - gain for place, gain in enumerate(gains)}
    return replace(of, confirm=Samples(runs, {}))


POOL = replace(observed(), pool=(9.8, 10.2, 10.1, 9.9), screen=Samples({1: 9.0}, {}))
"""A candidate that looks better by 1 than a pool of four runs."""


def verdict(policy: Acceptance, of: Observations) -> Verdict:
    found = policy.judge(of)
    assert isinstance(found, Verdict)
    return found


def asked(policy: Acceptance, of: Observations) -> NeedMoreSeeds:
    found = policy.judge(of)
    assert isinstance(found, NeedMoreSeeds)
    return found


@pytest.mark.parametrize("policy", [Confirmed(), Line()])
def test_a_loss_is_discarded_without_more(policy: Acceptance) -> None:
    found = verdict(policy, observed(-0.5, -0.4))
    assert (found.kept, found.standing) == (False, None)
    assert found.delta == pytest.approx(0.45)
    assert "is no gain" in found.reason


@pytest.mark.parametrize(("policy", "errors"), [(Confirmed(), 1.2), (Line(), 0.5)])
def test_a_gain_within_the_noise_is_discarded_without_more(
    policy: Acceptance, errors: float
) -> None:
    limit = errors / 2**0.5
    assert "within the noise" in verdict(policy, observed(limit - 0.02, limit - 0.01)).reason
    assert asked(policy, observed(limit + 0.02, limit + 0.01))


def test_the_baselines_luck_on_the_packs_seeds_is_shared_by_all_its_runs() -> None:
    # On the seed that both ran, the best was lucky; against all of its runs the gain shows.
    screen = Samples({1: 9.0, 2: 9.1}, {1: 8.9, 2: 9.0})
    pool = (8.9, 9.0, 10.4, 10.3, 10.2, 10.5)
    pairs = replace(observed(), screen=screen)
    assert not verdict(Confirmed(), pairs).kept
    assert asked(Confirmed(), replace(pairs, pool=pool)).seeds == 4


def test_a_promising_trial_is_never_kept_for_what_made_it_promising() -> None:
    assert asked(Confirmed(), observed(50.0, 50.1)).seeds == 4


def test_only_fresh_seeds_count() -> None:
    lucky = verdict(Confirmed(), observed(50.0, 50.1, fresh=(0.5, -0.6, 0.2, -0.1)))
    assert not lucky.kept
    assert lucky.delta == pytest.approx(0.0)
    steady = verdict(Confirmed(), observed(50.0, 50.1, fresh=(50.0, 50.2, 49.9, 50.1)))
    assert (steady.kept, steady.standing) == (True, Standing.CERTIFIED)
    assert steady.p is not None and steady.level is not None and steady.p <= steady.level


def test_what_is_neither_clear_nor_hopeless_gets_more_seeds_half_way_first() -> None:
    fresh = (2.0, 0.5, 3.0, 1.0)
    assert asked(Confirmed(), observed(2.0, 2.0, fresh=fresh)).seeds == 6
    assert asked(Confirmed(), observed(2.0, 2.0, fresh=(*fresh, 1.0, 0.9))).seeds == 8


def test_between_two_looks_nothing_is_claimed_but_a_test_may_give_up() -> None:
    clear = (2.0, 2.1, 1.9, 2.2, 2.1, 1.8)
    assert isinstance(LookTest((4, 8)).judge(observed(fresh=clear), 0.05), NeedMoreSeeds)
    gone = (2.0, 0.5, 3.0, 1.0, -4.0, -3.0)
    found = LookTest((4, 8)).judge(observed(fresh=gone), 0.05)
    assert isinstance(found, Verdict) and "did not show again" in found.reason


@given(looks=st.lists(st.integers(1, 40).map(lambda x: 2 * x), min_size=1, max_size=6, unique=True))
def test_looks_share_a_level_and_are_reached_in_order(looks: list[int]) -> None:
    test = LookTest(tuple(sorted(looks)))
    assert sum(map(test.share, range(len(looks)))) == pytest.approx(1.0)
    count, seen = test.looks[0], [test.looks[0]]
    while count < test.looks[-1]:
        # A gain that is never clear: it goes on to the last look.
        fresh = tuple(0.6 + (1.0 if place % 2 else -1.0) for place in range(count))
        found = LookTest(test.looks).judge(observed(fresh=fresh), 1e-300)
        if isinstance(found, Verdict):
            break
        assert count < found.seeds <= test.looks[-1] and found.seeds % 2 == 0
        count = found.seeds
        seen.append(count)
    assert seen == sorted(seen)


def test_the_last_look_ends_it() -> None:
    draw = random.Random(3)
    fresh = tuple(draw.gauss(0.4, 1.0) for _ in range(32))
    assert "may be luck" in verdict(Confirmed(), observed(2.0, 2.0, fresh=fresh)).reason


def test_each_confirmation_makes_the_next_stricter() -> None:
    first = verdict(Confirmed(), observed(3.0, 3.0, fresh=STEADY))
    assert first.kept
    late = replace(observed(3.0, 3.0, fresh=STEADY), history=(False,) * 300_000)
    assert asked(Confirmed(), late).seeds == 12


def test_a_tie_by_chance_is_not_taken_for_a_world_without_noise() -> None:
    # Calibration and trial happen to agree: nothing may be kept for that.
    assert asked(Confirmed(), observed(0.05, 0.05, noise=QUIET)).seeds == 4
    for policy in (Confirmed(), Line()):
        test = policy.test if isinstance(policy, Line) else policy.judge
        found = test(constant(0.05))
        assert isinstance(found, Verdict)
        assert not found.kept and found.p is None
        assert "deterministic = true" in found.reason and "by item" in found.reason


def test_four_equal_differences_of_noisy_recipes_are_one_chance_in_sixteen() -> None:
    fresh = tuple(2.0 for _ in range(4))
    found = LookTest((4,)).judge(observed(fresh=fresh), 0.05)
    assert isinstance(found, Verdict)
    assert (found.kept, found.p) == (False, pytest.approx(1 / 16))


def test_what_the_pack_calls_deterministic_needs_no_more_than_one_run() -> None:
    better, same = (replace(constant(gain, 1), deterministic=True) for gain in (0.01, 0.0))
    for policy in (Confirmed(), Line()):
        assert verdict(policy, better).standing is Standing.CERTIFIED
        assert not verdict(policy, same).kept


@pytest.mark.parametrize(
    ("gain", "tried", "kept", "told"),
    [
        (0.05, 1, True, "is more than luck"),
        (0.05, 1_000_000, False, "may be luck"),
        (-0.05, 1, False, "may be luck"),
    ],
)
def test_a_deterministic_score_on_a_finite_hidden_set_is_tested_by_its_items(
    gain: float, tried: int, kept: bool, told: str
) -> None:
    given_ = constant(gain, item_error=0.01, tried=tried, deterministic=True)
    found = LookTest((4, 8)).judge(given_, 0.05)
    assert isinstance(found, Verdict)
    assert (found.kept, found.standing) == (kept, Standing.CERTIFIED if kept else None)
    assert (found.delta, found.delta_se) == (pytest.approx(gain), 0.01)
    # Both are told, and the reader can see which way they compare.
    assert found.level == 0.05 and found.p is not None and (found.p <= 0.05) == kept
    assert f"{told}: " in found.reason


def test_where_neither_seeds_nor_items_tell_anything_the_words_say_what_to_do() -> None:
    found = LookTest((4, 8)).judge(constant(0.5), 0.05)
    assert isinstance(found, Verdict)
    assert (found.kept, found.delta, found.delta_se) == (False, pytest.approx(0.5), None)
    assert found.reason.startswith("gain +0.5, but every seed gave the same")


def test_where_seeds_tell_nothing_the_hidden_items_decide() -> None:
    clear = verdict(Confirmed(), constant(0.05, item_error=0.01))
    assert (clear.kept, clear.delta_se) == (True, 0.01)
    assert not verdict(Confirmed(), constant(0.02, item_error=0.01)).kept
    # The items are those that the candidate was chosen by, among all trials.
    many = verdict(Confirmed(), constant(0.05, item_error=0.01, tried=1_000_000))
    assert not many.kept
    assert many.p is not None and clear.p is not None and many.p == pytest.approx(1e6 * clear.p)


def test_the_luck_with_the_hidden_items_is_in_the_error_of_noisy_recipes_too() -> None:
    plain, items = observed(3.0, 3.0, fresh=STEADY), 2.0
    assert verdict(Confirmed(), plain).kept
    found = Confirmed().judge(replace(plain, item_error=items))
    assert isinstance(found, Verdict) is False or not found.kept


def test_a_recipe_that_fixes_its_seed_has_the_evidence_of_one_run() -> None:
    best = {seed: 10.0 + 0.5 * (-1) ** seed for seed in range(100, 108)}
    fixed = replace(observed(1.0), confirm=Samples(dict.fromkeys(best, 8.5), best))
    found = LookTest((8,)).judge(fixed, 0.01)
    assert isinstance(found, Verdict)
    assert not found.kept and "one draw" in found.reason
    varied = Samples(
        {seed: value - 1.5 + 0.01 * (seed - 100) for seed, value in best.items()}, best
    )
    assert LookTest((8,)).judge(replace(fixed, confirm=varied), 0.01).kept  # type: ignore[union-attr]


def test_a_reader_of_a_log_scale_sees_percent() -> None:
    fresh = replace(
        observed(),
        scale=Scale.LOG,
        confirm=Samples(
            {seed: -0.1 - 0.001 * seed for seed in range(4)}, dict.fromkeys(range(4), 0.0)
        ),
        noise=Noise(Spread(0.0, 0.01, 10), {}, Spread(0.0, 0.007, 10)),
    )
    assert "gain +10.2 % (standard error 0.4" in verdict(Confirmed(), fresh).reason


def test_without_calibration_any_gain_is_confirmed() -> None:
    assert asked(Confirmed(), observed(0.01, 0.02, noise=None)).seeds == 4


@pytest.mark.parametrize("policy", [Confirmed(), Line()])
def test_a_hopeless_trial_shows_early(policy: Acceptance) -> None:
    bad, good = policy.promise(observed(-6.0), 4), policy.promise(observed(6.0), 4)
    assert bad is not None and bad < 0.01
    assert good is not None and good > 0.99
    assert policy.promise(observed(-6.0, noise=None), 4) is None


def test_against_a_pool_one_run_is_less_noisy_than_a_pair() -> None:
    # A loss of 1.5 is 1.5 standard deviations of a pair, and 2.1 of a run.
    pairs = Confirmed().promise(observed(-1.5), 4)
    pool = Confirmed().promise(replace(POOL, screen=Samples({1: 11.5}, {})), 4)
    assert pairs is not None and pool is not None and pool < pairs


def test_the_line_screens_on_one_seed_and_asks_for_fresh_ones_of_the_candidate_alone() -> None:
    policy = Line()
    assert isinstance(policy, LineAcceptance) and policy.screening == 1
    first = asked(policy, POOL)
    assert (first.seeds, first.alone) == (2, True)
    second = asked(policy, alone(0.4, 0.5, of=POOL))
    assert (second.seeds, second.alone) == (4, True)
    beside = asked(policy, observed(2.0))
    assert (beside.seeds, beside.alone) == (2, False)


def test_what_joins_the_line_is_told_as_provisional_by_its_fresh_seeds_alone() -> None:
    found = verdict(Line(), alone(0.4, 0.5, -0.1, 0.3, of=POOL))
    assert (found.kept, found.standing) == (True, Standing.PROVISIONAL)
    assert found.delta == pytest.approx(-0.275)
    assert (found.p, found.level) == (None, None)
    assert found.delta_se == pytest.approx(0.7 * (1 / 4 + 1 / 4) ** 0.5)
    assert found.reason.endswith("4 seeds that were fresh joined the working line")
    pairs = verdict(Line(), observed(2.0, fresh=(0.3, -0.1)))
    assert (pairs.standing, pairs.delta) == (Standing.PROVISIONAL, pytest.approx(-0.1))


def test_a_trial_whose_first_fresh_seeds_are_worse_has_no_more() -> None:
    found = verdict(Line(), alone(-0.6, -0.5, of=POOL))
    assert not found.kept and "2 seeds" in found.reason
    assert found.reason.endswith("did not show again")
    assert not verdict(Line(), alone(0.3, 0.1, -0.9, 0.2, of=POOL)).kept


@given(lead=st.floats(-10, 10))
def test_a_checkpoint_is_due_at_the_lead_and_at_the_end(lead: float) -> None:
    assert Line(lead=3.0).is_due(lead, at_end=False) == (lead >= 3.0)
    assert Line(lead=3.0).is_due(lead, at_end=True) == (lead > 0.0)


def test_a_checkpoint_begins_with_fresh_seeds_of_both_and_spends_the_level() -> None:
    policy = Line()
    start = policy.test(observed())
    assert isinstance(start, NeedMoreSeeds) and (start.seeds, start.alone) == (4, False)
    held = policy.test(observed(fresh=STEADY))
    assert isinstance(held, Verdict)
    assert (held.kept, held.standing) == (True, Standing.CERTIFIED)
    level = level_of_next(0.05, (), 20)
    assert held.level == pytest.approx(level * LookTest(policy.looks).share(1))
    failed = policy.test(observed(fresh=(-0.5, 0.4, -0.2, 0.1)))
    assert isinstance(failed, Verdict) and (failed.kept, failed.standing) == (False, None)


def test_keep_if_better_keeps_luck() -> None:
    found = KeepIfBetter().judge(observed(0.3, -0.2))
    assert (found.kept, found.standing) == (True, Standing.UNTESTED)
    assert found.reason == "gain +0.05, noise or not"
    lost = KeepIfBetter().judge(observed(-0.3, 0.2))
    assert (lost.kept, lost.standing, lost.reason) == (False, None, "gain -0.05 is no gain")


def test_two_sigma_is_twice_the_standard_error() -> None:
    assert not PairedTwoSigma().judge(observed(1.0, -0.2)).kept
    found = PairedTwoSigma().judge(observed(0.5, 0.48, 0.52))
    assert (found.kept, found.standing) == (True, Standing.UNTESTED)


@pytest.mark.parametrize("noise", ["OneQuestion", "RareQuestion", "ThreeQuestions"])
@pytest.mark.parametrize("policy", [Line(), Confirmed()])
def test_a_score_that_moves_in_steps_certifies_no_luck(
    monkeypatch: pytest.MonkeyPatch, policy: Acceptance, noise: str
) -> None:
    """A hidden set of few questions: at most 5 % of campaigns of worthless edits claim a gain."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    simulated = importlib.import_module("simulated_campaign")
    kind = getattr(importlib.import_module("simulated_noise"), noise)
    setting = simulated.Setting(seeds=2, calibration=4, trials=200)
    results = simulated.campaigns(policy, kind, lambda draw: 0.0, setting, range(20))
    assert sum(result.tests > 0 for result in results) > 0, "no luck was put to a test"
    assert sum(result.false > 0 for result in results) <= 0.05 * len(results)
