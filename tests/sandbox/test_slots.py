"""Slots: two pieces of work never hold one device, whichever process they are in."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from recipelab.core.errors import RecipelabError, SandboxError
from recipelab.sandbox.gpus import gpu_fault
from recipelab.sandbox.slots import (
    ANYWHERE,
    Slot,
    SlotPool,
    machine_pool,
    machine_slots,
)
from recipelab.sandbox.waiting import Waiter, WaitingList

ZERO, ONE = Slot("gpu-0", gpus=("0",)), Slot("gpu-1", gpus=("1",))

HOLD = """
import asyncio, sys
from pathlib import Path
from recipelab.sandbox.slots import Slot, SlotPool

async def main():
    async with SlotPool([Slot("gpu-0")], folder=Path(sys.argv[1])).lease():
        print("held", flush=True)
        await asyncio.sleep(100)

asyncio.run(main())
"""


def is_leased(slot: Slot, folder: Path) -> bool:
    """Whether some process holds a slot, or a device of it, now."""
    for name in slot.leases:
        with (folder / f"{name}.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False


async def most_at_once(pool: SlotPool, work: int) -> tuple[int, int]:
    """Runs pieces of work; gives how many held one slot, and how many ran, at the same time."""
    holders: dict[str, int] = {}
    most_on_one = most = 0

    async def one() -> None:
        nonlocal most_on_one, most
        async with pool.lease() as slot:
            holders[slot.name] = holders.get(slot.name, 0) + 1
            most_on_one = max(most_on_one, holders[slot.name])
            most = max(most, sum(holders.values()))
            for _ in range(3):
                await asyncio.sleep(0)
            holders[slot.name] -= 1

    await asyncio.gather(*(one() for _ in range(work)))
    return most_on_one, most


async def test_a_device_has_one_holder(tmp_path: Path) -> None:
    assert await most_at_once(SlotPool([ZERO, ONE], folder=tmp_path), 9) == (1, 2)


async def test_shared_devices_are_held_together(tmp_path: Path) -> None:
    pool = SlotPool([ZERO, ZERO, ZERO], folder=tmp_path, shared=True)
    assert await most_at_once(pool, 9) == (3, 3)


async def test_who_waits_longest_comes_first(tmp_path: Path) -> None:
    pool = SlotPool([ZERO], folder=tmp_path)
    order: list[int] = []

    async def one(number: int) -> None:
        async with pool.lease():
            order.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(*(one(number) for number in range(5)))
    assert order == list(range(5))


async def test_a_cancelled_wait_takes_nothing(tmp_path: Path) -> None:
    pool = SlotPool([ZERO], folder=tmp_path)

    async def wait() -> None:
        async with pool.lease():
            pytest.fail("the slot is held")

    async with pool.lease():
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    async with asyncio.timeout(5), pool.lease() as slot:
        assert slot == ZERO


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the slot of GPU 0."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


async def test_another_process_is_waited_for_even_if_it_is_killed(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    assert is_leased(ZERO, tmp_path)
    async with SlotPool([ZERO, ONE], folder=tmp_path).lease() as slot:
        assert slot == ONE
    got = asyncio.Event()

    async def wait() -> None:
        async with SlotPool([ZERO], folder=tmp_path).lease():
            got.set()

    waiting = asyncio.create_task(wait())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(got.wait(), 0.3)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    await asyncio.wait_for(waiting, 5)
    assert not is_leased(ZERO, tmp_path)


async def test_a_campaign_takes_the_slots_that_no_other_one_holds(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    pool = SlotPool([ZERO, ONE], width=1, folder=tmp_path)
    async with asyncio.timeout(5), pool.lease() as slot:
        assert slot == ONE


async def test_no_more_slots_are_held_than_wanted(tmp_path: Path) -> None:
    two = [Slot("gpu-2"), Slot("gpu-3")]
    assert await most_at_once(SlotPool([ZERO, ONE, *two], width=3, folder=tmp_path), 20) == (1, 3)


async def test_a_spare_slot_takes_the_place_of_a_retired_one(tmp_path: Path) -> None:
    pool = SlotPool([ZERO, ONE], width=1, folder=tmp_path)
    async with pool.lease() as slot:
        pool.retire(slot, "it fell off the bus")
    assert pool.width == 1
    async with asyncio.timeout(5), pool.lease() as other:
        assert other == ONE


async def test_a_long_wait_for_another_campaign_is_told_once(
    tmp_path: Path,
    holder: subprocess.Popen[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("recipelab.sandbox.slots.TELL_SECONDS", 0.2)
    pool = SlotPool([ZERO], folder=tmp_path)

    async def wait() -> None:
        async with pool.lease():
            pass

    told: asyncio.Queue[logging.LogRecord] = asyncio.Queue()
    listener = logging.Handler()
    monkeypatch.setattr(listener, "emit", told.put_nowait)
    logging.getLogger("recipelab").addHandler(listener)
    waiting = [asyncio.create_task(wait()) for _ in range(3)]
    async with asyncio.timeout(20):
        said = await told.get()
        holder.kill()
        await asyncio.gather(*waiting)
    logging.getLogger("recipelab").removeHandler(listener)
    assert "waiting for a slot that another campaign holds" in said.getMessage()
    assert told.empty()


async def waiting_files(folder: Path, number: int) -> None:
    """Waits until so many pools are on the list."""
    names: list[str] = []
    for _ in range(6_000):
        names = [name for name in os.listdir(folder) if name.startswith("waiting-")]
        if len(names) == number:
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"{names} wait, and not {number}")


async def shares(pools: dict[str, SlotPool], work: int) -> list[str]:
    """Has each pool run pieces of work; gives the names of the pools in the order of leases."""
    order: list[str] = []

    async def one(name: str) -> None:
        async with pools[name].lease():
            order.append(name)
            # Longer than a pool waits between two tries.
            await asyncio.sleep(0.15)

    async with asyncio.timeout(60):
        await asyncio.gather(*(one(name) for _ in range(work) for name in pools))
    return order


async def test_campaigns_take_turns_on_a_slot(tmp_path: Path) -> None:
    pools = {name: SlotPool([ZERO], folder=tmp_path) for name in ("first", "second")}
    assert await shares(pools, 4) == ["first", "second"] * 4


async def test_a_freed_slot_is_for_the_campaign_that_holds_fewest(tmp_path: Path) -> None:
    greedy = SlotPool([ZERO, ONE], folder=tmp_path)
    late = SlotPool([ZERO, ONE], folder=tmp_path)
    order: list[str] = []
    both_held, late_waits = asyncio.Event(), asyncio.Event()

    async def work(pool: SlotPool, name: str, until: asyncio.Event) -> None:
        async with pool.lease():
            order.append(name)
            if len(order) == 2:
                both_held.set()
            await until.wait()

    never = asyncio.Event()
    async with asyncio.timeout(60):
        held = asyncio.create_task(work(greedy, "greedy", never))
        tasks = [asyncio.create_task(work(greedy, "greedy", late_waits)) for _ in range(4)]
        await both_held.wait()
        tasks.append(asyncio.create_task(work(late, "late", late_waits)))
        await waiting_files(tmp_path, 1)
        late_waits.set()
        await asyncio.gather(*tasks)
        never.set()
        await held
    assert order == ["greedy", "greedy", "late", "greedy", "greedy", "greedy"]


async def test_other_slots_are_not_held_up_by_those_who_wait(tmp_path: Path) -> None:
    busy, third = SlotPool([ZERO], folder=tmp_path), SlotPool([ZERO], folder=tmp_path)
    async with busy.lease():
        waiting = asyncio.create_task(third.lease().__aenter__())
        await waiting_files(tmp_path, 1)
        async with asyncio.timeout(5), SlotPool([ONE], folder=tmp_path).lease() as slot:
            assert slot == ONE
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    await waiting_files(tmp_path, 0)


def test_who_waits_is_known_until_it_dies(tmp_path: Path) -> None:
    first, second = WaitingList(tmp_path), WaitingList(tmp_path)
    early, late = (Waiter(0, since, frozenset({"gpu-0"})) for since in (1.0, 2.0))
    first.join(early)
    second.join(late)
    assert first.others() == [late]
    assert second.others() == [early]
    assert early.is_before(late, ["gpu-0"])
    assert not late.is_before(early, ["gpu-0"])
    assert not early.is_before(late, ["gpu-1"])
    assert Waiter(0, 9.0, early.leases).is_before(Waiter(1, 1.0, early.leases), ["gpu-0"])
    fewer = Waiter(1, 1.0, frozenset({"gpu-1"}))
    first.join(fewer)
    assert second.others() == [fewer]
    first.leave()
    assert second.others() == []
    dead = tmp_path / "waiting-dead.json"
    dead.write_text('{"held": 0, "since": 0.0, "leases": ["gpu-0"]}')
    assert second.others() == []
    assert not dead.exists()
    second.leave()
    assert not list(tmp_path.glob("waiting-*"))


async def test_a_retired_slot_is_not_leased_again(tmp_path: Path) -> None:
    pool = SlotPool([ZERO, ONE], folder=tmp_path)
    async with pool.lease() as slot:
        pool.retire(slot, "GPU 0 does not answer")
    async with pool.lease() as other:
        assert other == ONE
        pool.retire(other, "GPU 1 does not answer")
    with pytest.raises(SandboxError, match=r"no slot is left: GPU 0 .*; GPU 1 does not answer"):
        async with pool.lease():
            pytest.fail("there is none")


async def test_whoever_waits_is_told_that_the_last_slot_is_gone(tmp_path: Path) -> None:
    pool = SlotPool([ZERO], folder=tmp_path)

    async def wait() -> None:
        async with pool.lease():
            pytest.fail("there is none")

    async with pool.lease() as slot:
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        pool.retire(slot, "it fell off the bus")
    with pytest.raises(SandboxError, match="fell off the bus"):
        await asyncio.wait_for(waiting, 5)


async def test_a_slot_without_a_name_needs_no_lock(tmp_path: Path) -> None:
    folder = tmp_path / "locks"
    async with SlotPool([ANYWHERE], folder=folder).lease():
        assert not folder.exists()


def test_every_slot_of_the_machine_has_cores_of_its_own() -> None:
    available = sorted(os.sched_getaffinity(0))
    slots = machine_slots(cpus=1, gpus=0)
    assert [slot.cores for slot in slots] == [(core,) for core in available]


def test_as_many_slots_as_are_wanted_may_be_held() -> None:
    cores = len(os.sched_getaffinity(0))
    assert machine_pool(cpus=1, gpus=0, wanted=None, most=99).width == cores
    assert machine_pool(cpus=1, gpus=0, wanted=None, most=1).width == 1
    assert machine_pool(cpus=1, gpus=0, wanted=1, most=99).width == 1
    with pytest.raises(RecipelabError, match=f"valid: 1 to {cores}, .*--share-devices"):
        machine_pool(cpus=1, gpus=0, wanted=cores + 1, most=99)
    shared = machine_pool(cpus=1, gpus=0, wanted=cores + 1, most=99, share=True)
    assert shared.width == cores + 1
    assert shared.slots[-1] == shared.slots[0]


def test_a_phase_wider_than_the_machine_has_all_of_it() -> None:
    (slot,) = machine_slots(cpus=9999, gpus=0)
    assert slot.cores == tuple(sorted(os.sched_getaffinity(0)))


SMI = """#!/bin/sh
# Stands in for the tool of a machine with three GPUs: one in use, one that has fallen off the bus.
case "$*" in
  *--id\\ 1*) exit 15;;
  *--id\\ 0*) echo "0, GPU-aaaa, NVIDIA X, 81559, 4";;
  *) echo "0, GPU-aaaa, NVIDIA X, 81559, 4"
     echo "1, GPU-bbbb, NVIDIA X, 81559, 0"
     echo "2, GPU-cccc, NVIDIA X, 81559, 70000";;
