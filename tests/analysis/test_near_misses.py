"""The indexes of repairs find what a walk over all later trials finds."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipelab.analysis.history import History
from recipelab.analysis.near_misses import ALIKE, NEVER, AlikeQuery, first_alike, near_misses
from recipelab.analysis.similarity import TextVectors
from recipelab.core.trial import Status
from recipelab.lineage import PastTrial

from .histories import history, trial

WORDS = st.sampled_from(["wider", "block", "stem", "rate", "warmup", "exp_003", "trial 2", "x"])
HYPOTHESES = st.lists(WORDS, max_size=7).map(" ".join)
STATUSES = st.sampled_from([Status.KEPT, Status.DISCARDED, Status.GATE_MISSED, Status.CRASHED])


def first_repair(past: History, number: int) -> tuple[int, str] | None:
    """The repair of a near miss, found by a walk over all that was judged later."""
    own = TextVectors(item.hypothesis for item in past.trials)
    named = re.compile(rf"\b(?:exp|trial)[\s_#]*0*{number}(?!\d)", re.IGNORECASE)
    family = {number}
    for item in past.trials[number + 1 :]:
        if family & set(item.parents):
            family.add(item.number)
    numbers = [item.number for item in past.judged]
    surface = past.trials[number].surface
    for later in past.judged[numbers.index(number) + 1 :]:
        if later.status not in (Status.KEPT, Status.DISCARDED):
            continue
        if later.number in family:
            return later.number, "child"
        if named.search(later.hypothesis) or named.search(later.reason):
            return later.number, "named"
        if later.surface == surface and own.cosine(number, later.number) >= ALIKE:
            return later.number, "alike"
    return None


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Campaigns of up to thirty trials, judged in any order."""
    count = draw(st.integers(1, 30))
    trials: list[PastTrial] = [trial(0, Status.BASELINE, 10.0, hypothesis=draw(HYPOTHESES))]
    for number in range(1, count):
        status = draw(STATUSES)
        trials.append(
            trial(
                number,
                status,
                None if status is Status.CRASHED else draw(st.floats(1, 12)),
                parents=tuple(draw(st.sets(st.integers(0, number - 1), max_size=2))),
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


@settings(deadline=None, max_examples=200)
@given(st.lists(HYPOTHESES, min_size=3, max_size=40), HYPOTHESES, st.integers(0, 5))
def test_the_first_that_is_alike_is_found_block_by_block(
    texts: list[str], text: str, after: int
) -> None:
    vectors = TextVectors([*texts, text])
    alike = (
        place
        for place in range(len(texts))
        if after < place < len(texts) - 1 and vectors.cosine(len(texts), place) >= ALIKE
    )
    query = AlikeQuery(len(texts), after, len(texts) - 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recipelab.analysis.near_misses._BLOCK", 4)
        found = first_alike(vectors, [query, query], {place: place for place in range(len(texts))})
    assert found == [next(alike, NEVER)] * 2
