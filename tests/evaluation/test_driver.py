"""A driver among others: one budget, the levels of tests that run anywhere, one turn to judge."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import pytest

from recipelab.budget import BudgetLimits
from recipelab.core.errors import BudgetSpent, LeaseLost, RecipelabError
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Edit, Outcome, Proposal, Status
from recipelab.evaluation.driver import Driver, SharedLedger, SharedTests, check_joinable
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.shared_queue import SharedQueue
from recipelab.lineage import LineageStore, NewUsage
from recipelab.lineage.leases import LeaseTimes
from tests.campaign.stub_drivers import Stub
from tests.lineage.helpers import CAMPAIGN, add_campaign, outcome, propose

TIMES = LeaseTimes(beat=60.0, expiry=600.0)

Come = Callable[..., tuple[LineageStore, Driver]]


@pytest.fixture
def come(tmp_path: Path) -> Iterator[Come]:
    """Makes a further driver, with an open lineage of its own."""
    file = tmp_path / "lineage.db"
    with ExitStack() as stack:
        add_campaign(stack.enter_context(LineageStore.open(file, create=True)))

        def one(times: LeaseTimes = TIMES) -> tuple[LineageStore, Driver]:
            store = stack.enter_context(LineageStore.open(file))
            driver = Driver(store, CAMPAIGN, model="m", times=times, joins=True)
            driver.enter()
            return store, driver

        yield one


def ledger(of: tuple[LineageStore, Driver], **limits: float) -> SharedLedger:
    return SharedLedger(*of, BudgetLimits.model_validate(limits))


def use(account: SharedLedger, tokens: int, cost: float = 0.0) -> None:
    account.used("opt", "m", prompt_tokens=tokens, completion_tokens=0, seconds=1.0, cost=cost)


def test_calls_of_two_drivers_never_spend_more_than_there_is(come: Come) -> None:
    first, second = come(), come()
    one, other = ledger(first, tokens=1000), ledger(second, tokens=1000)
    kept: list[NewUsage] = []
    one.defer_usage(kept)
    one.reserve(600, None)
    with pytest.raises(BudgetSpent):
        other.reserve(500, None)
    assert other.over is None  # There may be room when the other's call has ended.
    # It took less than was reserved; until that is written, the reservation stands for it.
    one.release(600, None)
    use(one, 100)
    with pytest.raises(BudgetSpent):
        other.reserve(500, None)
    first[0].add_messages(CAMPAIGN, (), round_number=None, usage=kept, reserved=one.reserved)
    kept.clear()
    other.reserve(500, None)
    other.release(500, None)
    use(other, 450)
    for account in (one, other):
        account.refresh()
        assert account.spent.tokens == 550
    one.reserve(450, None)
    with pytest.raises(BudgetSpent):
        other.reserve(1, None)


def test_money_is_one_budget_too(come: Come) -> None:
    one, other = ledger(come(), money=1.0), ledger(come(), money=1.0)
    one.reserve(10, 0.75)
    with pytest.raises(BudgetSpent):
        other.reserve(10, 0.5)
    one.release(10, 0.75)
    use(one, 10, 0.8)
    with pytest.raises(BudgetSpent):
        other.reserve(10, 0.25)
    assert other.over == "the budget of money is spent"


def test_what_others_run_and_have_spent_counts_for_what_may_begin(come: Come) -> None:
    first, second = come(), come()
    one, other = ledger(first, trials=4), ledger(second, trials=4)
    store = first[0]
    store.record(CAMPAIGN, propose(store), outcome(Status.BASELINE))
    running = propose(store, 0)
    one.began(running)
    store.record(CAMPAIGN, propose(store, 0), outcome())
    for account in (one, other):
        account.refresh()
    assert (one.remaining, other.remaining) == (2, 2)
    assert (one.running_elsewhere, other.running_elsewhere) == (0, 1)
    store.record(CAMPAIGN, running, outcome(Status.KEPT, 0.5))
    one.ended(running, "opt", outcome(Status.KEPT, 0.5), 3600.0)
    other.refresh()
    assert (other.remaining, other.best) == (2, 0.5)
    assert other.spent.device_hours == 1.0


async def test_tests_of_other_drivers_count_for_the_level(come: Come) -> None:
    one, other = (SharedTests(come()[0], CAMPAIGN) for _ in range(2))
    async with one.testing("trial 1", lambda: (True,)) as first:
        assert first == (True,)
        async with other.testing("trial 2", lambda: (True,)) as second:
            assert second == (True, False)
    async with other.testing("trial 3", lambda: (True, False, False)) as third:
        assert third == (True, False, False)


async def test_drivers_judge_one_at_a_time(come: Come) -> None:
    tests = [SharedTests(come()[0], CAMPAIGN) for _ in range(3)]
    inside, most = 0, 0

    async def judge(one: SharedTests) -> None:
        nonlocal inside, most
        for _ in range(3):
            async with one.judging():
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0.005)
                inside -= 1

    await asyncio.gather(*(judge(one) for one in tests for _ in range(2)))
    assert most == 1


async def test_one_that_was_given_up_judges_nothing(come: Come) -> None:
    store, driver = come()
    other, _ = come()
    other.give_up_process(CAMPAIGN, other.drivers(CAMPAIGN)[0].process)
    with pytest.raises(LeaseLost, match=r"driver 1 drives the campaign no more: it is lost"):
        async with SharedTests(store, CAMPAIGN).judging():
            pass
    driver.lost = True
    driver.enter()
    async with SharedTests(store, CAMPAIGN).judging():
        assert driver.number == 3


async def test_a_driver_hears_with_a_beat_that_it_was_given_up(come: Come) -> None:
    _, driver = come(LeaseTimes(beat=0.01, expiry=600.0))
    other, _ = come()
    async with driver.beating(), asyncio.timeout(60):
        other.give_up_process(CAMPAIGN, other.drivers(CAMPAIGN)[0].process)
        while not driver.lost:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


class Endless(Stub):
    """Runs a trial until it is told to end, and notes both."""

    def __init__(self) -> None:
        super().__init__("endless", 600.0)
        self.began, self.ended = asyncio.Event(), asyncio.Event()

    async def evaluate(self, recipe: Recipe, incumbent: Any, **further: Any) -> Outcome:
        if incumbent is not None:
            self.began.set()
        try:
            return await super().evaluate(recipe, incumbent, **further)
        finally:
            if incumbent is not None:
                self.ended.set()


async def queue_of(one: tuple[LineageStore, Driver], stub: Stub) -> SharedQueue:
    """A driver's queue, whose baseline is measured."""
    store, driver = one
    account = ledger(one, trials=9)
    evaluator = cast(Evaluator, stub)
    queue = SharedQueue(store, CAMPAIGN, evaluator, driver=driver, ledger=account)
    queue.ensure_baseline()
    while queue.running:
        await queue.next_ended()
    return queue


