"""Several drivers on one campaign in the lineage: leases, takeover, the place to judge, one budget.

The clock of the database is set by hand, so no test waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from recipelab.core.errors import BudgetSpent, LeaseLost, LineageError
from recipelab.core.trial import Status
from recipelab.lineage import LineageStore, NewUsage
from recipelab.lineage.leases import LeaseTimes, UsedTotals
from tests.lineage.helpers import CAMPAIGN, add_campaign, outcome, propose

TIMES = LeaseTimes(beat=10.0, expiry=40.0)

Enter = Callable[[], LineageStore]


def clock(store: LineageStore, seconds: float) -> None:
    """Sets the clock of the database for all stores: it is theirs and not the machine's."""
    type(store._database).clock = f"CAST({1000.0 + seconds} AS double precision)"


@pytest.fixture
def enter(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Enter]:
    """Opens stores of one lineage, each acting for a driver of the campaign."""
    with ExitStack() as stack:
        first = stack.enter_context(LineageStore.open(database, create=True))
        add_campaign(first)
        monkeypatch.setattr(type(first._database), "clock", "CAST(1000.0 AS double precision)")

        def one() -> LineageStore:
            store = stack.enter_context(LineageStore.open(database))
            entered(store)
            return store

        yield one


def entered(store: LineageStore, *, joins: bool = True) -> int:
    number, _ = store.enter_campaign(
        CAMPAIGN, host="here", process="p", model="offline", times=TIMES, joins=joins
    )
    return number


def with_baseline(store: LineageStore) -> None:
    number = propose(store)
    store.record(CAMPAIGN, number, outcome(Status.BASELINE))


def test_a_trial_is_held_by_who_proposed_it_and_by_nobody_else(enter: Enter) -> None:
    one, other = enter(), enter()
    with_baseline(one)
    trial = propose(one, 0)
    assert one.held_trials(CAMPAIGN) == (trial,)
    assert other.take_trials(CAMPAIGN, 9) == ()
    with pytest.raises(LeaseLost, match=f"trial {trial} of {CAMPAIGN} is driver 1's by now"):
        other.record(CAMPAIGN, trial, outcome())
    one.record(CAMPAIGN, trial, outcome())
    assert one.held_trials(CAMPAIGN) == ()


def test_a_silent_driver_is_given_up_and_what_it_writes_afterwards_is_refused(enter: Enter) -> None:
    slept, other = enter(), enter()
    with_baseline(slept)
    trial = propose(slept, 0)
    slept.advance(CAMPAIGN, trial, "running", "train")
    clock(other, 39.9)
    assert other.beat(CAMPAIGN, 2, TIMES)
    assert other.take_trials(CAMPAIGN, 9) == ()
    clock(other, 40.1)
    assert other.look_at_drivers(CAMPAIGN).free
    assert other.take_trials(CAMPAIGN, 9) == (trial,)
    assert not slept.beat(CAMPAIGN, 1, TIMES)
    for write in (
        lambda: slept.record(CAMPAIGN, trial, outcome()),
        lambda: slept.advance(CAMPAIGN, trial, "running", "train"),
        lambda: slept.add_finished_run(CAMPAIGN, trial, "d", outcome().seed_runs[0]),
        lambda: slept.add_further_runs(CAMPAIGN, 0, outcome().seed_runs),
        lambda: slept.lease_slot(CAMPAIGN, trial, "gpu0", sandbox="s", owner="o"),
        lambda: propose(slept, 0),
        lambda: slept.ask_to_judge(CAMPAIGN),
        lambda: slept.take_trials(CAMPAIGN, 1),
    ):
        with pytest.raises(LeaseLost):
            write()
    # Under a new number it drives again, and the trial stays with the other.
    assert entered(slept) == 3
    with pytest.raises(LeaseLost, match="driver 2's by now, not driver 3's"):
        slept.record(CAMPAIGN, trial, outcome())
    other.record(CAMPAIGN, trial, outcome())
    assert one_outcome(other, trial)


def one_outcome(store: LineageStore, trial: int) -> bool:
    return store.trial(CAMPAIGN, trial).status is Status.DISCARDED


def test_a_driver_that_is_late_and_was_not_given_up_goes_on(enter: Enter) -> None:
    store = enter()
    with_baseline(store)
    trial = propose(store, 0)
    clock(store, 500)
    assert store.take_trials(CAMPAIGN, 9) == (), "its own are not for taking"
    assert store.beat(CAMPAIGN, 1, TIMES)
    store.record(CAMPAIGN, trial, outcome())


