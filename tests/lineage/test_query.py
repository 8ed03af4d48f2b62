"""Filters give what a plain reading of the trials gives."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recipelab.core.errors import LineageError
from recipelab.core.trial import Failure, FailureKind, GateResult, Outcome, Phase, Status
from recipelab.lineage import LineageStore, TrialFilter, TrialRecord
from recipelab.lineage.database import Transaction
from tests.lineage.conftest import DATABASES, MakeDatabase
from tests.lineage.helpers import CAMPAIGN, add_campaign, cleaned, outcome, proposal, with_campaign

PIECES = ["rate", "RATE", "%", "_", "/", "\\", "a_b", "a%b", "axb", "ÉΣ", "éσé", "Straße", "\0"]
PIECES += ["0.5", "1e-3", "learning_rate", "don't", "s:kept"]
START = datetime(2026, 1, 1, tzinfo=UTC)
SURFACES = ["opt", "arch", "data"]
TRIALS = 70
NAMES = [
    "statuses",
    "surfaces",
    "specialists",
    "failure_kinds",
    "signature",
    "parent",
    "ancestor",
    "text",
    "in_flight",
    "min_score",
    "max_score",
    "since",
    "until",
]
REST: dict[str, Any] = {
    "parents": (),
    "files": {"recipe/train.py": "x = 1"},
    "digest": "",
    "diff": "",
    "round_number": None,
}
SAYS_MORE = {"metric": {"name": "accuracy", "unit": "", "goal": "maximize"}}


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
    set_times(store, name)
    return [store.trial(name, number) for number in range(TRIALS)]


def set_times(store: LineageStore, name: str) -> None:
    """Lets the trials be half an hour apart: too many for the clock of a test."""
    statement = "UPDATE trial SET proposed_at = :at WHERE campaign_id = :campaign AND number = :n"
    with store._writing_to(name) as (transaction, campaign):
        for number in range(TRIALS):
            at = (START + timedelta(minutes=30 * number)).isoformat(timespec="microseconds")
            transaction.run(statement, at=at, campaign=campaign, n=number)


class Filled(NamedTuple):
    """A lineage, and the trials in it."""

    store: LineageStore
    records: list[TrialRecord]

    def __repr__(self) -> str:
        return f"{len(self.records)} trials in {self.store.url}"  # Hypothesis shows it.


@pytest.fixture(scope="module", params=DATABASES)
def filled(request: pytest.FixtureRequest, make_database: MakeDatabase) -> Iterator[Filled]:
    with with_campaign(make_database(request.param)) as store:
        # The other campaign's trials must never show.
        fill(store, "other", 1)
        yield Filled(store, fill(store, "random", 2))


def words_of(text: str | None) -> list[str]:
    """The words of a text in order: written anew, so that it can judge the store's own."""
    # Letter by letter, because a whole word is lowered by rules of its own ("Σ" at its end).
    return re.findall(r"[^\W_]+", "".join(letter.lower() for letter in text or ""))


def occurs(phrase: list[str], words: list[str]) -> bool:
    """Whether words occur in this order beside each other."""
    size = len(phrase)
    return any(words[place : place + size] == phrase for place in range(len(words) - size + 1))


def stems(records: list[TrialRecord], number: int, ancestor: int) -> bool:
    while records[number].parents:
        number = records[number].parents[0]
        if number == ancestor:
            return True
    return False


def holds(wanted: TrialFilter, record: TrialRecord, records: list[TrialRecord]) -> bool:
    came = record.outcome
    score = came.score if came else None
    phrases = [words for piece in cleaned(wanted.text or "").split() if (words := words_of(piece))]
    failure = came.failure if came else None

    def within(needle: str, *texts: str | None) -> bool:
        needle = cleaned(needle).casefold()
        return any(needle in text.casefold() for text in texts if text is not None)

    texts = [
        words_of(text)
        for text in (
            record.hypothesis,
            record.diff,
            came.reason if came else None,
            failure.excerpt if failure else None,
            failure.signature if failure else None,
        )
    ]
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
            bool(phrases)
            and all(any(occurs(phrase, text) for text in texts) for phrase in phrases),
        ),
        (
            wanted.ancestor is not None,
            stems(records, record.number, wanted.ancestor or 0),
        ),
        (wanted.min_score is not None, score is not None and score >= (wanted.min_score or 0.0)),
        (wanted.max_score is not None, score is not None and score <= (wanted.max_score or 0.0)),
        (wanted.since is not None, record.proposed_at >= (wanted.since or START)),
        (wanted.until is not None, record.proposed_at < (wanted.until or START)),
    ]
    return all(held for asked, held in checks if asked)


