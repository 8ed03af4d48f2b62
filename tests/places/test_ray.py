"""Phases on a real Ray cluster of three nodes on this machine, whose processes are killed."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from recipelab import Campaign
from recipelab.core.errors import SandboxError, SandboxUnavailable
from recipelab.core.trial import Status
from recipelab.places.base import PlaceRequest, open_place
from recipelab.places.placed import PlacedSandbox
from recipelab.places.ray import RayPlace
from recipelab.sandbox.base import Input, PhaseLimits, PhaseRequest, PhaseResult
from recipelab.sandbox.files import reap_folders
from recipelab.sandbox.slots import Slot
from recipelab.sandbox.spec import load_image_spec
from tests.campaign.conftest import TRAIN, toy_plan

from .ray_cluster import PLUGIN, Cluster, Node, ray_cluster

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SECONDS = 40.0
"""How long anything may take on a busy machine."""


@dataclass
class Three:
    """The cluster: its head, and two nodes with two slots each.

    Attributes:
        cluster: The cluster.
        first: A node with two CPUs, and a custom resource, ``first``.
        second: A node with two CPUs and two GPUs.
        dead: Names of nodes that were killed, and whose place no other has taken.
    """

    cluster: Cluster
    first: Node = field(init=False)
    second: Node = field(init=False)
    dead: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._add_first()
        self._add_second()

    def kill(self, name: str) -> None:
        """End the raylet of a node, as a machine ends whose power fails."""
        node = self.first if self.first.name == name else self.second
        assert node.name == name
        self.dead.append(name)
        node.kill()

    def renew(self) -> None:
        """Add nodes in place of those that were killed."""
        if self.first.name in self.dead:
            self._add_first()
        if self.second.name in self.dead:
            self._add_second()
        self.dead.clear()

    def _add_first(self) -> None:
        self.first = self.cluster.add(num_cpus=2, resources={"first": 2})

    def _add_second(self) -> None:
        self.second = self.cluster.add(num_cpus=2, num_gpus=2)


@pytest.fixture(scope="module")
def whole() -> Iterator[Three]:
    with ray_cluster() as cluster:
        yield Three(cluster)


@pytest.fixture
def three(whole: Three) -> Three:
    """The cluster, with both nodes."""
    whole.renew()
    return whole


@dataclass
class Told:
    """What a place says to people."""

    said: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)


@asynccontextmanager
async def placed(
    three: Three, *, slots: int, gpus: int = 0, told: Told | None = None, **options: str
) -> AsyncIterator[RayPlace]:
    """A started place on the cluster."""
    told = told or Told()
    store = str(three.cluster.folder / "store")
    request = PlaceRequest(
        load_image_spec("cpu"),
        sandbox="local",
        slots=slots,
        gpus=gpus,
        options={"address": three.cluster.address, "store": store, **options},
        say=told.said.append,
        warn=told.warned.append,
    )
    place = open_place("ray", request)
    assert isinstance(place, RayPlace)
    async with place:
        yield place


async def run(place: RayPlace, slot: Slot, script: str, output: Path, **more: Any) -> PhaseResult:
    """Run a shell script on a slot."""
    os.mkdir(output)
    request = PhaseRequest(
        phase="train",
        command=("sh", "-c", script),
        inputs=more.pop("inputs", ()),
        output=output,
        limits=PhaseLimits(seconds=100, gpus=slot.gpus, cpu_set=slot.cores),
        node=slot.node,
        slot=slot.name,
        **more,
    )
    return await place.sandbox.run(request)


def processes(word: str) -> dict[int, int]:
    """Return the processes whose command line has a word, with their parents."""
    found: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and word in (folder / "cmdline").read_text():
                found[int(folder.name)] = int(
                    (folder / "stat").read_text().rpartition(")")[2].split()[1]
                )
        except OSError:
            continue
    return found


async def until(true: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.1)


def is_lost(node: str, error: str) -> bool:
    """Whether an error says so: in Ray's words, or by the end of a stream, if that is sooner."""
    return re.search(f"node {node} is lost: (The actor|the stream has ended)", error) is not None


class Sleep:
    """A phase that sleeps, and can be found among all processes."""

    number = 0

    def __init__(self) -> None:
        Sleep.number += 1
        self.word = f"{98.0 + os.getpid() / 1e7 + Sleep.number / 1e9:.9f}"

    @property
    def script(self) -> str:
        return f"sleep {self.word}"

    @property
    def runs(self) -> bool:
        return bool(processes(self.word))


