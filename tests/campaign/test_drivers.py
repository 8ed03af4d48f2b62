"""Several drivers on one campaign: in one process for the rules, as processes for what kills do."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from recipelab.campaign.campaign import Campaign
from recipelab.core.errors import RecipelabError
from recipelab.core.trial import Status
from recipelab.lineage import LineageStore
from recipelab.lineage.leases import LeaseTimes
from tests.campaign.stub_drivers import Stub, driver
from tests.lineage.conftest import MakeDatabase, make_database, postgres_server

__all__ = ["make_database", "postgres_server"]

pytestmark = pytest.mark.postgres

NAME = "shared"
LONG = LeaseTimes(beat=60.0, expiry=600.0)


@pytest.fixture
def url(make_database: MakeDatabase) -> str:
    """An empty PostgreSQL database."""
    return make_database("postgres")


def judged(url: str) -> dict[int, str]:
    """Who measured each trial that spent the budget; every trial has its outcome."""
    with LineageStore.open(url) as store:
        assert None not in store.counts(NAME)
        assert store.drivers(NAME, live=True) == ()
        records = list(store.each_trial(NAME))
    assert [record.number for record in records] == list(range(len(records)))
    found = {}
    for record in records:
        assert record.outcome is not None
        if record.outcome.status.counts:
            found[record.number] = record.outcome.environment
    return found


async def until(reached: Callable[[], bool], seconds: float = 120.0) -> None:
    """Waits until something is so; fails if it is not within the time."""
    given_up = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < given_up, "it did not come to that"
        await asyncio.sleep(0.02)


@pytest.mark.slow
async def test_two_drivers_share_trials_and_budget(project: Path, url: str, tmp_path: Path) -> None:
    said: list[str] = []
    both = asyncio.Event()  # The first one's trials wait for the second's.
    stubs = Stub("one", 0.05, gate=both), Stub("two", 0.05, begun=both.set)
    first = driver(url, tmp_path / "1", "run", NAME, trials=8, stub=stubs[0])
    running = asyncio.create_task(first.run())
    with LineageStore.open(url) as look:
        await until(lambda: bool(look.campaigns()) and bool(look.counts(NAME)))
        second = driver(url, tmp_path / "2", "join", NAME, trials=0, stub=stubs[1], say=said.append)
        with first, second:
            ended = await asyncio.gather(running, second.run())
        rounds = [look.driver_of_round(NAME, r.number) for r in look.rounds(NAME)]
        campaign = look.campaign(NAME)
    assert [one.finished for one in ended] == [True, True]
    found = judged(url)
    assert len(found) == 8
    assert set(found.values()) == {"one", "two"}
    assert "driver 2 of campaign shared" in said
    assert set(rounds) == {1, 2}
    assert (campaign.state, campaign.stop_reason) == ("finished", "the budget of trials is spent")


class Processes:
    """Drivers as processes of their own."""

    def __init__(self, url: str, project: Path) -> None:
        self._url = url
        self._project = project
        self._all: list[subprocess.Popen[str]] = []

    def start(self, what: str, *, trials: int, seconds: float) -> subprocess.Popen[str]:
        """Starts one, with a home of its own."""
        home = self._project.parent / f"home{len(self._all)}"
        tests = Path(__file__).parents[2]
        path = os.pathsep.join([str(tests), os.environ.get("PYTHONPATH", "")])
        arguments = [self._url, str(home), what, NAME, str(trials), str(seconds)]
        self._all.append(
            subprocess.Popen(
                [sys.executable, "-m", "tests.campaign.stub_drivers", *arguments],
                cwd=self._project,
                env={**os.environ, "PYTHONPATH": path, "PGAPPNAME": f"{NAME}{len(self._all)}"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        return self._all[-1]

    def stop_all(self) -> None:
        """Kills those that run yet."""
        for process in self._all:
            if process.poll() is None:
                process.kill()
            said, _ = process.communicate()
            sys.stdout.write(said)  # Shown if the test fails.


@pytest.fixture
def processes(url: str, project: Path) -> Iterator[Processes]:
    made = Processes(url, project)
    yield made
    made.stop_all()


def finished(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert "Ended(finished=True" in said, said
    return said


def trial_of(look: LineageStore, driver_number: int) -> int | None:
    """A trial that runs and is held by a driver; ``None`` for now."""
    if not look.campaigns():
        return None
    running = [b.number for b in look.in_flight_briefs(NAME) if b.state == "running" and b.number]
    held = {d.number: d.trials for d in look.drivers(NAME)}
    return running[0] if running and held.get(driver_number) else None


def holder(look: LineageStore, trial: int) -> int | None:
    """The driver that holds a trial."""
    statement = "SELECT driver FROM trial_lease WHERE trial_number = :trial"
    with look._reading() as transaction:
        return transaction.value(statement, trial=trial)


@pytest.mark.slow
async def test_the_trials_of_a_killed_driver_are_taken_over(
    processes: Processes, url: str, project: Path
) -> None:
    slow = processes.start("run", trials=5, seconds=600)
    with LineageStore.open(url, create=True) as look:
        await until(lambda: trial_of(look, 1) is not None)
        trial = trial_of(look, 1)
        slow.kill()
        other = processes.start("join", trials=0, seconds=0.1)
        await until(lambda: look.brief(NAME, trial or 0).status is not None)
        finished(other)
        assert look.drivers(NAME)[0].state == "lost"
    found = judged(url)
    assert len(found) == 5
    assert set(found.values()) == {str(other.pid)}


async def asleep(process: subprocess.Popen[str], look: LineageStore) -> int:
    """Stops the first process while it runs a trial, which is returned, and within no write."""
    asked = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = :name AND state <> 'idle'"
    )
    for _ in range(100):
        await until(lambda: trial_of(look, 1) is not None)
        process.send_signal(signal.SIGSTOP)
        trial = trial_of(look, 1)
        with look._reading() as transaction:
            busy = transaction.value(asked, name=f"{NAME}0")
        if trial is not None and not busy:
            return trial
        process.send_signal(signal.SIGCONT)
        await asyncio.sleep(0.05)
    raise AssertionError("it never rested")


@pytest.mark.slow
async def test_a_driver_that_slept_writes_nothing_for_what_others_have_taken(
    processes: Processes, url: str, project: Path
) -> None:
    slept = processes.start("run", trials=30, seconds=1.0)
    with LineageStore.open(url, create=True) as look:
        trial = await asleep(slept, look)
        other = processes.start("join", trials=0, seconds=0.5)
        await until(lambda: look.brief(NAME, trial).status is not None)
        # All that it ran is another one's by now, and it knows nothing of it.
        slept.send_signal(signal.SIGCONT)
        await until(lambda: any(d.number > 2 for d in look.drivers(NAME)))
        said = finished(slept)
        finished(other)
        states = [d.state for d in look.drivers(NAME)]
    assert states[0] == "lost"
    assert states[-1] == "left"
    found = judged(url)
    assert found[trial] == str(other.pid)
    assert len(found) == 30
    # It came again, under another number, and did its share.
    assert Counter(found.values())[str(slept.pid)] > 0
    assert "Traceback" not in said


@pytest.mark.slow
async def test_four_drivers_lose_no_trial_and_run_none_twice(
    processes: Processes, url: str, project: Path
) -> None:
    drivers = [processes.start("run", trials=24, seconds=0.3)]
    with LineageStore.open(url, create=True) as look:
        await until(lambda: bool(look.campaigns()) and bool(look.counts(NAME)))
        look.pause_campaign(NAME)  # Alone it may be done before the others have come.
        drivers += [processes.start("join", trials=0, seconds=0.3) for _ in range(3)]
        await until(lambda: len(look.drivers(NAME, live=True)) == 4)
        look.pause_campaign(NAME, paused=False)
        for process in drivers:
            finished(process)
        # Each trial that ran has booked its slot once, and each was judged once.
        orders = [order for order, _ in look.judged_since(NAME, 0)]
    found = judged(url)
    assert len(found) == 24
    assert len(orders) == len(set(orders))
    assert len(set(found.values())) >= 2


@pytest.fixture
async def running(project: Path, url: str, tmp_path: Path) -> Campaign:
    """A campaign that was begun and stopped, whose state says that it runs."""
    first = driver(url, tmp_path / "1", "run", NAME, trials=1, stub=Stub("one", 0.0))
    with first:
        await first.run()
    with LineageStore.open(url) as store:
        store.reopen_campaign(NAME, trials=5)
    return first


async def test_a_campaign_that_is_over_or_unknown_is_not_joined(
    project: Path, url: str, tmp_path: Path
) -> None:
    home = tmp_path / "1"
    with driver(url, home, "run", NAME, trials=1, stub=Stub("one", 0.0)) as first:
        await first.run()
    with pytest.raises(RecipelabError, match="unknown campaign 'nobody'; valid: shared"):
        Campaign.join("nobody", home=home, lineage=url)
    with pytest.raises(RecipelabError, match=r"is finished .* nothing to join.*recipelab resume"):
        Campaign.join(NAME, home=home, lineage=url)
    with pytest.raises(RecipelabError, match="field of a plan that may change"):
        with LineageStore.open(url) as store:
            store.reopen_campaign(NAME)
        Campaign.join(NAME, home=home, lineage=url, limits=None, arm="generalist")


async def test_a_file_is_not_shared(project: Path, tmp_path: Path) -> None:
    file = tmp_path / "lineage.db"
    with driver(str(file), tmp_path, "run", NAME, trials=1, stub=Stub("one", 0.0)) as first:
        await first.run()
    with pytest.raises(RecipelabError, match=r"SQLite file has one driver.*PostgreSQL"):
        Campaign.join(NAME, home=tmp_path, lineage=file)


async def test_who_measures_otherwise_does_not_join(
    running: Campaign, project: Path, url: str, tmp_path: Path
) -> None:
    scorer = project / "task_packs/toy/evaluator/score.py"
    scorer.write_text(scorer.read_text() + "\n# another one\n")
    second = driver(url, tmp_path / "2", "join", NAME, trials=0, stub=Stub("two", 0.0))
    with second, pytest.raises(RecipelabError, match=r"(?s)has changed since it began.*score\.py"):
        await second.run()
    with LineageStore.open(url) as store:
        assert [d.state for d in store.drivers(NAME)] == ["left"]
        assert store.campaign(NAME).state == "running"


async def test_a_campaign_that_runs_elsewhere_is_not_resumed_but_joined(
    running: Campaign, project: Path, url: str, tmp_path: Path
) -> None:
    with LineageStore.open(url) as elsewhere:
        elsewhere.enter_campaign(NAME, host="far", process="p", model="m", times=LONG, joins=False)
        with running, pytest.raises(RecipelabError, match=r"running already \(driver 2\)"):
            running.extend()
            await running.run()
        assert elsewhere.campaign(NAME).state == "running"
        assert running.is_running


async def test_a_kill_reaches_the_driver_that_runs_the_trial_and_a_stop_all(
    project: Path, url: str, tmp_path: Path
) -> None:
    first = driver(url, tmp_path / "1", "run", NAME, trials=500, stub=Stub("one", 0.2))
    with LineageStore.open(url) as look, ExitStack() as stack:
        tasks = [asyncio.create_task(stack.enter_context(first).run())]
        await until(lambda: bool(look.campaigns()) and bool(look.counts(NAME)))
        second = driver(url, tmp_path / "2", "join", NAME, trials=0, stub=Stub("two", 600.0))
        tasks.append(asyncio.create_task(stack.enter_context(second).run()))
        await until(lambda: len(look.drivers(NAME, live=True)) == 2)
        person = stack.enter_context(Campaign.open(NAME, lineage=url, home=tmp_path / "3"))

        def mine() -> list[int]:
            flying = [brief.number for brief in look.in_flight_briefs(NAME)]
            return [number for number in flying if holder(look, number) == 2]

        await until(lambda: bool(mine()))
        (trial, *_) = mine()
        person.kill(trial)
        await until(lambda: look.brief(NAME, trial).status is Status.ABORTED)
        person.stop()
        ended = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 120)
        assert look.campaign(NAME).state == "stopped"
        assert look.drivers(NAME, live=True) == ()
    assert all(isinstance(one, asyncio.CancelledError) for one in ended)