def step() -> Proposal:
    return Proposal("opt", "left", 0, "Nearer.", -1.0, (Edit("recipe/train.py", "X = 1", "X = 2"),))


async def test_what_a_driver_runs_ends_when_the_others_have_given_it_up(
    project: Path, come: Come
) -> None:
    one, (other, _) = come(), come()
    stub = Endless()
    queue = await queue_of(one, stub)
    number = queue.submit(step(), round_number=None).number
    async with asyncio.timeout(60):
        await stub.began.wait()
        other.give_up_process(CAMPAIGN, other.drivers(CAMPAIGN)[0].process)
        queue.refresh()
        await stub.ended.wait()
        await queue.stop()
    queue.refresh()
    assert queue.in_flight == ()
    assert one[1].number == 3
    assert other.brief(CAMPAIGN, number).status is None, "it is another driver's"


async def test_a_driver_with_nothing_to_propose_waits_for_what_others_find(
    project: Path, come: Come, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recipelab.evaluation.shared_queue.LOOK_SECONDS", 0.01)
    one, (other, _) = come(), come()
    queue = await queue_of(one, Stub("one", 0.0))
    running = propose(other, 0)
    async with asyncio.timeout(60):
        waiting = asyncio.create_task(queue.wait_for_others(idle=True))
        await asyncio.sleep(0)
        assert queue.remaining and not waiting.done()
        other.record(CAMPAIGN, running, outcome())
        await waiting
    assert [brief.number for brief in queue.take_others()] == [running]


def test_only_a_campaign_that_runs_is_joined(come: Come) -> None:
    store, driver = come()
    check_joinable(store.campaign(CAMPAIGN))
    store.pause_campaign(CAMPAIGN)
    check_joinable(store.campaign(CAMPAIGN))
    driver.leave("stopped", "by hand")
    with pytest.raises(RecipelabError, match=r"is stopped \(by hand\).*recipelab resume"):
        check_joinable(store.campaign(CAMPAIGN))