def test_who_comes_gives_up_those_whose_lease_is_over(enter: Enter) -> None:
    one = enter()
    clock(one, 41)
    with LineageStore.open(one.url) as other:
        assert entered(other, joins=False) == 2
    assert [driver.state for driver in one.drivers(CAMPAIGN)] == ["lost", "live"]


def test_trials_of_one_that_left_and_of_people_are_taken_at_once(enter: Enter) -> None:
    one, other = enter(), enter()
    with_baseline(one)
    left = propose(one, 0)
    assert not one.leave_campaign(CAMPAIGN, "stopped", "by hand")
    with LineageStore.open(other.url) as person:
        persons = propose(person, 0)
    assert other.take_trials(CAMPAIGN, 1) == (left,)
    assert other.take_trials(CAMPAIGN, 9) == (persons,)
    assert other.campaign(CAMPAIGN).state == "running"
    for number in (left, persons):
        other.record(CAMPAIGN, number, outcome())
    assert other.leave_campaign(CAMPAIGN, "finished", "the budget is spent", unless_last=True)
    assert other.campaign(CAMPAIGN).state == "running"
    assert other.leave_campaign(CAMPAIGN, "finished", "the budget is spent")
    ended = other.campaign(CAMPAIGN)
    assert (ended.state, ended.stop_reason) == ("finished", "the budget is spent")


def test_only_who_joins_may_drive_beside_others(enter: Enter) -> None:
    one = enter()
    with (
        LineageStore.open(one.url) as other,
        pytest.raises(LineageError, match=r"running already \(driver 1\).*recipelab join"),
    ):
        entered(other, joins=False)
    one.leave_campaign(CAMPAIGN, "stopped", "by hand")
    assert entered(one, joins=False) == 2
    assert [d.run for d in one.drivers(CAMPAIGN)] == [1, 2]


def test_the_age_of_a_run_is_that_of_its_first_driver(enter: Enter) -> None:
    one = enter()
    clock(one, 30)
    with LineageStore.open(one.url) as other:
        _, age = other.enter_campaign(
            CAMPAIGN, host="h", process="p", model="m", times=TIMES, joins=True
        )
        assert age == 30
        for store in (one, other):
            store.leave_campaign(CAMPAIGN, "stopped", "")
        _, age = other.enter_campaign(
            CAMPAIGN, host="h", process="p", model="m", times=TIMES, joins=False
        )
    assert age == 0


def test_drivers_judge_one_after_the_other_in_the_order_in_which_they_asked(enter: Enter) -> None:
    one, two, three = enter(), enter(), enter()
    assert one.ask_to_judge(CAMPAIGN)
    assert not two.ask_to_judge(CAMPAIGN)
    assert not three.ask_to_judge(CAMPAIGN)
    one.end_judging(CAMPAIGN)
    assert not three.ask_to_judge(CAMPAIGN)
    assert two.ask_to_judge(CAMPAIGN)
    # One that dies while it judges holds up the others until its lease is over.
    clock(one, 30)
    assert one.beat(CAMPAIGN, 1, TIMES)
    assert three.beat(CAMPAIGN, 3, TIMES)
    assert not three.ask_to_judge(CAMPAIGN)
    clock(one, 45)
    assert three.ask_to_judge(CAMPAIGN)


def test_no_two_drivers_spend_the_last_trial(enter: Enter) -> None:
    one, other = enter(), enter()
    with_baseline(one)
    flying = [propose(store, 0) for store in [one, other] * 6]  # The campaign has 12.
    assert len(flying) == 12
    with pytest.raises(BudgetSpent, match="all 12 trials"):
        propose(one, 0)
    with LineageStore.open(one.url) as person, pytest.raises(BudgetSpent):
        propose(person, 0)
    # Aborted ones spend nothing; the trial may be taken again as long as there is room.
    one.record(CAMPAIGN, flying[0], outcome(Status.ABORTED, None))
    assert one.take_again(CAMPAIGN, [flying[0]]) == (flying[0],)
    one.record(CAMPAIGN, flying[0], outcome(Status.ABORTED, None))
    propose(other, 0)
    assert one.take_again(CAMPAIGN, [flying[0]]) == ()


NOTHING = UsedTotals()


def reserve(store: LineageStore, tokens: int, since: UsedTotals = NOTHING) -> UsedTotals:
    return store.reserve_calls(
        CAMPAIGN, tokens=tokens, money=0.0, most_tokens=1000, most_money=None, since=since
    )