esac
"""


@pytest.fixture
def three_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts a tool in front that answers as NVIDIA's would."""
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text(SMI)
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize(
    ("visible", "uuids"),
    [
        ("1", ["GPU-bbbb"]),
        ("1,0", ["GPU-bbbb", "GPU-aaaa"]),
        ("GPU-b", ["GPU-bbbb"]),
        ("GPU-bbbb, 0", ["GPU-bbbb", "GPU-aaaa"]),
        ("0,7,1", ["GPU-aaaa"]),  # As CUDA has it: none behind one that is not there.
        ("0,2", ["GPU-aaaa"]),  # The last is in use by somebody else.
        ("MIG-dddd", ["MIG-dddd"]),
    ],
)
def test_only_the_visible_gpus_become_slots(
    three_gpus: None, monkeypatch: pytest.MonkeyPatch, visible: str, uuids: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [slot.gpus for slot in machine_slots(cpus=8, gpus=1)] == [(uuid,) for uuid in uuids]


@pytest.mark.parametrize("visible", ["", "-1", "7", "GPU-", "NoDevFiles"])
def test_without_a_visible_gpu_there_is_none(
    three_gpus: None, monkeypatch: pytest.MonkeyPatch, visible: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(RecipelabError, match=f"none that CUDA_VISIBLE_DEVICES={visible} leaves"):
        machine_slots(cpus=8, gpus=1)


def test_free_gpus_become_slots(three_gpus: None) -> None:
    assert machine_slots(cpus=8, gpus=1) == [
        Slot("gpu-GPU-aaaa", gpus=("GPU-aaaa",)),
        Slot("gpu-GPU-bbbb", gpus=("GPU-bbbb",)),
    ]
    with pytest.raises(RecipelabError, match="which has 2 free GPUs; valid: 1 to 2"):
        machine_pool(cpus=8, gpus=1, wanted=3, most=8)


def test_gpus_are_bundled_where_a_phase_needs_several(three_gpus: None) -> None:
    (slot,) = machine_slots(cpus=8, gpus=2)
    assert slot.gpus == ("GPU-aaaa", "GPU-bbbb")
    with pytest.raises(RecipelabError, match="needs 8 GPUs at once, and 2 of 3 are free"):
        machine_slots(cpus=8, gpus=8)


async def test_a_bundle_is_leased_device_by_device(three_gpus: None, tmp_path: Path) -> None:
    bundle = SlotPool(machine_slots(cpus=8, gpus=2), folder=tmp_path)
    single = machine_slots(cpus=8, gpus=1)
    async with bundle.lease() as held:
        assert all(is_leased(slot, tmp_path) for slot in (held, *single))
    assert not any(is_leased(slot, tmp_path) for slot in (held, *single))


def test_a_machine_without_gpus_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(RecipelabError, match="no GPU is free: nvidia-smi finds none"):
        machine_slots(cpus=1, gpus=1)


def test_a_gpu_that_fell_off_the_bus_is_told_from_one_that_answers(three_gpus: None) -> None:
    assert gpu_fault("0") is None
    assert gpu_fault("1") == "GPU 1 does not answer nvidia-smi"
    assert gpu_fault("MIG-dddd") is None


def test_nothing_is_said_of_gpus_that_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert gpu_fault("0") is None


async def test_slots_come_and_go(tmp_path: Path) -> None:
    pool = SlotPool([], folder=tmp_path, grows=True)
    waiting = asyncio.ensure_future(leased(pool))
    await asyncio.sleep(0)
    assert (pool.width, waiting.done()) == (0, False)
    slot = Slot("a:0", node="a")
    pool.add(slot)
    assert await asyncio.wait_for(waiting, 10) == slot
    with pytest.raises(ValueError, match="a:0 already"):
        pool.add(slot)
    # One that goes while it is held, and comes back as another, is leased once at a time.
    async with pool.lease() as held:
        pool.retire(held, "its node is lost")
        assert pool.slots == ()
        pool.add(Slot("a:0", node="b"))
        waiting = asyncio.ensure_future(leased(pool))
        await asyncio.sleep(0.05)
        assert not waiting.done()
    assert (await asyncio.wait_for(waiting, 10)).node == "b"
    pool.retire(slot, "its node is lost")
    waiting = asyncio.ensure_future(leased(pool))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    pool.close("the place was closed")
    with pytest.raises(SandboxError, match="no slot is left: its node is lost"):
        await asyncio.wait_for(waiting, 10)


async def leased(pool: SlotPool) -> Slot:
    """A slot that was held for a moment."""
    async with pool.lease() as slot:
        return slot
