"""The indexes of repairs find what a walk over all later trials finds."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipelab.analysis.history import History
from recipelab.analysis.near_misses import near_misses
from recipelab.core.trial import Status
from recipelab.lineage import PastTrial

from .histories import history, trial

WORDS = st.sampled_from(["wider", "block", "stem", "rate", "warmup", "exp_003", "trial 2", "x"])
HYPOTHESES = st.lists(WORDS, max_size=7).map(" ".join)
STATUSES = st.sampled_from([Status.KEPT, Status.DISCARDED, Status.GATE_MISSED, Status.CRASHED])


def first_repair(past: History, number: int) -> tuple[int, str] | None:
    """The repair of a near miss, found by a walk over all that was judged later."""
    named = re.compile(rf"\b(?:exp|trial)[\s_#]*0*{number}(?!\d)", re.IGNORECASE)
    family = {number}
    for _ in past.trials:
        family |= {item.number for item in past.trials if family & set(item.parents)}
    numbers = [item.number for item in past.judged]
    surface = past.trials[number].surface
    for later in past.judged[numbers.index(number) + 1 :]:
        if later.status not in (Status.KEPT, Status.DISCARDED):
            continue
        if later.number in family:
            return later.number, "child"
        mentions = named.search(later.hypothesis) or named.search(later.reason)
        if later.surface == surface and mentions:
            return later.number, "named"
    return None


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Campaigns of up to thirty trials, judged in any order, some moved onto later ones."""
    count = draw(st.integers(1, 30))
    lines = draw(st.permutations(range(1, count)))
    older = {number: [0, *lines[:place]] for place, number in enumerate(lines)}
    trials: list[PastTrial] = [trial(0, Status.BASELINE, 10.0, hypothesis=draw(HYPOTHESES))]
    for number in range(1, count):
        status = draw(STATUSES)
        trials.append(
            trial(
                number,
                status,
                None if status is Status.CRASHED else draw(st.floats(1, 12)),
                parents=tuple(draw(st.sets(st.sampled_from(older[number]), max_size=2))),
                surface=draw(st.sampled_from(["opt", "arch"])),
                hypothesis=draw(HYPOTHESES),
                excess=1.0 if status is Status.GATE_MISSED else None,
                signature="x" if status is Status.CRASHED else "",
            )
        )
    order = draw(st.permutations(range(1, count)))
    return history(*trials, order=[0, *order])


@settings(deadline=None, max_examples=200)
@given(histories())
def test_repairs_are_those_that_a_walk_finds(past: History) -> None:
    for miss in near_misses(past)["trials"]:
        repair = miss["repaired_by"]
        found = None if repair is None else (repair["trial"], repair["how"])
        assert found == first_repair(past, miss["trial"])


@pytest.mark.parametrize("surface", ["arch", "opt"])
def test_the_same_words_about_something_else_repair_nothing(surface: str) -> None:
    same = "from 8 to 16: nothing says that it was turned before, so its effect is worth knowing."
    past = history(
        trial(0, Status.BASELINE, 10.0),
        trial(1, Status.OVERSIZE, 8.0, excess=4.0, surface="arch", hypothesis=f"HEAD_GRID {same}"),
        trial(2, Status.KEPT, 9.0, surface=surface, hypothesis=f"WIDTH {same}"),
    )
    (miss,) = near_misses(past)["trials"]
    assert miss["repaired_by"] is None


def test_what_moved_onto_a_later_trial_is_its_child() -> None:
    past = history(
        trial(0, Status.BASELINE, 10.0),
        trial(1, Status.DISCARDED, 9.5, parents=(2, 0)),
        trial(2, Status.OVERSIZE, 8.0, excess=4.0),
        order=[0, 2, 1],
    )
    (miss,) = near_misses(past)["trials"]
    assert (miss["repaired_by"]["trial"], miss["repaired_by"]["how"]) == (1, "child")
