"""Turns: what each was shown is kept once, with its trials and its messages."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recipelab.core.errors import LineageError
from recipelab.lineage import LineageStore, NewMessage
from recipelab.lineage.turns import LONGEST_CHAIN
from tests.lineage.helpers import CAMPAIGN, TEXT, add_campaign, cleaned, propose

VIEWS = st.lists(TEXT | st.text(min_size=200, max_size=400), min_size=1, max_size=8)


def shown(store: LineageStore, *views: str, specialist: str = "opt") -> list[int]:
    """Adds a turn for each view."""
    return [store.add_turn(CAMPAIGN, specialist, view=view, round_number=None) for view in views]


def line(number: int) -> str:
    return f"- {number} (opt by opt) discarded, 1.{number * 7919} s: a step of {number} helps"


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(views=VIEWS)
def test_what_was_shown_is_read_as_it_was(store: LineageStore, views: list[str]) -> None:
    first = len(store.turns(CAMPAIGN))
    numbers = shown(store, *views)
    assert numbers == list(range(first + 1, first + len(views) + 1))
    for turn, view in zip(store.turns(CAMPAIGN)[first:], views, strict=True):
        if not view:
            assert turn.view is None
            continue
        assert turn.view == hashlib.sha256(cleaned(view).encode()).hexdigest()
        assert store.view_text(turn.view) == cleaned(view)


def test_a_view_is_stored_once_however_often_it_is_shown(store: LineageStore) -> None:
    shown(store, "one", "two", "one")
    add_campaign(store, "night-2")
    store.add_turn("night-2", "arch", view="one", round_number=None)
    assert [store.view_text(view.hash) for view in store.views(CAMPAIGN)] == ["one", "two"]
    assert [store.view_text(view.hash) for view in store.views("night-2")] == ["one"]
    turns = store.turns(CAMPAIGN)
    assert [view.first_used_at for view in store.views(CAMPAIGN)] == [
        turn.began_at for turn in turns[:2]
    ]
    with store._reading() as transaction:
        assert transaction.value("SELECT count(*) FROM turn_view") == 2


def test_views_that_repeat_lines_take_little_and_no_chain_is_too_long(
    store: LineageStore,
) -> None:
    views = ["\n".join(map(line, range(start, start + 60))) for start in range(3 * LONGEST_CHAIN)]
    shown(store, *views)
    hashes = [view.hash for view in store.views(CAMPAIGN)]
    assert [store.view_text(hash) for hash in hashes] == views
    with store._reading() as transaction:
        sizes = transaction.values("SELECT length(data) FROM turn_view ORDER BY id")
        alone = transaction.value("SELECT count(*) FROM turn_view WHERE base_id IS NULL")
    assert alone == 3
    assert sum(sizes) < 0.06 * sum(map(len, views))


def test_a_turn_is_taken_that_began_with_a_view_or_has_a_trial(store: LineageStore) -> None:
    shown(store, "one", "", "", "one")
    shown(store, "two", specialist="arch")
    propose(store)
    propose(store, 0, turn=3)
    propose(store, 0, turn=4)
    taken = {name: store.taken_turns(CAMPAIGN, name) for name in ("opt", "arch", "nobody")}
    assert taken == {"opt": 3, "arch": 1, "nobody": 0}


def test_a_trial_knows_its_turn_and_a_turn_its_trials(store: LineageStore) -> None:
    first, second = shown(store, "one", "two")
    propose(store)
    assert [propose(store, 0, turn=second) for _ in range(2)] == [1, 2]
    third = propose(store, 0, turn=first)
    assert [turn.trials for turn in store.turns(CAMPAIGN)] == [(third,), (1, 2)]
    assert store.turn_of(CAMPAIGN, 0) is None
    assert store.turn_of(CAMPAIGN, 2) == store.turns(CAMPAIGN)[1]
    with pytest.raises(LineageError, match=r"no turn 3 in which .* it has turns 1 to 2"):
        propose(store, 0, turn=3)
    assert store.trial_count(CAMPAIGN) == 4  # what is refused leaves nothing
    with pytest.raises(LineageError, match="has no trial 9"):
        store.turn_of(CAMPAIGN, 9)


@pytest.mark.parametrize("asked", ["", "zz", "ab", "ab" * 32])
def test_a_hash_of_nothing_is_an_error(store: LineageStore, asked: str) -> None:
    shown(store, "one")
    with pytest.raises(LineageError, match="no turn has shown a view with the SHA-256"):
        store.view_text(asked)


def test_a_turn_needs_a_round_that_is_there(store: LineageStore) -> None:
    with pytest.raises(LineageError, match="has no round 1; it has none yet"):
        store.add_turn(CAMPAIGN, "opt", view="one", round_number=1)
    store.start_round(CAMPAIGN)
    began = datetime.now(UTC)
    store.add_turn(CAMPAIGN, "opt", view="one", round_number=1)
    (turn,) = store.turns(CAMPAIGN)
    assert (turn.specialist, turn.round, turn.trials) == ("opt", 1, ())
    assert (turn.first_message, turn.last_message) == (None, None)
    assert began <= turn.began_at <= datetime.now(UTC)


def test_messages_of_turns_that_overlap_are_told_apart(store: LineageStore) -> None:
    first, second = [*shown(store, "one"), *shown(store, "two", specialist="arch")]

    def said(source: str, turn: int | None) -> NewMessage:
        return NewMessage(source, "TextMessage", {"content": "x"}, turn=turn)

    for some in (
        [said("user", None), said("opt", first), said("arch", second)],
        [said("opt", first), said("evaluator", None), said("arch", second)],
        [said("arch", second), said("opt", None)],
    ):
        store.add_messages(CAMPAIGN, some, round_number=None)
    assert store.turn_messages(CAMPAIGN, first) == (1, 3)
    assert store.turn_messages(CAMPAIGN, second) == (2, 5, 6)
    assert store.turn_messages(CAMPAIGN, 7) == ()
