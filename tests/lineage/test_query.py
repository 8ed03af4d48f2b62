"""Filters give what a plain reading of the trials gives."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from recipelab.errors import LineageError
from recipelab.lineage import LineageStore, TrialFilter, TrialRecord
from recipelab.trial import Failure, FailureKind, Outcome, Phase, Status
from tests.lineage.helpers import CAMPAIGN, add_campaign, cleaned, outcome, proposal, with_campaign

PIECES = ["rate", "RATE", "%", "_", "/", "\\", "a_b", "a%b", "axb", "ÉΣ", "éσé", "Straße", "\0"]
SURFACES = ["opt", "arch", "data"]
TRIALS = 70


def some_text(rng: random.Random) -> str:
    return " ".join(rng.choices(PIECES, k=rng.randrange(4)))


def some_outcome(rng: random.Random) -> Outcome:
    status = rng.choice([*Status])
    failure = None
    if status.is_failure:
        kind = rng.choice([FailureKind.OOM, FailureKind.NAN, FailureKind.SHAPE])
        failure = Failure(Phase.TRAIN, kind, some_text(rng), some_text(rng))
    score = rng.choice([None, 0.0, 1.0, rng.random()])
    return replace(outcome(status, score), reason=some_text(rng), failure=failure)


def fill(store: LineageStore, name: str, seed: int) -> list[TrialRecord]:
    rng = random.Random(seed)
    add_campaign(store, name)
    for number in range(TRIALS):
        made = replace(
            proposal(some_text(rng), surface=rng.choice(SURFACES)),
            specialist=rng.choice(["ann", "bob"]),
        )
        parents = rng.sample(range(number), min(number, rng.randrange(3)))
        store.propose(
            name,
            made,
            parents=parents,
            files={},
            digest="",
            diff=some_text(rng),
            round_number=None,
        )
        if rng.random() < 0.8:
            store.record(name, number, some_outcome(rng))
    return [store.trial(name, number) for number in range(TRIALS)]


@pytest.fixture(scope="module")
def filled(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[LineageStore, list[TrialRecord]]]:
    with with_campaign(tmp_path_factory.mktemp("query") / "lineage.db") as store:
        # The other campaign's trials must never show.
        fill(store, "other", 1)
        yield store, fill(store, "random", 2)


def holds(wanted: TrialFilter, record: TrialRecord) -> bool:
    came = record.outcome
    failure = came.failure if came else None

    def within(needle: str, *texts: str | None) -> bool:
        needle = cleaned(needle).casefold()
        return any(needle in text.casefold() for text in texts if text is not None)

    checks: list[tuple[object, bool]] = [
        (wanted.statuses, record.status in wanted.statuses),
        (wanted.surfaces, record.surface in wanted.surfaces),
        (wanted.specialists, record.specialist in wanted.specialists),
        (wanted.failure_kinds, failure is not None and failure.kind in wanted.failure_kinds),
        (
            wanted.signature,
            failure is not None and within(wanted.signature or "", failure.signature),
        ),
        (wanted.parent is not None, wanted.parent in record.parents),
        (wanted.in_flight is not None, record.in_flight == wanted.in_flight),
        (
            wanted.text,
            within(
                wanted.text or "",
                record.hypothesis,
                record.diff,
                came.reason if came else None,
                failure.excerpt if failure else None,
                failure.signature if failure else None,
            ),
        ),
    ]
    return all(held for asked, held in checks if asked)


def in_order(wanted: TrialFilter, records: list[TrialRecord]) -> list[TrialRecord]:
    if wanted.order in ("newest", "oldest"):
        return sorted(records, key=lambda r: r.number, reverse=wanted.order == "newest")
    sign = 1.0 if (wanted.order == "best") == (wanted.goal == "minimize") else -1.0

    def key(record: TrialRecord) -> tuple[bool, float, int]:
        score = record.outcome.score if record.outcome else None
        return score is None, 0.0 if score is None else sign * score, record.number

    return sorted(records, key=key)


def some_of(values: list[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.just(()) | st.lists(st.sampled_from(values), max_size=3).map(tuple)


NEEDLES = st.none() | st.sampled_from([*PIECES, "rate rate", "STRASSE", "\ud800", "%a", ""])
FILTERS = st.builds(
    TrialFilter,
    statuses=some_of([*Status]),
    surfaces=some_of([*SURFACES, "gone", "\0"]),
    specialists=some_of(["ann", "bob"]),
    failure_kinds=some_of([FailureKind.OOM, FailureKind.NAN, FailureKind.DISK]),
    signature=NEEDLES,
    parent=st.none() | st.sampled_from([-1, 0, 1, 2, 3, 10**30]),
    text=NEEDLES,
    in_flight=st.sampled_from([None, None, True, False]),
    order=st.sampled_from(["newest", "oldest", "best", "worst"]),
    goal=st.sampled_from(["minimize", "maximize"]),
    limit=st.integers(1, 200),
    offset=st.sampled_from([0, 0, 1, 5, 10**30]),
)


def check(filled: tuple[LineageStore, list[TrialRecord]], wanted: TrialFilter) -> None:
    store, records = filled
    page = store.query("random", wanted)
    expected = in_order(wanted, [record for record in records if holds(wanted, record)])
    assert page.total == len(expected)
    assert list(page.items) == expected[wanted.offset :][: wanted.limit]


@settings(max_examples=100, deadline=None)
@given(wanted=FILTERS)
def test_all_filters_together(
    filled: tuple[LineageStore, list[TrialRecord]], wanted: TrialFilter
) -> None:
    check(filled, wanted)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), wanted=FILTERS)
def test_one_filter_at_a_time(
    filled: tuple[LineageStore, list[TrialRecord]], data: st.DataObject, wanted: TrialFilter
) -> None:
    # All filters together seldom match anything; one alone does.
    names = ["statuses", "surfaces", "failure_kinds", "signature", "parent", "text", "in_flight"]
    name = data.draw(st.sampled_from(names))
    alone = TrialFilter(order=wanted.order, goal=wanted.goal, limit=200)
    check(filled, replace(alone, **{name: getattr(wanted, name)}))


def test_a_page_takes_as_many_statements_as_a_trial(
    filled: tuple[LineageStore, list[TrialRecord]],
) -> None:
    store, _ = filled
    seen: list[str] = []

    def note(connection: object, cursor: object, statement: str, *rest: object) -> None:
        seen.append(statement)

    event.listen(store._engine, "before_cursor_execute", note)
    store.query("random", TrialFilter(limit=3, in_flight=False))
    few = len(seen)
    store.query("random", TrialFilter(limit=50, in_flight=False))
    event.remove(store._engine, "before_cursor_execute", note)
    assert len(seen) == 2 * few < 30


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"order": "up"}, "unknown order 'up'; valid: best, newest, oldest, worst"),
        ({"goal": "win"}, "unknown goal 'win'; valid: maximize, minimize"),
        ({"limit": 0}, "limit must be from 1 to 200, not 0"),
        ({"limit": 201}, "limit must be from 1 to 200, not 201"),
        ({"offset": -1}, "offset must not be negative"),
        ({"text": "x" * 1_001}, "1,000 characters at most"),
        ({"signature": "x" * 1_001}, "1,000 characters at most"),
    ],
)
def test_a_filter_out_of_bounds_is_refused_in_words(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(LineageError, match=words):
        TrialFilter(**wrong)


def test_longest_text_is_looked_for(store: LineageStore) -> None:
    assert store.query(CAMPAIGN, TrialFilter(text="%" * 1_000)).total == 0
