"""Notes, usage, leases, repaired failures, near misses and trials that are alike."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recipelab.core.errors import LineageError
from recipelab.core.recipe import Recipe
from recipelab.core.trial import (
    Edit,
    Failure,
    FailureKind,
    GateResult,
    Outcome,
    Phase,
    Proposal,
    Status,
)
from recipelab.lineage import LineageStore, TrialFilter
from tests.lineage.helpers import CAMPAIGN, judged, outcome, propose

TEXT = "RATE = 0.1  # knob opt: 0.01 .. 1 log\nSTEPS = 10\n\n\ndef train(x):\n    return x + 1\n"


def crashed(signature: str) -> Outcome:
    failure = Failure(Phase.TRAIN, FailureKind.VALUE, signature, f"Traceback\n{signature}")
    return Outcome(Status.CRASHED, signature, failure=failure)


def missed(score: float, value: float) -> Outcome:
    gates = (GateResult("accuracy", value, 0.8, value - 0.8),)
    failure = Failure(None, FailureKind.GATE, "accuracy below #", "accuracy")
    return replace(outcome(Status.GATE_MISSED, score), gates=gates, failure=failure)


def edited(store: LineageStore, *edits: Edit, parent: int = 0, words: str = "try it") -> int:
    before = Recipe(store.files(CAMPAIGN, parent))
    after = before.apply(edits, ["*.py"])
    return store.propose(
        CAMPAIGN,
        Proposal("opt", "opt", parent, words, 0.0, edits),
        parents=(parent,),
        files=after.files,
        digest=after.digest,
        diff=before.diff(after),
        round_number=None,
    )


def baseline(store: LineageStore) -> None:
    store.propose(
        CAMPAIGN,
        Proposal("campaign", "baseline", -1, "the start", 0.0, ()),
        parents=(),
        files={"t.py": TEXT},
        digest=Recipe({"t.py": TEXT}).digest,
        diff="",
        round_number=None,
    )
    store.record(CAMPAIGN, 0, outcome(Status.BASELINE, 10.0))


def test_notes_reach_whom_they_are_for_until_they_are_retired(store: LineageStore) -> None:
    store.add_note(CAMPAIGN, "all of you")
    own = store.add_note(CAMPAIGN, "only opt", specialist="opt")
    assert [note.text for note in store.notes(CAMPAIGN, specialist="arch")] == ["all of you"]
    assert [note.number for note in store.notes(CAMPAIGN, specialist="opt")] == [1, 2]
    store.retire_note(CAMPAIGN, own.number)
    assert [note.number for note in store.notes(CAMPAIGN)] == [1]
    assert [note.number for note in store.notes(CAMPAIGN, retired=True)] == [1, 2]
    with pytest.raises(LineageError, match="9"):
        store.retire_note(CAMPAIGN, 9)
    with pytest.raises(LineageError, match="has no trial"):
        store.add_note(CAMPAIGN, "about nothing", trial=77)


def test_usage_adds_up(store: LineageStore) -> None:
    for _ in range(3):
        store.add_usage(
            CAMPAIGN,
            specialist="opt",
            model="m",
            prompt_tokens=10,
            completion_tokens=2,
            seconds=0.5,
            cost=0.25,
        )
    (total,) = store.usage(CAMPAIGN)
    assert (total.calls, total.prompt_tokens, total.completion_tokens) == (3, 30, 6)
    assert (total.seconds, total.cost) == (1.5, 0.75)
    with pytest.raises(LineageError, match="prompt_tokens"):
        store.add_usage(
            CAMPAIGN,
            specialist="opt",
            model="m",
            prompt_tokens=-1,
            completion_tokens=0,
            seconds=0.0,
        )
    with pytest.raises(ValueError, match="cost"):
        store.add_usage(
            CAMPAIGN,
            specialist="opt",
            model="m",
            prompt_tokens=0,
            completion_tokens=0,
            seconds=0.0,
            cost=float("inf"),
        )


def test_leases_of_the_dead_can_be_told_from_those_of_the_living(store: LineageStore) -> None:
    number = propose(store)
    store.lease_slot(CAMPAIGN, number, "gpu-0", sandbox="docker", owner="dead")
    store.lease_slot(CAMPAIGN, number, "gpu-1", sandbox="docker", owner="alive")
    assert {lease.slot for lease in store.leases(CAMPAIGN)} == {"gpu-0", "gpu-1"}
    (dead,) = store.dead_leases(lambda owner: owner == "alive")
    assert (dead.campaign, dead.trial, dead.slot) == (CAMPAIGN, number, "gpu-0")
    store.release_slot(CAMPAIGN, number)
    assert store.leases() == ()


def test_what_got_past_a_failure(store: LineageStore) -> None:
    baseline(store)
    store.record(CAMPAIGN, edited(store, Edit("t.py", "10", "11")), crashed("ValueError: no"))
    fix = edited(store, Edit("t.py", "11", "12"), parent=1)
    store.record(CAMPAIGN, fix, outcome(Status.DISCARDED))
    store.record(CAMPAIGN, edited(store, Edit("t.py", "10", "13")), crashed("ValueError: no"))
    (group,) = store.failures(CAMPAIGN).items
    assert (group.count, group.first, group.last) == (2, 1, 3)
    assert group.fixed_by == (fix,)
    assert "ValueError: no" in group.excerpt


def test_who_failed_and_then_measured_has_mended_it(store: LineageStore) -> None:
    """Also where the next attempt is made from the same parent, but by nobody else."""
    baseline(store)
    store.record(CAMPAIGN, edited(store, Edit("t.py", "10", "11")), crashed("ValueError: no"))
    stranger = store.propose(
        CAMPAIGN,
        Proposal("arch", "opt", 0, "mine", 0.0, ()),
        parents=(0,),
        files={"t.py": "x = 1\n"},
        digest="",
        diff="",
        round_number=None,
    )
    store.record(CAMPAIGN, stranger, outcome(Status.DISCARDED))
    again = edited(store, Edit("t.py", "10", "12"))
    store.record(CAMPAIGN, again, outcome(Status.DISCARDED))
    store.record(CAMPAIGN, edited(store, Edit("t.py", "10", "13")), outcome(Status.DISCARDED))
    (group,) = store.failures(CAMPAIGN).items
    assert group.fixed_by == (again,)


def test_near_misses_are_held_against_the_best_of_now(store: LineageStore) -> None:
    baseline(store)
    for step, (score, value) in enumerate([(8.0, 0.79), (9.0, 0.75), (11.0, 0.5)]):
        store.record(CAMPAIGN, edited(store, Edit("t.py", "10", f"2{step}")), missed(score, value))
    found = store.near_misses(CAMPAIGN).items
    assert [miss.brief.number for miss in found] == [1, 2]
    assert [miss.gain for miss in found] == pytest.approx([2.0, 1.0])
    assert found[0].missed[0].excess == pytest.approx(0.01)
    page = store.near_misses(CAMPAIGN, limit=1)
    assert ([miss.brief.number for miss in page.items], page.total) == ([1], 2)
    store.record(CAMPAIGN, edited(store, Edit("t.py", "10", "30")), outcome(Status.KEPT, 8.5))
    assert [miss.brief.number for miss in store.near_misses(CAMPAIGN).items] == [1]
    assert store.near_misses(CAMPAIGN, goal="maximize").items[0].brief.number == 3


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (Edit("t.py", "RATE = 0.1 ", "RATE = 0.2 "), "same edit"),
        (Edit("t.py", "RATE = 0.1  # knob", "RATE   =   0.2  # knob"), "same edit"),
        (Edit("t.py", "STEPS = 10\n\n", "STEPS = 20\n\n"), None),
        (Edit("t.py", "RATE = 0.1 ", "RATE = 0.3 "), None),
    ],
)
def test_an_edit_that_was_made_before_is_found(
    store: LineageStore, edit: Edit, why: str | None
) -> None:
    baseline(store)
    first = edited(store, Edit("t.py", "RATE = 0.1 ", "RATE = 0.2 "))
    store.record(CAMPAIGN, first, outcome(Status.DISCARDED))
    found = store.edit_alike(CAMPAIGN, (edit,), 0)
    assert [(item.brief.number, item.why) for item in found] == ([(first, why)] if why else [])


def test_the_same_knob_and_value_on_another_parent(store: LineageStore) -> None:
    baseline(store)
    store.record(CAMPAIGN, edited(store, Edit("t.py", "RATE = 0.1 ", "RATE = 0.2 ")), outcome())
    other = edited(store, Edit("t.py", "x + 1", "x + 2"))
    store.record(CAMPAIGN, other, outcome())
    rate = (Edit("t.py", "RATE = 0.1 ", "RATE = 0.2 "),)
    found = store.similar(CAMPAIGN, edits=rate, parent=other)
    assert found[0].brief.number == 1
    assert found[0].why in ("same edit", "same knob and value")
    # Without a parent it is the best, of which both trials were made.
    assert store.similar(CAMPAIGN, edits=rate)[0].why == "same recipe"


def test_words_find_what_is_alike(store: LineageStore) -> None:
    baseline(store)
    for words in ("warm up the learning rate slowly", "crop images at random"):
        store.record(
            CAMPAIGN,
            edited(store, Edit("t.py", "10", str(len(words))), words=words),
            outcome(),
        )
    found = store.similar(CAMPAIGN, text="a slow warm up of the learning rate")
    assert found[0].brief.number == 1
    assert 0 < found[0].likeness < 1
    assert found[0].why == "alike in words"


def test_a_recipe_costs_only_the_files_that_it_changes(store: LineageStore) -> None:
    text = "\n".join(f"VALUE_{n} = {n * n * 7919 % 10007}  # line {n}" for n in range(1_500))
    for n in range(20):
        store.propose(
            CAMPAIGN,
            Proposal("opt", "opt", 0, "a number", 0.0, ()),
            parents=(0,) if n else (),
            files={"large.py": text, "t.py": f"X = {n}\n"},
            digest=f"d{n}",
            diff="",
            round_number=None,
        )
    for number in (0, 7, 19):
        assert store.files(CAMPAIGN, number) == {"large.py": text, "t.py": f"X = {number}\n"}
    with store._reading() as transaction:
        stored = transaction.value("SELECT sum(length(data)) FROM recipe_file")
    assert stored < 0.5 * len(text)


def test_a_frame_needs_its_library(store: LineageStore) -> None:
    judged(store, Status.DISCARDED)
    table = store.trials(CAMPAIGN, statuses=(Status.DISCARDED,))
    assert [brief.number for brief in table] == [0]
    with pytest.raises(LineageError, match="pip install polars"):
        table.to_polars()


def test_scores_between_bounds(store: LineageStore) -> None:
    for score in (1.0, 2.0, 3.0):
        judged(store, Status.DISCARDED, score=score)
    page = store.briefs(CAMPAIGN, TrialFilter(min_score=1.5, max_score=2.5))
    assert [brief.score for brief in page.items] == [2.0]