def in_order(wanted: TrialFilter, records: list[TrialRecord]) -> list[TrialRecord]:
    if wanted.order in ("newest", "oldest"):
        return sorted(records, key=lambda r: r.number, reverse=wanted.order == "newest")
    sign = 1.0 if (wanted.order == "best") == (wanted.goal != "maximize") else -1.0

    def key(record: TrialRecord) -> tuple[bool, float, int]:
        score = record.outcome.score if record.outcome else None
        return score is None, 0.0 if score is None else sign * score, record.number

    return sorted(records, key=key)


def some_of(values: list[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.just(()) | st.lists(st.sampled_from(values), max_size=3).map(tuple)


TIMES = st.none() | st.integers(-60, 40 * 60).map(lambda m: START + timedelta(minutes=m))
SCORES = st.none() | st.sampled_from([0.0, 0.3, 0.7, 1.0, -1.0])
NEEDLES = st.none() | st.sampled_from([*PIECES, "rate rate", "STRASSE", "\ud800", "%a", ""])
FILTERS = st.builds(
    TrialFilter,
    statuses=some_of([*Status]),
    surfaces=some_of([*SURFACES, "gone", "\0"]),
    specialists=some_of(["ann", "bob"]),
    failure_kinds=some_of([FailureKind.OOM, FailureKind.NAN, FailureKind.DISK]),
    signature=NEEDLES,
    parent=st.none() | st.sampled_from([-1, 0, 1, 2, 3, 10**30]),
    ancestor=st.none() | st.sampled_from([0, 1, 2, 5, 30]),
    text=NEEDLES,
    min_score=SCORES,
    max_score=SCORES,
    since=TIMES,
    until=TIMES,
    in_flight=st.sampled_from([None, None, True, False]),
    order=st.sampled_from(["newest", "oldest", "best", "worst"]),
    goal=st.sampled_from([None, "minimize", "maximize"]),
    limit=st.integers(1, 200),
    offset=st.sampled_from([0, 0, 1, 5, 10**30]),
)


def check(filled: Filled, wanted: TrialFilter) -> None:
    store, records = filled
    page = store.query("random", wanted)
    expected = in_order(wanted, [record for record in records if holds(wanted, record, records)])
    assert (page.total, page.capped) == (len(expected), False)
    assert list(page.items) == expected[wanted.offset :][: wanted.limit]
    briefs = store.briefs("random", wanted)
    assert briefs.total == page.total
    assert [brief.number for brief in briefs.items] == [record.number for record in page.items]


@settings(max_examples=100, deadline=None)
@example(wanted=TrialFilter(signature="STRASSE"))
@given(wanted=FILTERS)
def test_all_filters_together(filled: Filled, wanted: TrialFilter) -> None:
    check(filled, wanted)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), wanted=FILTERS)
def test_one_filter_at_a_time(filled: Filled, data: st.DataObject, wanted: TrialFilter) -> None:
    # All filters together seldom match anything; one alone does.
    few = data.draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=2))
    alone = TrialFilter(order=wanted.order, goal=wanted.goal, limit=data.draw(st.integers(1, 200)))
    check(filled, replace(alone, **{name: getattr(wanted, name) for name in few}))


@settings(max_examples=100, deadline=None)
@given(data=st.data(), wanted=FILTERS)
def test_when_nothing_leaves_few_trials(
    filled: Filled, data: st.DataObject, wanted: TrialFilter
) -> None:
    # With few trials a filter always leaves few; a cap of three lets it walk as among millions.
    few = data.draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3))
    alone = TrialFilter(order=wanted.order, goal=wanted.goal, limit=data.draw(st.integers(1, 9)))
    asked = replace(
        alone, offset=data.draw(st.integers(0, 80)), **{n: getattr(wanted, n) for n in few}
    )
    store, records = filled
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recipelab.lineage.filter.COUNTED", 3)
        page = store.briefs("random", asked)
    expected = in_order(asked, [record for record in records if holds(asked, record, records)])
    numbers = [record.number for record in expected][asked.offset :][: asked.limit]
    assert [brief.number for brief in page.items] == numbers
    assert page.total == len(expected) or (page.capped and page.total == 3 <= len(expected))


