"""Proposals before anything runs: why not again, onto what, and how people end them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recipelab.core.errors import LineageError
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Edit, Evidence, FailureKind, Outcome, Proposal, Status
from recipelab.evaluation.proposals import (
    BASELINE,
    Candidate,
    ProposalChecker,
    Rejected,
    declined,
    killed,
)
from recipelab.lineage import LineageStore
from recipelab.packs.pack import Pack

TRAIN = "recipe/train.py"


@pytest.fixture
def checker(toy: Pack, store: LineageStore) -> ProposalChecker:
    made = ProposalChecker(store, "c", toy)
    made.take_baseline()
    return made


def proposed(checker: ProposalChecker, text: str, outcome: Outcome) -> int:
    """Submit a trial that has ended."""
    edits = (Edit(TRAIN, "X = 1.0", text),)
    proposal = Proposal("left", "left", BASELINE, "idea", -1.0, edits)
    number, _ = checker.take(proposal, round_number=None)
    checker.store.record("c", number, outcome)
    return number


@pytest.mark.parametrize("who_says", ["pack", "trial", "nobody"])
def test_where_every_seed_scores_the_same_more_seeds_tell_nothing(
    who_says: str, checker: ProposalChecker, toy: Pack
) -> None:
    checker.store.record("c", BASELINE, Outcome(Status.BASELINE, "", score=1.0))
    evidence = Evidence(BASELINE, planned=2, screened=2, deterministic=who_says == "trial")
    lost = Outcome(Status.DISCARDED, "no gain", score=2.0, delta=1.0, evidence=evidence)
    number = proposed(checker, "X = 2.0", lost)
    rules = toy.acceptance.model_copy(update={"deterministic": who_says == "pack"})
    asked = ProposalChecker(checker.store, "c", toy.model_copy(update={"acceptance": rules}))
    if who_says == "nobody":
        again, recipe = asked.take_again(number, "left", "Was it luck?", round_number=None)
        assert (again, recipe.files) == (number + 1, checker.recipe_of(number))
        return
    with pytest.raises(LineageError, match=rf"^trial {number} scores the same on every seed$"):
        asked.take_again(number, "left", "Was it luck?", round_number=None)


def test_a_change_merged_onto_a_new_head_is_checked_against_that_head(
    checker: ProposalChecker,
) -> None:
    checker.store.record("c", BASELINE, Outcome(Status.BASELINE, "", score=1.0))
    kept = proposed(checker, "X = 2.0", Outcome(Status.KEPT, "better", score=0.5, delta=-0.5))
    head = checker.recipe_of(kept)
    merged = Recipe({**head, TRAIN: head[TRAIN] + "Z = 3\n"})
    found = checker.check_merged(kept, merged)
    assert isinstance(found, Candidate)
    assert found.diff == Recipe(head).diff(merged), "what the head has already is no change of it"
    same = checker.check_merged(kept, Recipe(head))
    assert isinstance(same, Rejected)


def test_a_proposal_is_recorded_in_its_round_and_turn(checker: ProposalChecker) -> None:
    """Whether it is tried or not."""
    store = checker.store
    assert store.start_round("c") == 2
    turn = store.add_turn("c", "left", view="all trials", round_number=2)
    for text in ("X = 3.0", "X = ("):
        proposal = Proposal("left", "left", 0, "i", -1.0, (Edit(TRAIN, "X = 1.0", text),))
        number, _ = checker.take(proposal, round_number=2, turn=turn)
        found = store.turn_of("c", number)
        assert found is not None and found.number == turn
        assert store.trial("c", number).round == 2


def test_an_edit_nearly_like_that_of_a_trial_is_told(checker: ProposalChecker) -> None:
    first, near = (Edit(TRAIN, "X = 1.0", text) for text in ("X = 3.0", "X = 3.001"))
    number, _ = checker.take(
        Proposal("left", "left", BASELINE, "idea", -1.0, (first,)), round_number=None
    )
    found = checker.check(BASELINE, (near,))
    assert isinstance(found, Candidate)
    assert found.alike[0].endswith(f"trial {number} by left, in flight")
    checker.store.record("c", number, Outcome(Status.DISCARDED, "no gain", score=2.0))
    found = checker.check(BASELINE, (near,))
    assert isinstance(found, Candidate)
    assert found.alike[0].endswith(f"trial {number} by left, discarded (no gain)")


def test_the_starting_recipe_changes_nothing(checker: ProposalChecker) -> None:
    assert checker.store.trial("c", BASELINE).diff == ""


def test_a_starting_recipe_that_was_not_measured_is_that_of_the_pack_by_now(
    checker: ProposalChecker, toy: Pack
) -> None:
    train = toy.root / TRAIN
    train.write_text(train.read_text().replace("X = 1.0", "X = 7.0"))
    assert "X = 7.0" not in checker.recipe_of(BASELINE)[TRAIN]
    checker.renew_baseline()
    assert "X = 7.0" in checker.recipe_of(BASELINE)[TRAIN]
    found = checker.store.trial("c", BASELINE)
    assert found.digest == Recipe(checker.recipe_of(BASELINE)).digest


def test_what_a_person_ended_is_told_as_that() -> None:
    no = declined("too long")
    assert (no.status, no.reason) == (Status.REJECTED, "a person declined it: too long")
    assert no.failure is not None and no.failure.kind is FailureKind.DECLINED
    assert (no.failure.phase, no.failure.signature) == (None, "a person declined it")
    assert declined("").reason == "a person declined it: no reason given"
    ended = killed("step 7\n")
    assert (ended.status, ended.log_tail) == (Status.ABORTED, "step 7\n")
    assert ended.reason == "a person ended it while it ran"
    assert ended.failure is not None
    kind, words = FailureKind.KILLED, ended.reason
    assert ended.failure == replace(ended.failure, phase=None, kind=kind, signature=words)