async def test_all_nodes_give_slots_and_hand_over_what_phases_leave(
    three: Three, tmp_path: Path
) -> None:
    told = Told()
    async with placed(three, slots=4, told=told) as place:
        assert Counter(slot.node for slot in place.pool.slots) == {
            three.first.name: 2,
            three.second.name: 2,
        }
        assert "3 nodes with 4 CPU, 2 GPU" in told.said[-1] and "4 slots" in told.said[-1]
        pieces: list[bytes] = []
        slots = place.pool.slots
        script = "echo begun; head -c 9000000 /dev/urandom > out/a; sleep 1"
        results = await asyncio.gather(
            *(run(place, slot, script, tmp_path / slot.name, tell=pieces.append) for slot in slots)
        )
        assert [result.log for result in results] == ["begun\n"] * 4
        assert pieces == [b"begun\n"] * 4
        assert all(1.0 <= result.wall_seconds < 10 for result in results)
        # What one node has left is an input on the other.
        left = Input(tmp_path / slots[0].name, "model")
        other = next(slot for slot in slots if slot.node != slots[0].node)
        script = "sha256sum < model/a"
        again = await run(place, other, script, tmp_path / "again", inputs=(left,))
        same = await run(place, slots[0], script, tmp_path / "same", inputs=(left,))
        assert again.log == same.log and len(again.log) > 64
    assert not told.warned


