"""The working line in the lineage: its head, what is certified, and what fell back."""

from __future__ import annotations

import pytest

from recipelab.core.errors import LineageError
from recipelab.core.recipe import Recipe
from recipelab.core.trial import (
    Checkpoint,
    Evidence,
    GateResult,
    Outcome,
    Phase,
    PhaseTiming,
    SeedRun,
    Standing,
    Status,
)
from recipelab.lineage import LineageStore
from tests.lineage.helpers import CAMPAIGN, FILES, proposal


def proposed(store: LineageStore, parent: int | None = 0, files: dict[str, str] = FILES) -> int:
    recipe = Recipe(files)
    return store.propose(
        CAMPAIGN,
        proposal("why"),
        parents=() if parent is None else (parent,),
        files=files,
        digest=recipe.digest,
        diff="",
        round_number=None,
    )


def judged(
    store: LineageStore, status: Status, standing: Standing | None = None, parent: int | None = 0
) -> int:
    number = proposed(store, parent)
    evidence = Evidence(0, 1, 1, 4, standing=standing)
    store.record(CAMPAIGN, number, Outcome(status, "so", score=1.0, evidence=evidence))
    return number


def started(store: LineageStore) -> None:
    judged(store, Status.BASELINE, parent=None)


def kept(store: LineageStore, standing: Standing = Standing.PROVISIONAL) -> int:
    return judged(store, Status.KEPT, standing, store.best_brief(CAMPAIGN).number)


def standings(store: LineageStore) -> list[str | None]:
    return [brief.standing for brief in store.trials(CAMPAIGN)]


def held(trial: int, against: int = 0) -> Checkpoint:
    return Checkpoint(trial, against, True, False, "it holds", 4)


def fell_back(trial: int, against: int = 0) -> Checkpoint:
    return Checkpoint(trial, against, False, True, "it does not", 4)


def test_the_head_leads_and_the_certified_recipe_is_behind_it(store: LineageStore) -> None:
    started(store)
    assert store.certified_brief(CAMPAIGN).number == 0
    first, second = kept(store), kept(store)
    judged(store, Status.DISCARDED)
    assert store.best_brief(CAMPAIGN).number == second
    assert store.certified(CAMPAIGN).number == 0
    store.add_checkpoint(CAMPAIGN, held(second))
    assert store.certified_brief(CAMPAIGN).number == second
    assert store.brief(CAMPAIGN, first).standing is Standing.CERTIFIED
    assert store.trial(CAMPAIGN, first).standing is Standing.CERTIFIED


def test_a_line_that_falls_back_leaves_the_certified_recipe_at_the_head(
    store: LineageStore,
) -> None:
    started(store)
    first = kept(store)
    store.add_checkpoint(CAMPAIGN, held(first))
    second, third = kept(store), kept(store)
    store.add_checkpoint(CAMPAIGN, fell_back(third, first))
    assert store.best(CAMPAIGN).number == first == store.certified(CAMPAIGN).number
    assert standings(store) == [None, "certified", "unproven", "unproven"]
    fourth = kept(store)
    assert store.best_brief(CAMPAIGN).number == fourth
    assert store.brief(CAMPAIGN, second).standing is Standing.UNPROVEN


def test_a_checkpoint_without_a_verdict_changes_no_standing(store: LineageStore) -> None:
    started(store)
    first = kept(store)
    store.add_checkpoint(CAMPAIGN, Checkpoint(first, 0, False, False, "not yet", 32))
    assert store.best_brief(CAMPAIGN).number == first
    assert standings(store) == [None, "provisional"]


def test_only_trials_up_to_the_head_are_certified(store: LineageStore) -> None:
    started(store)
    first, second = kept(store), kept(store)
    store.add_checkpoint(CAMPAIGN, held(first))
    assert standings(store) == [None, "certified", "provisional"]
    assert store.certified_brief(CAMPAIGN).number == first
    assert store.best_brief(CAMPAIGN).number == second


def test_a_keep_that_says_nothing_is_untested(store: LineageStore) -> None:
    started(store)
    number = proposed(store)
    store.record(CAMPAIGN, number, Outcome(Status.KEPT, "so", score=1.0))
    assert store.brief(CAMPAIGN, number).standing is Standing.UNTESTED
    assert store.best_brief(CAMPAIGN).number == number
    assert store.certified_brief(CAMPAIGN).number == 0