def test_of_many_that_match_it_is_told_that_not_all_were_counted(
    store: LineageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recipelab.lineage.filter.COUNTED", 3)
    for count, capped in ((1, False), (2, False), (3, True), (3, True)):
        store.propose(CAMPAIGN, proposal("a word"), **REST)
        page = store.briefs(CAMPAIGN, TrialFilter(text="word", limit=1))
        assert (len(page.items), page.total, page.capped) == (1, count, capped)


def test_a_page_takes_as_many_statements_as_a_trial(
    filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = filled
    seen: list[str] = []
    execute = Transaction._execute

    def noted(transaction: Transaction, statement: str, values: dict[str, Any]) -> Any:
        seen.append(statement)
        return execute(transaction, statement, values)

    monkeypatch.setattr(Transaction, "_execute", noted)
    store.query("random", TrialFilter(limit=3, in_flight=False))
    few = len(seen)
    store.query("random", TrialFilter(limit=50, in_flight=False))
    assert len(seen) == 2 * few < 10


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"order": "up"}, "unknown order 'up'; valid: best, newest, oldest, worst"),
        ({"goal": "win"}, "unknown goal 'win'; valid: maximize, minimize"),
        ({"statuses": ("won",)}, "unknown statuses 'won'; valid: aborted, baseline, crashed"),
        ({"standings": "won"}, "unknown standings 'won'; valid: certified, provisional"),
        ({"failure_kinds": ["won"]}, "unknown failure_kinds 'won'; valid: "),
        ({"limit": 0}, "limit must be from 1 to 200, not 0"),
        ({"limit": 201}, "limit must be from 1 to 200, not 201"),
        ({"offset": -1}, "offset must not be negative"),
        ({"text": "x" * 1_001}, "1,000 characters at most"),
        ({"signature": "x" * 1_001}, "1,000 characters at most"),
        ({"min_score": float("nan")}, "a score must be a finite number"),
        ({"surfaces": ("a",) * 51}, "may list 50 surfaces or specialists at most"),
    ],
)
def test_a_filter_out_of_bounds_is_refused_in_words(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(LineageError, match=words):
        TrialFilter(**wrong)


def test_longest_text_is_looked_for(store: LineageStore) -> None:
    assert store.query(CAMPAIGN, TrialFilter(text="%" * 1_000)).total == 0


def test_words_do_as_well_as_members(store: LineageStore) -> None:
    store.propose_and_record(CAMPAIGN, proposal(), outcome(Status.BASELINE, 1.0), **REST)
    failure = Failure(Phase.TRAIN, FailureKind.OOM, "out of memory", "")
    store.propose_and_record(
        CAMPAIGN, proposal(), replace(outcome(Status.GATE_MISSED, 0.5), failure=failure), **REST
    )
    for wanted in (
        TrialFilter(statuses=("gate_missed",)),  # type: ignore[arg-type]
        TrialFilter(statuses="gate_missed", failure_kinds="oom"),  # type: ignore[arg-type]
        TrialFilter(statuses=[Status.GATE_MISSED], surfaces="opt"),  # type: ignore[arg-type]
    ):
        assert [trial.number for trial in store.briefs(CAMPAIGN, wanted).items] == [1]
    assert [t.number for t in store.trials(CAMPAIGN, statuses=("gate_missed",), order="best")] == [
        1
    ]
    assert [t.number for t in store.each_trial(CAMPAIGN, ("gate_missed",))] == [1]  # type: ignore[arg-type]
    assert store.failures(CAMPAIGN, kinds=("oom",), surfaces="opt").total == 1  # type: ignore[arg-type]
    for ask, words in (
        (lambda: store.trials(CAMPAIGN, status="kept"), "unknown part of a filter 'status'; valid"),
        (lambda: store.failures(CAMPAIGN, kinds=("won",)), "unknown kinds 'won'; valid: "),  # type: ignore[arg-type]
        (lambda: list(store.each_trial(CAMPAIGN, ("won",))), "unknown statuses 'won'; valid: "),  # type: ignore[arg-type]
    ):
        with pytest.raises(LineageError, match=words):
            ask()


@pytest.mark.parametrize("settings", [SAYS_MORE, {"imported": SAYS_MORE}, {}])
def test_the_goal_is_that_of_the_campaign(store: LineageStore, settings: dict[str, Any]) -> None:
    store.reopen_campaign(CAMPAIGN, settings=settings)
    for score in (7.0, 5.0, 9.0):
        status = Status.GATE_MISSED if score != 7.0 else Status.BASELINE
        gates = (GateResult("fit", 0.1, 0.2, -0.1),)
        missed = replace(outcome(status, score), gates=gates)
        store.propose_and_record(CAMPAIGN, proposal(), missed, **REST)
    best, worst, better = (2, 1, 2.0) if settings else (1, 2, -2.0)
    assert store.trials(CAMPAIGN, order="best")[0].number == best
    assert store.trials(CAMPAIGN, order="worst")[0].number == worst
    assert store.trials(CAMPAIGN, order="best", goal="minimize")[0].number == 1
    assert [miss.brief.number for miss in store.near_misses(CAMPAIGN).items] == [best]
    for gain in (2.0, -2.0):
        kept = replace(outcome(Status.KEPT, 7.0 + gain), delta=gain)
        store.propose_and_record(CAMPAIGN, proposal(), kept, **REST)
    assert [surface.best_delta for surface in store.surfaces(CAMPAIGN)] == [better]
    assert [one.best_delta for one in store.specialists(CAMPAIGN)] == [better]
