"""The effective number of idea clusters."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipelab.analysis.similarity import MOST, TextVectors, clusters, diversity, words
from recipelab.core.trial import Status

from .histories import history, trial

TEXTS = st.lists(st.text(st.sampled_from("ab cde fg"), max_size=30), max_size=12)
WARMUP = "longer warmup for the optimizer"
WIDER = "wider channels in block three"


def test_words_have_two_letters_and_neither_case_nor_digits() -> None:
    assert words("A LR of 3e-4: Warm-up, naïve x2") == ["lr", "of", "warm", "up", "naïve"]


def test_weights_are_as_the_docstring_says() -> None:
    found = TextVectors(["ab ab cd", "cd", ""])
    rare, common = (1 + math.log(2)) * math.log(4 / 1), math.log(4 / 2)
    length = math.hypot(rare, common)
    expected = [rare / length, common / length, 0.0, 1.0, 0.0, 0.0]
    assert found.matrix.toarray().ravel().tolist() == pytest.approx(expected)
    assert found.cosine(0, 1) == found.cosine(1, 0) == pytest.approx(common / length)
    assert found.cosine(0, 2) == found.cosine(2, 0) == found.cosine(2, 2) == 0.0


def test_sentences_that_all_hypotheses_share_do_not_make_them_alike() -> None:
    ends = (
        "nothing says that it was turned before, so its effect is worth knowing.",
        "trial 3 turned it from 2 to 4 and was kept, so this presses on from there.",
        "trial 5 turned it from 2 to 4 and ended as discarded, so this goes elsewhere.",
    )
    names = ("knob WIDTH", "knob HEAD_GRID", "knob HEAD_WIDTH", "play head")
    texts = [f"[{name}] set it from 8 to 16: {end}" for end in ends for name in names]
    assert clusters(texts) == [[0, 4, 8], [1, 5, 9], [2, 6, 10], [3, 7, 11]]


def test_words_of_every_hypothesis_weigh_less_than_those_that_tell_them_apart() -> None:
    frame = "We propose this edit because the current recipe seems limited by its"
    ideas = ("warmup", "stem", "augmentation", "batch", "decay", "crop", "momentum", "schedule")
    assert len(clusters([f"{frame} {idea}" for idea in ideas])) == len(ideas)
    assert len(clusters([f"{frame} {idea}" for idea in ideas * 2])) == len(ideas)


def test_equal_ideas_are_one_cluster_and_others_found_their_own() -> None:
    assert clusters([WARMUP, WIDER, WARMUP.upper(), WIDER + "!"]) == [[0, 2], [1, 3]]
    assert clusters(["", "7", ""]) == [[0], [1], [2]]


def test_the_effective_number_is_that_of_equal_shares() -> None:
    ideas = [WARMUP, WIDER, WARMUP, WIDER]
    found = diversity(
        history(
            trial(0, Status.BASELINE, 1.0, hypothesis="not counted"),
            *(trial(i + 1, Status.DISCARDED, hypothesis=text) for i, text in enumerate(ideas)),
        )
    )
    assert (found["hypotheses"], found["clusters"]) == (4, 2)
    assert found["effective_clusters"] == pytest.approx(2.0)
    assert found["inverse_simpson"] == pytest.approx(2.0)


def test_unequal_shares_count_for_less() -> None:
    ideas = [WARMUP, WARMUP, WARMUP, WIDER]
    trials = (trial(i, Status.DISCARDED, hypothesis=text) for i, text in enumerate(ideas))
    found = diversity(history(*trials))
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert found["effective_clusters"] == pytest.approx(math.exp(entropy))
    assert found["inverse_simpson"] == pytest.approx(1 / (0.75**2 + 0.25**2))


def test_of_many_hypotheses_a_part_is_taken() -> None:
    trials = (trial(i, Status.DISCARDED, hypothesis=WIDER) for i in range(MOST + 7))
    found = diversity(history(*trials))
    assert (found["hypotheses"], found["sample"], found["clusters"]) == (MOST + 7, MOST, 1)


@given(TEXTS)
def test_every_text_is_in_one_cluster_by_the_rule(texts: list[str]) -> None:
    groups = clusters(texts)
    assert sorted(i for group in groups for i in group) == list(range(len(texts)))
    found = TextVectors(texts)
    for group in groups:
        for member in group[1:]:
            own = found.cosine(member, group[0])
            earlier = [found.cosine(member, g[0]) for g in groups if g[0] < member]
            assert own >= max(earlier) - 1e-9
            assert own >= 0.3 - 1e-9
