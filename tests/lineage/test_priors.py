"""Prior campaigns: which can be named, and whether their scores compare."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recipelab.core.errors import LineageError
from recipelab.lineage import LineageStore, prior_campaigns
from recipelab.lineage.campaigns import PRIORS, checked_priors, comparable, prior_note
from tests.lineage.helpers import CAMPAIGN, add_campaign


def test_names_are_given_once_in_the_order_asked_for(store: LineageStore) -> None:
    add_campaign(store, "old-1")
    add_campaign(store, "old-2")
    assert checked_priors(store, ["old-2", "old-1", "old-2"], CAMPAIGN) == ("old-2", "old-1")


@pytest.mark.parametrize("name", ["gone", CAMPAIGN])
def test_a_name_that_is_none_is_refused_with_those_there_are(
    store: LineageStore, name: str
) -> None:
    add_campaign(store, "old-1")
    with pytest.raises(LineageError, match=f"unknown prior campaign '{name}'; valid: old-1$"):
        checked_priors(store, ["old-1", name], CAMPAIGN)


def test_they_are_read_from_the_settings(store: LineageStore) -> None:
    record = store.campaign(CAMPAIGN)
    assert prior_campaigns(record) == ()
    with_priors = replace(record, settings={PRIORS: ["a", "b"]})
    assert prior_campaigns(with_priors) == ("a", "b")


def test_scores_compare_only_within_a_pack_and_profile(store: LineageStore) -> None:
    record = store.campaign(CAMPAIGN)
    same = replace(record, name="old")
    assert comparable(record, same)
    assert "same pack and profile" in prior_note(record, same)
    for other in (replace(same, profile="full"), replace(same, pack="other", profile="")):
        assert not comparable(record, other)
        assert "must not be compared" in prior_note(record, other)
    assert "it measured toy (full)" in prior_note(record, replace(same, profile="full"))
