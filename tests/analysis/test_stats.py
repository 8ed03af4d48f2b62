"""The figures of a campaign, on histories small enough to count by hand."""

from __future__ import annotations

import json
import math

import pytest

from recipelab.analysis import campaign_stats
from recipelab.analysis.near_misses import near_misses
from recipelab.analysis.stats import best_so_far, chain_facts, curve, repeats, sparkline, spending
from recipelab.core.trial import Status
from recipelab.packs.judging_sections import Goal

from .histories import history, small, trial


def test_counts_by_status_surface_and_specialist() -> None:
    stats = campaign_stats(small())
    assert (stats["trials"], stats["kept"]) == (7, 2)
    assert stats["by_status"] == {
        "baseline": 1,
        "kept": 2,
        "discarded": 1,
        "crashed": 2,
        "oversize": 2,
        "in_flight": 1,
    }
    ended = {"crashed": 2, "oversize": 1, "kept": 1}
    arch = {"trials": 4, "kept": 1, "failed": 3, "by_status": ended}
    assert stats["by_surface"]["arch"] == arch
    assert stats["by_specialist"]["arch agent"] == arch
    assert stats["by_surface"]["opt"]["kept"] == 1


def test_failures_are_shares_of_the_judged_proposals() -> None:
    failures = campaign_stats(small())["failures"]
    assert failures["failed"] == 4
    assert failures["rate"] == pytest.approx(4 / 7)
    assert failures["by_status"] == pytest.approx({"crashed": 2 / 7, "oversize": 2 / 7})
    assert failures["by_kind"] == pytest.approx({"other": 4 / 7})
    assert failures["by_phase"] == pytest.approx({"train": 4 / 7})
    assert failures["missed_gates"] == {"size": {"missed": 2, "median_excess": 5.0}}


def test_the_best_so_far_changes_where_a_trial_was_kept() -> None:
    points = curve(small())
    assert [(p["trial"], p["judged"], p["score"]) for p in points] == [
        (0, 0, 10.0),
        (5, 5, 9.0),
        (6, 6, 8.0),
    ]
    assert [p["change_percent"] for p in points] == pytest.approx([0.0, -10.0, -20.0])
    assert best_so_far(small()) == [10.0] * 5 + [9.0, 8.0, 8.0]
    assert campaign_stats(small())["best"] == points[-1]


def test_the_order_of_judging_decides_what_was_best_when() -> None:
    trials = (
        trial(0, Status.BASELINE, 10.0),
        trial(1, Status.KEPT, 9.0),
        trial(2, Status.KEPT, 9.5),
        trial(3, Status.GATE_MISSED, 9.2, excess=1.0),
    )
    late = history(*trials, order=(0, 2, 3, 1))
    assert [point["trial"] for point in curve(late)] == [0, 2, 1]
    assert near_misses(late)["count"] == 1
    assert near_misses(history(*trials, order=(0, 2, 1, 3)))["count"] == 0


def test_repeats_count_what_came_after_the_first_of_a_signature() -> None:
    found = repeats(small())
    assert (found["failures"], found["signatures"], found["repeated"]) == (4, 2, 2)
    first = found["most_frequent"][0]
    assert (first["signature"], first["count"]) == ("no such name", 2)
    assert (first["first"], first["last"]) == ({"trial": 2}, {"trial": 4})


def test_chains_follow_first_parents() -> None:
    facts = chain_facts(
        history(
            trial(0, Status.BASELINE, 3.0),
            trial(1, Status.KEPT, 2.0),
            trial(2, Status.DISCARDED, 2.5, parents=(1, 0)),
            trial(3, Status.KEPT, 1.0, parents=(0, 2)),
            trial(4, Status.CRASHED, parents=(2,), signature="x"),
        )
    )
    assert [item["trial"] for item in facts["best_chain"]] == [0, 3]
    assert (facts["best_depth"], facts["deepest"], facts["deepest_kept"]) == (1, 3, 1)
    assert facts["mean"] == pytest.approx((1 + 2 + 1 + 3) / 4)


def test_time_is_summed_over_the_trials_that_tell_it() -> None:
    spent = spending(small())
    assert spent["baseline"] == {
        "trials": 1,
        "wall_seconds": 4.0,
        "wall_seconds_of": 1,
        "cpu_seconds": 8.0,
        "cpu_seconds_of": 1,
        "device_seconds": 4.0,
        "device_seconds_of": 1,
        "seed_runs": 2,
    }
    assert (spent["kept"]["wall_seconds"], spent["kept"]["wall_seconds_of"]) == (7.0, 1)
    assert spent["crashed"]["device_seconds"] is None


def test_a_near_miss_beat_the_best_of_its_moment() -> None:
    found = near_misses(small())
    assert (found["count"], found["repaired"], found["kept_after_repair"]) == (1, 1, 1)
    assert found["by_status"] == {"oversize": 1}
    assert found["missed_gates"] == {"size": {"missed": 1, "median_excess": 4.0}}
    (item,) = found["trials"]
    assert (item["trial"], item["best"], item["excess"]) == (3, 10.0, {"size": 4.0})
    assert item["repaired_by"] == {"trial": 5, "how": "named", "kept": True}


@pytest.mark.parametrize(
    ("parents", "surface", "hypothesis", "how"),
    [
        ((1,), "arch", "", "child"),
        ((0,), "opt", "as exp_001, but smaller", "named"),
        ((0,), "opt", "Trial #1 again", "named"),
        ((0,), "arch", "unlike trial 1", None),
        ((0,), "opt", "wider blocks with a larger stem", None),
        ((0,), "opt", "as trial 10 did", None),
    ],
)
def test_what_repairs_a_near_miss(
    parents: tuple[int, ...], surface: str, hypothesis: str, how: str | None
) -> None:
    idea = "wider blocks with a larger stem"
    later = trial(
        2, Status.DISCARDED, 11.0, parents=parents, surface=surface, hypothesis=hypothesis
    )
    found = near_misses(
        history(
            trial(0, Status.BASELINE, 10.0, hypothesis="as it was found"),
            trial(1, Status.GATE_MISSED, 9.0, excess=1.0, hypothesis=idea),
            later,
        )
    )
    repair = found["trials"][0]["repaired_by"]
    assert (repair and repair["how"]) == how
    assert found["kept_after_repair"] == 0


def test_near_misses_go_by_the_goal() -> None:
    trials = (trial(0, Status.BASELINE, 1.0), trial(1, Status.GATE_MISSED, 2.0, excess=1.0))
    assert near_misses(history(*trials))["count"] == 0
    assert near_misses(history(*trials, goal=Goal.MAXIMIZE))["count"] == 1


def test_a_sparkline_has_a_bar_for_each_stretch() -> None:
    assert sparkline([]) == ""
    assert sparkline([5.0, 5.0]) == "▁▁"
    assert sparkline([0.0, 7.0]) == "▁█"
    assert len(sparkline([float(i) for i in range(1000)], width=60)) == 60


def test_all_figures_are_plain_data_for_any_campaign() -> None:
    for item in (history(), history(trial(0, None)), small()):
        stats = campaign_stats(item)
        assert json.loads(json.dumps(stats, allow_nan=False)) == stats
    assert campaign_stats(history())["best"] is None
    assert not math.isnan(campaign_stats(history())["diversity"]["effective_clusters"])
