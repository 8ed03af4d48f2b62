"""The working line: its head, what of it is certified, its checkpoints, and trials that move."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipelab.core.errors import LineageError
from recipelab.core.trial import (
    Checkpoint,
    Edit,
    Evidence,
    GateResult,
    Outcome,
    Phase,
    PhaseTiming,
    SeedRun,
    Standing,
    Status,
)
from recipelab.lineage import LineageStore, TrialFilter, keys_of
from recipelab.lineage.filter import descendants_among
from recipelab.lineage.lookup import trial_ids_of
from recipelab.lineage.similar import shape_of, stored_keys
from tests.lineage.helpers import CAMPAIGN, FILES, add_campaign, propose, with_campaign

CERTIFIED, PROVISIONAL, UNPROVEN, UNTESTED = Standing


def end(store: LineageStore, number: int, standing: Standing | None) -> int:
    """Judges a trial: kept with a standing, or discarded."""
    evidence = Evidence(0, 2, 2, standing=standing)
    status = Status.KEPT if standing else Status.DISCARDED
    store.record(CAMPAIGN, number, Outcome(status, "so", score=1.0, evidence=evidence))
    return number


def kept(store: LineageStore, *parents: int, standing: Standing = PROVISIONAL) -> int:
    """Adds a kept trial."""
    return end(store, propose(store, *parents), standing)


def started(store: LineageStore) -> None:
    """Adds the baseline."""
    store.record(CAMPAIGN, propose(store), Outcome(Status.BASELINE, "so", score=2.0))


def checkpoint(
    trial: int, against: int = 0, *, held: bool = False, fell: bool = False
) -> Checkpoint:
    """A plain checkpoint."""
    return Checkpoint(trial, against, held, fell, "so", 4, level=0.01)


def standings(store: LineageStore) -> list[Standing | None]:
    """How all trials stand."""
    return [brief.standing for brief in store.each_brief(CAMPAIGN)]


def test_a_trial_stands_as_its_evidence_says_and_untested_without_any(store: LineageStore) -> None:
    started(store)
    for standing in Standing:
        kept(store, 0, standing=standing)
    store.record(CAMPAIGN, propose(store, 0), Outcome(Status.KEPT, "so"))
    store.record(
        CAMPAIGN, propose(store, 0), Outcome(Status.KEPT, "so", evidence=Evidence(0, 1, 1))
    )
    end(store, propose(store, 0), None)
    propose(store, 0)
    expected = [None, *Standing, UNTESTED, UNTESTED, None, None]
    assert standings(store) == expected
    assert [record.standing for record in store.each_trial(CAMPAIGN)] == expected
    assert [past.standing for past in store.each_past_trial(CAMPAIGN)] == expected


def test_head_and_certified_recipe_are_found_among_the_kept(store: LineageStore) -> None:
    started(store)
    assert store.best(CAMPAIGN).number == store.certified(CAMPAIGN).number == 0
    kept(store, 0, standing=UNTESTED)
    assert (store.best(CAMPAIGN).number, store.certified_brief(CAMPAIGN).number) == (1, 0)
    kept(store, 1, standing=CERTIFIED)
    assert (store.best(CAMPAIGN).number, store.certified(CAMPAIGN).number) == (2, 2)
    kept(store, 2)
    kept(store, 3, standing=UNPROVEN)
    assert (store.best_brief(CAMPAIGN).number, store.certified(CAMPAIGN).number) == (3, 2)


def test_without_a_trial_nothing_is_best_or_certified(store: LineageStore) -> None:
    for ask in (store.best, store.certified, store.best_brief, store.certified_brief):
        with pytest.raises(LineageError, match=f"campaign {CAMPAIGN} has no trial 0"):
            ask(CAMPAIGN)


def test_a_checkpoint_that_holds_certifies_what_was_judged_up_to_its_head(
    store: LineageStore,
) -> None:
    started(store)
    late, first = propose(store, 0), kept(store, 0)
    head = kept(store, first)
    # It has the lowest number and was judged last.
    end(store, late, PROVISIONAL)
    store.add_checkpoint(CAMPAIGN, checkpoint(head, held=True))
    assert standings(store) == [None, PROVISIONAL, CERTIFIED, CERTIFIED]
    assert store.certified(CAMPAIGN).number == head
    assert store.best(CAMPAIGN).number == late


def test_a_line_that_falls_back_is_unproven_and_its_certified_recipe_heads_again(
    store: LineageStore,
) -> None:
    started(store)
    certified = kept(store, 0, standing=CERTIFIED)
    head = kept(store, certified)
    after = kept(store, head)
    store.add_checkpoint(CAMPAIGN, checkpoint(head, certified))
    assert standings(store) == [None, CERTIFIED, PROVISIONAL, PROVISIONAL]
    store.add_checkpoint(CAMPAIGN, checkpoint(head, certified, fell=True))
    assert standings(store) == [None, CERTIFIED, UNPROVEN, UNPROVEN]
    assert store.best(CAMPAIGN).number == certified
    outcome = store.trial(CAMPAIGN, after).outcome
    assert outcome is not None and outcome.evidence is not None
    assert outcome.evidence.standing is PROVISIONAL, "the judgment stays as it was"


def test_a_certified_recipe_that_went_bad_loses_its_standing_and_no_other_does(
    store: LineageStore,
) -> None:
    started(store)
    before = kept(store, 0, standing=CERTIFIED)
    bad = kept(store, before, standing=CERTIFIED)
    store.add_checkpoint(CAMPAIGN, checkpoint(bad, before, fell=True))
    assert standings(store) == [None, CERTIFIED, UNPROVEN]
    assert store.best(CAMPAIGN).number == store.certified(CAMPAIGN).number == before


def test_checkpoints_come_back_as_they_were_and_count_as_tests(store: LineageStore) -> None:
    started(store)
    kept(store, 0)
    runs = (SeedRun(7, (PhaseTiming(Phase.TRAIN, 1.0, 2.0, None),), {"metric": 1.5}),)
    gates = (GateResult("accuracy", 0.9, 0.8, 0.1, 0.02), GateResult("size", 1.0, 2.0, 1.0))
    whole = Checkpoint(
        *(1, 0, True, False, "better", 8, -0.5, 0.1, -0.7, -0.3, 0.001, 0.02, gates, runs, runs[:0])
    )
    began = datetime.now(UTC) - timedelta(seconds=1)
    for found in (checkpoint(1), whole):
        store.add_checkpoint(CAMPAIGN, found)
    records = store.checkpoints(CAMPAIGN)
    assert [record.found for record in records] == [checkpoint(1), whole]
    assert began < records[0].made_at <= records[1].made_at
    assert store.confirmations(CAMPAIGN) == (False, True)


def test_a_checkpoint_that_cannot_be_is_refused_whole(store: LineageStore) -> None:
    started(store)
    kept(store, 0)
    end(store, propose(store, 1), None)
    refused: Sequence[tuple[Checkpoint, type[Exception], str]] = [
        (checkpoint(9, held=True), LineageError, "has no trial 9"),
        (checkpoint(1, 9, held=True), LineageError, "has no trial 9"),
        (checkpoint(2, held=True), LineageError, "trial 2 of night-1 heads no line: it is disc"),
        (checkpoint(1, held=True, fell=True), ValueError, "held cannot have fallen back"),
        (Checkpoint(1, 0, True, False, "so", 4, delta=float("nan")), ValueError, "delta must be"),
        (
            Checkpoint(1, 0, True, False, "so", 4, gates=(GateResult("g", 1, 1, 0, float("inf")),)),
            ValueError,
            "error must be",
        ),
    ]
    for found, kind, message in refused:
        with pytest.raises(kind, match=message):
            store.add_checkpoint(CAMPAIGN, found)
    assert store.checkpoints(CAMPAIGN) == ()
    assert standings(store) == [None, PROVISIONAL, None]


STEPS = st.lists(
    st.sampled_from(["provisional", "certified", "untested", "discarded", "held", "fell", "on"]),
    max_size=12,
)


@settings(max_examples=30, deadline=None)
@given(steps=STEPS)
def test_head_and_certified_follow_whatever_happens(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    with with_campaign(tmp_path_factory.mktemp("lineage") / "lineage.db") as store:
        started(store)
        model: list[Standing | None] = [None]
        for step in steps:
            heads = [n for n, standing in enumerate(model) if standing not in (None, UNPROVEN)]
            head = heads[-1] if heads else 0
            if step in ("held", "fell", "on"):
                if head:
                    held, fell = step == "held", step == "fell"
                    store.add_checkpoint(CAMPAIGN, checkpoint(head, held=held, fell=fell))
                    becomes = CERTIFIED if held else UNPROVEN if fell else PROVISIONAL
                    model = [becomes if s is PROVISIONAL else s for s in model]
                    model[head] = UNPROVEN if fell else model[head]
            else:
                model.append(None if step == "discarded" else Standing(step))
                end(store, propose(store, head), model[-1])
            known = [n for n, s in enumerate(model) if s not in (None, UNPROVEN)]
            certified = [n for n, s in enumerate(model) if s is CERTIFIED]
            assert store.best_brief(CAMPAIGN).number == max(known, default=0)
            assert store.certified_brief(CAMPAIGN).number == max(certified, default=0)
        assert standings(store) == model


def test_trials_are_found_by_standing(store: LineageStore) -> None:
    started(store)
    for standing in (CERTIFIED, PROVISIONAL, CERTIFIED):
        kept(store, 0, standing=standing)
    end(store, propose(store, 0), None)

    def found(*wanted: Standing, **other: object) -> tuple[list[int], int]:
        page = store.briefs(CAMPAIGN, TrialFilter(standings=wanted, **other))  # type: ignore[arg-type]
        return [brief.number for brief in page.items], page.total

    assert found(CERTIFIED) == ([3, 1], 2)
    assert found(CERTIFIED, order="oldest", limit=1) == ([1], 2)
    assert found(PROVISIONAL, CERTIFIED) == ([3, 2, 1], 3)
    assert found(UNPROVEN) == ([], 0)
    assert found(CERTIFIED, surfaces=("opt",)) == ([3, 1], 2)
    assert found() == ([4, 3, 2, 1, 0], 5)


def test_each_campaign_has_a_secret_of_its_own_that_no_record_tells(store: LineageStore) -> None:
    add_campaign(store, "other")
    one, other = store.secret(CAMPAIGN), store.secret("other")
    assert len(one) == len(other) == 16 and one != other
    assert store.secret(CAMPAIGN) == one
    assert one.hex() not in repr(store.campaign(CAMPAIGN)) and "secret" not in vars(
        store.campaign(CAMPAIGN)
    )


def moved(store: LineageStore, number: int, onto: int, text: str = "x = 9\n") -> None:
    """Moves a trial onto another parent."""
    diff = "diff --git a/recipe/train.py b/recipe/train.py\n--- a/recipe/train.py\n"
    diff += "+++ b/recipe/train.py\n@@ -1 +1 @@\n-x = 1\n+" + text
    store.rebase(
        *(CAMPAIGN, number),
        onto=onto,
        files={**FILES, "recipe/train.py": text},
        digest="merged",
        diff=diff,
        meaning="means this",
        keys=keys_of(diff),
    )


def test_a_trial_in_flight_moves_onto_a_head_that_came_after_it(store: LineageStore) -> None:
    started(store)
    slow = propose(store, 0, digest="old")
    head = kept(store, 0)
    edits = store.trial(CAMPAIGN, slow).edits
    moved(store, slow, head)
    record = store.trial(CAMPAIGN, slow)
    assert (record.parents, record.digest, record.edits) == ((head, 0), "merged", edits)
    assert "+x = 9" in record.diff
    assert store.files(CAMPAIGN, slow)["recipe/train.py"] == "x = 9\n"
    # By its new edit and recipe it is found again, by the old ones it is not.
    twin = store.find_digest(CAMPAIGN, "merged")
    assert twin is not None and twin.number == slow
    assert store.find_digest(CAMPAIGN, "old") is None
    change = Edit("recipe/train.py", "x = 1", "x = 9")
    found = store.similar(CAMPAIGN, edits=(change,), parent=0)
    assert [(item.brief.number, item.why) for item in found][:1] == [(slow, "same edit")]
    with store._asking(CAMPAIGN) as (transaction, campaign_id):
        (slow_id,) = trial_ids_of(transaction, campaign_id, (slow,), CAMPAIGN)
        keys = transaction.values("SELECT key FROM trial_key WHERE trial_id = :id", id=slow_id)
    expected = stored_keys(
        campaign_id,
        "merged",
        keys_of(record.diff),
        "means this",
        shape_of(store.files(CAMPAIGN, slow)),
    )
    assert sorted(keys) == expected
    assert [brief.number for brief in store.children(CAMPAIGN, head).items] == [slow]
    assert [r.number for r in store.chain(CAMPAIGN, slow)] == [0, head, slow]
    assert store.briefs(CAMPAIGN, TrialFilter(text="x=9")).total == 1


def test_a_trial_moves_twice_and_its_words_follow(store: LineageStore) -> None:
    started(store)
    slow = propose(store, 0)
    one = kept(store, 0)
    moved(store, slow, one)
    two = kept(store, one)
    moved(store, slow, two, "x = 10\n")
    assert store.trial(CAMPAIGN, slow).parents == (two, one, 0)
    assert store.briefs(CAMPAIGN, TrialFilter(text="x=9")).total == 0
    page = store.children(CAMPAIGN, 0)
    assert sorted(brief.number for brief in page.items) == [slow, one]


def test_what_cannot_move_stays(store: LineageStore) -> None:
    started(store)
    done = end(store, propose(store, 0), None)
    slow = propose(store, 0)
    head = kept(store, slow)
    other = propose(store, 0)
    for number, onto, message in (
        (done, 0, "trial 1 of night-1 is judged already: discarded"),
        (slow, done, "trial 2 .* onto trial 1, which is discarded; valid: .* baseline or kept"),
        (slow, other, "onto trial 4, which is in flight"),
        (slow, head, "onto trial 3, which was made from it"),
        (slow, 9, "has no trial 9"),
    ):
        with pytest.raises(LineageError, match=message):
            moved(store, number, onto)
    assert store.trial(CAMPAIGN, slow).parents == (0,)


def test_descent_is_followed_through_a_parent_of_a_higher_number(store: LineageStore) -> None:
    started(store)
    slow = propose(store, 0)
    head = kept(store, 0)
    moved(store, slow, head)
    end(store, slow, PROVISIONAL)
    child = propose(store, slow)
    aside = propose(store, 0)
    found = store.briefs(CAMPAIGN, TrialFilter(ancestor=head, order="oldest"))
    assert [brief.number for brief in found.items] == [slow, child]
    # The way of large families, which asks each trial whether it is a descendant.
    with store._asking(CAMPAIGN) as (transaction, campaign_id):
        ids = trial_ids_of(transaction, campaign_id, range(5), CAMPAIGN)
        assert descendants_among(transaction, ids, ids[head]) == {ids[slow], ids[child]}
        assert descendants_among(transaction, ids, ids[0]) == set(ids[1:])
        assert descendants_among(transaction, ids, ids[aside]) == set()


def test_a_trial_is_proposed_on_the_head_of_its_moment_or_was_moved_since(
    store: LineageStore,
) -> None:
    started(store)
    on_head, beside = propose(store, 0), kept(store, 0)
    stale, on_new = propose(store, 0), propose(store, beside)
    assert store.proposed_on_head(CAMPAIGN, 0) is None
    assert [store.proposed_on_head(CAMPAIGN, n) for n in (on_head, stale, on_new)] == [
        0,
        None,
        beside,
    ]
    # Nor was one moved whose parent was still in flight when it was proposed.
    early = propose(store, parent := propose(store, beside))
    end(store, parent, None)
    assert store.proposed_on_head(CAMPAIGN, early) is None
    moved(store, on_head, beside)
    assert store.proposed_on_head(CAMPAIGN, on_head) == beside
    store.add_checkpoint(CAMPAIGN, checkpoint(beside, fell=True))
    # The line fell back: the baseline heads again, and what stood on the old head still did.
    assert store.proposed_on_head(CAMPAIGN, propose(store, 0)) == 0
    assert store.proposed_on_head(CAMPAIGN, propose(store, beside)) is None
    assert store.proposed_on_head(CAMPAIGN, on_new) == beside


def test_the_winner_is_certified_or_of_a_policy_that_tests_nothing(store: LineageStore) -> None:
    started(store)

    def winner(*, head: bool = False) -> int:
        return store.winner_brief(CAMPAIGN, head=head).number

    assert winner() == winner(head=True) == 0
    untested = kept(store, 0, standing=UNTESTED)
    assert winner() == untested
    provisional = kept(store, untested)
    assert (winner(), winner(head=True)) == (0, provisional)
    store.add_checkpoint(CAMPAIGN, checkpoint(provisional, held=True))
    later = kept(store, provisional)
    assert (winner(), winner(head=True)) == (provisional, later)