def test_calls_of_all_drivers_have_one_budget(enter: Enter) -> None:
    one, other = enter(), enter()
    reserve(one, 600)
    with pytest.raises(BudgetSpent, match="1,000 tokens"):
        reserve(other, 401)
    reserve(other, 400)
    # The first call took 500 in truth; what it took is written as its reservation ends.
    used = NewUsage("opt", "m", 450, 50, 1.0, 0.0, None)
    one.add_messages(CAMPAIGN, (), round_number=None, usage=[used], reserved=(0, 0.0))
    totals = reserve(one, 100)
    assert totals.tokens == 500
    assert one.used_totals(CAMPAIGN, totals) == totals
    with pytest.raises(BudgetSpent):
        reserve(one, 101, totals)


def test_what_a_lost_driver_has_reserved_stays_reserved_until_it_comes_again(enter: Enter) -> None:
    lost, other = enter(), enter()
    reserve(lost, 600)
    clock(other, 39)
    other.beat(CAMPAIGN, 2, TIMES)
    clock(other, 41)
    other.take_trials(CAMPAIGN, 1)
    with pytest.raises(BudgetSpent):
        reserve(other, 500)
    entered(lost)
    with pytest.raises(BudgetSpent):
        reserve(other, 500)
    used = NewUsage("opt", "m", 100, 0, 1.0, 0.0, None)
    lost.add_messages(CAMPAIGN, (), round_number=None, usage=[used], reserved=(0, 0.0))
    reserve(other, 900)


def test_a_stop_is_for_all_drivers_and_a_kill_for_the_one_that_holds_the_trial(
    enter: Enter,
) -> None:
    one, other = enter(), enter()
    with_baseline(one)
    trial = propose(one, 0)
    other.ask_driver_to_kill(CAMPAIGN, trial)
    other.ask_drivers_to_stop(CAMPAIGN)
    looks = [store.look_at_drivers(CAMPAIGN) for store in (one, other)]
    assert [look.stop for look in looks] == [True, True]
    assert [look.kills for look in looks] == [(trial,), ()]
    assert [look.calibrates for look in looks] == [True, False]
    assert [look.in_flight for look in looks] == [1, 1]


def test_each_driver_ends_its_own_rounds(enter: Enter) -> None:
    one, other = enter(), enter()
    assert [store.start_round(CAMPAIGN) for store in (one, other, one)] == [1, 2, 3]
    assert [r.ended_at is None for r in one.rounds(CAMPAIGN)] == [False, True, True]
    assert [one.driver_of_round(CAMPAIGN, number) for number in (1, 2, 3)] == [1, 2, 1]


def test_a_lease_has_two_beats_at_least() -> None:
    for beat, expiry in ((0.0, 1.0), (1.0, 1.5), (1.0, float("inf")), (float("nan"), 1.0)):
        with pytest.raises(LineageError, match="two beats"):
            LeaseTimes(beat, expiry)