def test_a_checkpoint_comes_back_as_it_was(store: LineageStore) -> None:
    started(store)
    number = kept(store)
    timings = (PhaseTiming(Phase.TRAIN, 2.0, 1.5, 20.0),)
    found = Checkpoint(
        number,
        0,
        True,
        False,
        "it holds",
        2,
        -1.5,
        0.1,
        -1.8,
        -1.2,
        0.0004,
        0.001,
        (GateResult("fit", 0.9, 0.8, 0.1, 0.02),),
        (SeedRun(2**31 - 1, timings, {"metric": 1.5}), SeedRun(3, (), {"metric": 1.0})),
        (SeedRun(3, (), {"metric": 2.0}),),
    )
    store.add_checkpoint(CAMPAIGN, found)
    (record,) = store.checkpoints(CAMPAIGN)
    assert (record.position, record.found) == (0, found)
    with pytest.raises(ValueError, match="delta"):
        store.add_checkpoint(CAMPAIGN, Checkpoint(number, 0, True, False, "", 2, float("nan")))
    assert len(store.checkpoints(CAMPAIGN)) == 1


def test_tests_of_trials_and_lines_use_up_one_level(store: LineageStore) -> None:
    started(store)
    number = kept(store)
    assert store.confirmations(CAMPAIGN) == ()
    store.add_checkpoint(CAMPAIGN, fell_back(number))
    number = kept(store)
    store.add_checkpoint(CAMPAIGN, held(number))
    assert store.confirmations(CAMPAIGN) == (False, True)


def test_a_rebased_trial_has_the_merged_recipe_and_both_parents(store: LineageStore) -> None:
    started(store)
    number = proposed(store)
    onto = kept(store)
    merged = Recipe({"recipe/train.py": "x = 3\n", "recipe/model.py": "y = 4\n"})
    store.rebase(
        CAMPAIGN,
        number,
        onto=onto,
        files=merged.files,
        digest=merged.digest,
        diff="+x = 3",
        meaning=merged.meaning,
    )
    record = store.trial(CAMPAIGN, number)
    assert store.files(CAMPAIGN, number) == merged.files
    assert (record.parents, record.digest, record.diff) == ((onto, 0), merged.digest, "+x = 3")
    assert record.edits == proposal("why").edits
    twin = store.find_digest(CAMPAIGN, merged.digest)
    assert twin is not None and twin.number == number
    assert [item.number for item in store.chain(CAMPAIGN, number)] == [0, onto, number]
    assert number in [item.number for item in store.children(CAMPAIGN, 0).items]
    store.record(CAMPAIGN, number, Outcome(Status.DISCARDED, "so"))
    with pytest.raises(LineageError, match="judged already"):
        store.rebase(CAMPAIGN, number, onto=0, files=FILES, digest="", diff="")


def test_who_was_proposed_on_the_best_of_the_moment_is_known_later(store: LineageStore) -> None:
    started(store)
    early = proposed(store)
    first = kept(store)
    on_head, branch = proposed(store, first), proposed(store, 0)
    assert store.proposed_on_head(CAMPAIGN, early) == 0
    assert store.proposed_on_head(CAMPAIGN, on_head) == first
    assert store.proposed_on_head(CAMPAIGN, branch) is None
    assert store.proposed_on_head(CAMPAIGN, 0) is None
    store.add_checkpoint(CAMPAIGN, fell_back(first))
    # The line fell back after it was proposed, and it moves to what is the best by then.
    assert store.proposed_on_head(CAMPAIGN, on_head) == first
    assert store.proposed_on_head(CAMPAIGN, proposed(store, 0)) == 0


def test_every_campaign_has_a_secret_that_no_record_shows(store: LineageStore) -> None:
    secret = store.secret(CAMPAIGN)
    assert len(secret) == 16 and secret == store.secret(CAMPAIGN)
    assert secret.hex() not in repr(store.campaign(CAMPAIGN))
    other = store.create_campaign(
        name="other",
        pack="toy",
        profile="mini",
        model="offline",
        sandbox="local",
        seed=0,
        trials=None,
        hours=None,
        settings={},
    )
    assert store.secret(other.name) != secret
