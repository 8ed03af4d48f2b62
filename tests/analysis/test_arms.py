"""Arms side by side: what is counted, and when arms differ."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipelab.analysis.arms import (
    RunFigures,
    compare_runs,
    count_tests,
    holm,
    paired,
    repeated,
    seeds_needed,
    sign_flip,
)
from recipelab.core.trial import Status
from recipelab.lineage import PastTrial

from .histories import WHEN, trial

RUN = RunFigures("c", (10.0, 10.0, 8.0), 20.0, 2, 1, 1, 0, 0, 0, 100, 5.0)


def failed(number: int, proposed: int, judged: int, signature: str) -> PastTrial:
    """A failure that was proposed and judged so many minutes after the start."""
    return replace(
        trial(number, Status.CRASHED, signature=signature),
        proposed_at=WHEN + timedelta(minutes=proposed),
        judged_at=WHEN + timedelta(minutes=judged),
    )


def test_a_failure_repeats_only_what_was_known_when_it_was_proposed() -> None:
    first = failed(1, 0, 10, "boom")
    meanwhile = failed(2, 5, 15, "boom")
    other = failed(3, 11, 16, "bang")
    later = failed(4, 12, 20, "boom")
    assert [item.number for item in repeated([first, meanwhile, other, later])] == [4]


def test_means_and_trials_to_the_best_gain_of_any_arm() -> None:
    slow = replace(RUN, scores=(10.0, 9.0, 8.9))
    told = compare_runs({"specialists": {0: RUN, 1: RUN}, "single": {0: slow, 1: slow}}, -1)
    assert told["specialists"]["best"] == {"mean": 8.0, "sd": 0.0}
    assert told["specialists"]["trials_to_90"] == 2
    assert (told["single"]["trials_to_90"], told["single"]["reached_90"]) == (None, 0)


def test_a_test_pairs_the_seeds_that_both_arms_have() -> None:
    base = {seed: replace(RUN, kept=seed) for seed in range(4)}
    more = {seed: replace(RUN, kept=seed + 2) for seed in range(1, 5)}
    told = compare_runs({"specialists": base, "single": more}, -1)["single"]["against"]["kept"]
    assert (told["pairs"], told["difference"]) == (3, 2)
    assert told["p"] == pytest.approx(2 / 2**3)
    # Of the four tests of the table, three found no difference at all.
    assert told["p_corrected"] == 1.0


@pytest.mark.parametrize(
    ("arms", "tests", "seeds"),
    [
        (("single",), 0, 6),
        (("specialists", "single"), 4, 8),
        (("specialists", "generic", "single", "no-lineage"), 12, 9),
    ],
)
def test_with_so_many_seeds_a_table_can_show_a_difference_and_with_fewer_it_cannot(
    arms: tuple[str, ...], tests: int, seeds: int
) -> None:
    assert count_tests(arms) == tests
    assert seeds_needed(tests) == seeds
    clear = {count: sign_flip([1.0] * count) for count in (seeds - 1, seeds)}
    others = [1.0] * (tests - 1)
    assert holm([clear[seeds - 1], *others])[0] > 0.05 >= holm([clear[seeds], *others])[0]


def test_p_values_are_corrected_by_the_steps_of_holm() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0, 1))
def test_a_corrected_p_below_a_level_is_one_that_holm_rejects(
    ps: list[float], level: float
) -> None:
    # The method as it was published: go up from the smallest, and stop at the first that stays.
    rejected = []
    for place, index in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        if (len(ps) - place) * ps[index] > level:
            break
        rejected.append(index)
    below = [index for index, p in enumerate(holm(ps)) if p <= level]
    assert below == sorted(rejected) or level == 1.0


def test_nothing_is_tested_without_the_specialists() -> None:
    assert compare_runs({"single": {0: RUN}}, -1)["single"]["against"] == {}


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=8))
def test_the_sign_flip_test_counts_all_patterns(values: list[int]) -> None:
    sums = [abs(sum(s * v for s, v in zip(signs, values, strict=True)))
            for signs in product((1, -1), repeat=len(values))]  # fmt: skip
    share = sum(total >= abs(sum(values)) for total in sums) / len(sums)
    assert sign_flip(values) == pytest.approx(share)


def test_many_seeds_are_drawn_and_agree_with_what_is_known() -> None:
    # Differences of plus and minus one: p is a tail of the binomial distribution.
    assert sign_flip([1.0] * 14 + [-1.0] * 6) == pytest.approx(0.1153, abs=0.01)
    assert sign_flip([1.0] * 30) < 1e-3
    assert sign_flip([0.0] * 30) == 1.0


def test_no_effect_where_nothing_spreads() -> None:
    assert paired([1.0, 2.0], [0.0, 1.0])["effect"] is None
    assert paired([], [])["p"] is None