@pytest.mark.postgres
def test_a_process_that_is_stopped_within_a_transaction_holds_up_nobody(
    make_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recipelab.lineage.postgres._STOPPED_MILLISECONDS", 200)
    with LineageStore.open(make_database("postgres"), create=True) as one:
        add_campaign(one)
        with (
            LineageStore.open(one.url) as other,
            pytest.raises(LineageError, match="cannot be read or written"),
            one._writing_to(CAMPAIGN) as (transaction, _),
        ):
            # It sleeps here; the other waits for the lock, and then has it.
            other.add_note(CAMPAIGN, "still there")
            transaction.value("SELECT 1")
        assert [note.text for note in one.notes(CAMPAIGN)] == ["still there"]


@pytest.fixture(autouse=True, scope="module")
def machine_clock() -> Iterator[None]:
    """Puts the clocks back that the state machine below sets."""
    from recipelab.lineage.database import SqliteDatabase

    before = SqliteDatabase.clock
    yield
    SqliteDatabase.clock = before


class Drivers(RuleBasedStateMachine):
    """Three processes that sleep and wake at any moment, held against a plain model."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.seconds = 0.0
        self.until: dict[int, float] = {}  # of living drivers, by number
        self.number: dict[int, int] = {}  # of each process
        self.holder: dict[int, int | None] = {}  # of trials in flight
        self.judged: set[int] = set()
        self.tickets: list[int] = []

    @initialize()
    def begin(self) -> None:
        from tempfile import TemporaryDirectory

        folder = self.stack.enter_context(TemporaryDirectory())
        first = self.stack.enter_context(LineageStore.open(f"{folder}/l.db", create=True))
        add_campaign(first)
        self.stores = [first]
        for _ in range(2):
            self.stores.append(self.stack.enter_context(LineageStore.open(f"{folder}/l.db")))
        self.sleep(0)
        self.come(0)
        with_baseline(first)

    def teardown(self) -> None:
        self.stack.close()

    def lost(self, spared: int | None = None) -> None:
        """Gives up in the model whose lease is over."""
        for number, until in list(self.until.items()):
            if until < self.seconds and number != spared:
                self.drop(number)

    def drop(self, number: int) -> None:
        self.until.pop(number, None)
        self.tickets = [one for one in self.tickets if one != number]
        self.holder = {t: None if h == number else h for t, h in self.holder.items()}

    def is_live(self, place: int) -> bool:
        return self.number.get(place) in self.until

    @rule(seconds=st.sampled_from([1.0, 15.0, 41.0]))
    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        clock(self.stores[0], self.seconds)

    @rule(place=st.integers(0, 2))
    def come(self, place: int) -> None:
        if self.is_live(place):
            return
        self.lost()
        self.number[place] = entered(self.stores[place])
        assert self.number[place] not in self.until
        self.until[self.number[place]] = self.seconds + TIMES.expiry

    @precondition(lambda self: self.number)
    @rule(place=st.integers(0, 2))
    def beat(self, place: int) -> None:
        number = self.number.get(place)
        if number is None:
            return
        assert self.stores[place].beat(CAMPAIGN, number, TIMES) == self.is_live(place)
        if self.is_live(place):
            self.until[number] = self.seconds + TIMES.expiry

    @rule(place=st.integers(0, 2))
    def propose(self, place: int) -> None:
        if place not in self.number:
            return
        used = len(self.judged) + len(self.holder)
        store = self.stores[place]
        if used >= 12 and self.until:
            with pytest.raises(BudgetSpent):
                propose(store, 0)
        elif not self.is_live(place):
            with pytest.raises(LeaseLost):
                propose(store, 0)
        else:
            self.holder[propose(store, 0)] = self.number[place]

    @rule(place=st.integers(0, 2), most=st.integers(1, 3))
    def take(self, place: int, most: int) -> None:
        if place not in self.number:
            return
        store, number = self.stores[place], self.number[place]
        if not self.is_live(place):
            with pytest.raises(LeaseLost):
                store.take_trials(CAMPAIGN, most)
            return
        self.lost(spared=number)
        free = sorted(t for t, holder in self.holder.items() if holder is None)[:most]
        assert store.take_trials(CAMPAIGN, most) == tuple(free)
        self.holder.update(dict.fromkeys(free, number))

    @precondition(lambda self: self.holder)
    @rule(place=st.integers(0, 2), data=st.data())
    def record(self, place: int, data: st.DataObject) -> None:
        if place not in self.number:
            return
        trial = data.draw(st.sampled_from(sorted(self.holder)))
        if self.is_live(place) and self.holder[trial] == self.number[place]:
            self.stores[place].record(CAMPAIGN, trial, outcome())
            del self.holder[trial]
            self.judged.add(trial)
        else:
            with pytest.raises(LeaseLost):
                self.stores[place].record(CAMPAIGN, trial, outcome())

    @rule(place=st.integers(0, 2))
    def judge(self, place: int) -> None:
        if not self.is_live(place):
            return
        number = self.number[place]
        self.lost(spared=number)
        if number not in self.tickets:
            self.tickets.append(number)
        assert self.stores[place].ask_to_judge(CAMPAIGN) == (self.tickets[0] == number)

    @rule(place=st.integers(0, 2))
    def end_judging(self, place: int) -> None:
        if self.is_live(place):
            self.stores[place].end_judging(CAMPAIGN)
            self.tickets = [one for one in self.tickets if one != self.number[place]]

    @rule(place=st.integers(0, 2))
    def leave(self, place: int) -> None:
        if not self.is_live(place):
            return
        self.lost()
        number = self.number.pop(place)
        others = [one for one in self.until if one != number]
        is_last = self.stores[place].leave_campaign(CAMPAIGN, "stopped", "")
        assert is_last == (not others)
        self.drop(number)

    @invariant()
    def every_trial_is_there_once(self) -> None:
        if not hasattr(self, "stores"):
            return
        counts = self.stores[0].counts(CAMPAIGN)
        assert counts.get(None, 0) == len(self.holder)
        assert counts.get(Status.DISCARDED, 0) == len(self.judged)
        for place, number in self.number.items():
            held = {t for t, holder in self.holder.items() if holder == number}
            if self.is_live(place):
                assert set(self.stores[place].held_trials(CAMPAIGN)) == held


TestDrivers = Drivers.TestCase
TestDrivers.settings = settings(
    max_examples=12,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