async def test_slots_lie_where_the_custom_resource_is(
    three: Three, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recipelab.places.ray._SETTLE_SECONDS", 2.0)
    told = Told()
    async with placed(three, slots=3, told=told, resources="first:1") as place:
        assert {slot.node for slot in place.pool.slots} == {three.first.name}
    assert told.said[-1].endswith("2 slots; it has no room for 1 more now")


async def test_slots_with_gpus_see_their_own(three: Three, tmp_path: Path) -> None:
    async with placed(three, slots=2, gpus=1) as place:
        seen = [
            (await run(place, slot, "echo $CUDA_VISIBLE_DEVICES", tmp_path / slot.name)).log
            for slot in place.pool.slots
        ]
        assert sorted(seen) == ["0\n", "1\n"]
        assert {slot.node for slot in place.pool.slots} == {three.second.name}


async def test_where_there_is_no_room_it_says_what_was_asked_for(three: Three) -> None:
    with pytest.raises(SandboxUnavailable) as found:
        async with placed(three, slots=1, resources="tape:2", wait="1"):
            raise AssertionError("there is a slot")
    assert "4 CPU, 2 GPU" in str(found.value)
    assert "no room for a slot (1 CPU, 2 tape) for 1 s" in str(found.value)


async def test_where_no_cluster_is_it_says_so(three: Three) -> None:
    with pytest.raises(SandboxUnavailable, match=r"Ray cluster at 127\.0\.0\.1:1: "):
        async with placed(three, slots=1, address="127.0.0.1:1"):
            raise AssertionError("there is a cluster")


async def test_a_node_with_another_version_is_refused(three: Three, tmp_path: Path) -> None:
    other = tmp_path / "recipelab/__init__.py"
    other.parent.mkdir()
    other.write_text('__version__ = "0.0.9"\n')
    node = three.cluster.add({"PYTHONPATH": str(tmp_path)}, num_cpus=1, resources={"other": 1})
    try:
        with pytest.raises(SandboxUnavailable, match=r"recipelab 0\.0\.9, and here it is"):
            async with placed(three, slots=1, resources="other:1", wait="5"):
                raise AssertionError("it has been taken")
    finally:
        node.kill()


async def lost(place: RayPlace, slot: Slot, output: Path, kill: Callable[[], None]) -> str:
    """Kill something while a phase runs on a slot.

    Returns:
        The error of the phase, once its processes are dead.
    """
    sleep = Sleep()
    running = asyncio.create_task(run(place, slot, sleep.script, output))
    await until(lambda: sleep.runs, "the phase runs")
    kill()
    with pytest.raises(SandboxError) as found:
        await asyncio.wait_for(running, SECONDS)
    await until(lambda: not sleep.runs, "its processes are dead")
    return str(found.value)


async def test_a_killed_raylet_costs_its_slots_until_there_is_a_node_again(
    three: Three, tmp_path: Path
) -> None:
    told = Told()
    async with placed(three, slots=2, told=told, resources="first:1") as place:
        (slot, _) = place.pool.slots
        node = three.first.name
        error = await lost(place, slot, tmp_path / "lost", partial(three.kill, node))
        assert is_lost(node, error)
        await until(lambda: not place.pool.slots, "both slots are retired")
        assert place.pool.grows
        three.renew()
        await until(lambda: len(place.pool.slots) == 2, "its slots are there again")
        assert {slot.node for slot in place.pool.slots} == {three.first.name}
        result = await run(place, place.pool.slots[0], "echo well", tmp_path / "well")
        assert result.log == "well\n"
    assert len(told.warned) == 2


async def test_a_killed_worker_costs_its_slot_until_there_is_another(
    three: Three, tmp_path: Path
) -> None:
    def kill() -> None:
        actors = processes("ray::Slot")
        (mine,) = (pid for pid, parent in actors.items() if parent == three.first.raylet)
        os.kill(mine, signal.SIGKILL)

    async with placed(three, slots=1, resources="first:1") as place:
        error = await lost(place, place.pool.slots[0], tmp_path / "lost", kill)
        assert is_lost(three.first.name, error)
        await until(lambda: place.pool.slots, "there is a slot again")
        result = await run(place, place.pool.slots[0], "echo well", tmp_path / "well")
        assert result.log == "well\n"


async def test_where_the_connection_to_the_cluster_dies_it_is_made_again(
    three: Three, tmp_path: Path
) -> None:
    def kill() -> None:
        bridges = processes("recipelab.places.ray_bridge")
        (mine,) = (pid for pid, parent in bridges.items() if parent == os.getpid())
        os.kill(mine, signal.SIGKILL)

    told = Told()
    async with placed(three, slots=1, told=told) as place:
        await lost(place, place.pool.slots[0], tmp_path / "lost", kill)
        await until(lambda: place.pool.slots, "there is a slot again")
        result = await run(place, place.pool.slots[0], "echo well", tmp_path / "well")
        assert result.log == "well\n"
    assert "is lost" in told.warned[0]


async def test_a_cancelled_phase_is_dead_and_its_slot_goes_on(three: Three, tmp_path: Path) -> None:
    sleep = Sleep()
    async with placed(three, slots=1) as place:
        slot = place.pool.slots[0]
        running = asyncio.create_task(run(place, slot, sleep.script, tmp_path / "cancelled"))
        await until(lambda: sleep.runs, "the phase runs")
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert not sleep.runs
        result = await run(place, slot, "echo well", tmp_path / "well")
        assert result.log == "well\n"


ENDED = {Status.BASELINE, Status.KEPT, Status.DISCARDED}


def slow_trainings(project: Path, seconds: float | str) -> None:
    """Have trainings of the toy pack take a while, and say that they have begun.

    They wait for a process of their own: a training itself is one more fork of a warm process, and
    has no command line by which it could be found.
    """
    script = project / "task_packs/toy" / TRAIN
    wait = f"import subprocess; subprocess.run(['sleep', '{seconds}'], check=True)"
    slow = f"    print('begun', flush=True)\n    {wait}\n    parser ="
    script.write_text(script.read_text().replace("    parser =", slow, 1))


async def test_a_raylet_killed_in_mid_trial_costs_seed_runs_and_no_trial(
    three: Three, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_trainings(project, 0.5)
    store = str(three.cluster.folder / "store")
    options = {"address": three.cluster.address, "store": store}
    trained: Counter[tuple[str, str]] = Counter()
    killed: list[str] = []
    run = PlacedSandbox.run

    async def disturbed(sandbox: PlacedSandbox, request: PhaseRequest) -> PhaseResult:
        if request.phase == "train":
            trained[request.labels["trial"], request.labels["seed"]] += 1
        if request.phase == "train" and request.labels["trial"] == "1" and not killed:
            killed.append(request.node)
            # Its first words come from the middle of the training.
            request = replace(request, tell=lambda piece: three.kill(request.node))
        return await run(sandbox, request)

    monkeypatch.setattr(PlacedSandbox, "run", disturbed)
    with Campaign.create(toy_plan(2, slots=2, place="ray", place_options=options)) as campaign:
        assert (await campaign.run()).finished
        trials = list(campaign.each_trial())
    assert len(killed) == 1
    assert [trial.number for trial in trials] == [0, 1, 2]
    assert {trial.status for trial in trials} <= ENDED
    # What ran on the node runs again, and what had ended does not.
    again = {which: count for which, count in trained.items() if count > 1}
    assert again and set(again.values()) == {2} and {trial for trial, _ in again} <= {"1", "2"}


def command(three: Three, project: Path, *words: str) -> subprocess.Popen[bytes]:
    """Begin a command, in a process that is to be killed."""
    return subprocess.Popen(
        [sys.executable, "-m", "recipelab", *words],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(PLUGIN), "TMPDIR": str(three.cluster.folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


async def test_a_killed_driver_leaves_nothing_running_and_its_campaign_goes_on(
    three: Three, project: Path
) -> None:
    sleep = "3.0271828"
    slow_trainings(project, sleep)
    options = [f"address={three.cluster.address}", f"store={three.cluster.folder / 'store'}"]
    words = ["run", "toy", "--name", "c", "--sandbox", "local", "--trials", "1", "--slots", "2"]
    words += ["--place", "ray", *(f"--place-option={option}" for option in options)]

    def trains() -> bool:
        return bool(processes(f"sleep\0{sleep}"))

    with command(three, project, *words) as driver:
        await until(lambda: trains() or driver.poll() is not None, "a training runs")
        assert trains(), driver.communicate()[0].decode()
        driver.kill()
        driver.wait()
    await until(lambda: not trains(), "the trainings are dead", 65)
    await until(lambda: not processes("recipelab.places.stream"), "the workers are dead", 65)
    with command(three, project, "resume", "c") as driver:
        said, _ = await asyncio.to_thread(driver.communicate, timeout=3 * SECONDS)
        assert driver.returncode == 0, said.decode()
    # Nothing of what Ray and its daemons log is on the user's terminal.
    assert b"raylet" not in said and b"INFO" not in said
    assert reap_folders(three.cluster.folder, dry_run=True) == ()
    with Campaign.open("c") as campaign:
        trials = list(campaign.each_trial())
    assert [trial.number for trial in trials] == [0, 1]
    assert {trial.status for trial in trials} <= ENDED
