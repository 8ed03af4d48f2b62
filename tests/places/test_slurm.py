"""Slurm as a place, on a cluster of its own: jobs that wait, are cancelled, requeued, killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipelab.core.errors import RecipelabError, SandboxUnavailable
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Edit, Status
from recipelab.evaluation.evaluator import Evaluator
from recipelab.packs.data import ensure_data
from recipelab.packs.pack import Pack
from recipelab.places.base import PlaceRequest, open_place
from recipelab.places.parcel import Parcel
from recipelab.places.slurm import SlurmPlace
from recipelab.places.slurm_jobs import read_seconds, read_states
from recipelab.places.slurm_phases import on_slot
from recipelab.sandbox import PhaseLimits
from recipelab.sandbox.slots import Slot
from recipelab.sandbox.spec import load_image_spec
from tests.cli.background import answer, judged, start, stopped
from tests.cli.background import until as until_begun
from tests.sandbox.helpers import processes_with, wait_until

from .slurm_cluster import Cluster

GRES = "slot:1"


@pytest.fixture(autouse=True)
def asked_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm is asked every second, for tests that wait for what it says."""
    monkeypatch.setattr("recipelab.places.slurm._ASK_SECONDS", 1.0)


def request(*, slots: int = 1, said: list[str] | None = None, **options: str) -> PlaceRequest:
    return PlaceRequest(
        load_image_spec("cpu"),
        sandbox="local",
        slots=slots,
        options={"gres": GRES, **options},
        say=(said if said is not None else []).append,
    )


@asynccontextmanager
async def opened(folder: Path, **options: object) -> AsyncIterator[SlurmPlace]:
    """A place whose papers lie in a folder; when it is closed, nothing is left of it."""
    asked = request(folder=str(folder / "spool"), store=str(folder / "store"), **options)  # type: ignore[arg-type]
    place = open_place("slurm", asked)
    assert isinstance(place, SlurmPlace)
    async with place:
        yield place
    assert list((folder / "spool").iterdir()) == []


async def until(done: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until something is so, while the place goes on."""
    await asyncio.to_thread(wait_until, done, seconds=seconds)


def job_of(slot: Slot) -> str:
    return slot.name.rpartition(":")[2]


def sleeping(pack: Pack, seconds: float, mark: str) -> Recipe:
    """The toy recipe, with a training that takes a while and can be found among processes."""
    code = (
        "    import subprocess, sys\n    if not args.smoke:\n"
        f"        subprocess.run([sys.executable, '-c', 'import time; time.sleep({seconds})', "
        f"'{mark}'])\n"
    )
    line = "    blur = random"
    edit = Edit("recipe/train.py", line, code + line)
    return pack.baseline().apply([edit], pack.recipe.editable)


def evaluator_on(place: SlurmPlace, pack: Pack) -> Evaluator:
    data = ensure_data(pack, say=lambda text: None)
    return Evaluator(pack, place.sandbox, data, pool=place.pool, retry_seconds=0.01)


def begin_again(cluster: Cluster, job: str) -> None:
    """Have a requeued job begin at once: Slurm lets it wait for two minutes otherwise."""
    wait_until(lambda: (job, "PENDING") in cluster.jobs())
    cluster.call("scontrol", "update", f"JobId={job}", "StartTime=now")


def cancel(cluster: Cluster, job: str) -> None:
    cluster.call("scancel", job)


def requeue(cluster: Cluster, job: str) -> None:
    cluster.call("scontrol", "requeue", job)
    begin_again(cluster, job)


def kill_worker(cluster: Cluster, job: str) -> None:
    os.kill(cluster.worker(job), signal.SIGKILL)


def kill_stepd(cluster: Cluster, job: str) -> None:
    os.kill(cluster.stepd(job), signal.SIGKILL)


@pytest.mark.slurm
@pytest.mark.parametrize("disturb", [cancel, requeue, kill_worker, kill_stepd])
async def test_a_job_that_is_gone_costs_a_retry_and_never_the_trial(
    cluster: Cluster, toy: Pack, tmp_path: Path, disturb: Callable[[Cluster, str], None]
) -> None:
    mark = f"mark-{tmp_path.name}-{os.getpid()}"
    async with opened(tmp_path, slots=2) as place:
        evaluator = evaluator_on(place, toy)
        assert {slot.node for slot in place.pool.slots} <= {"n1", "n2"}
        assert place.pool.width == 2
        task = asyncio.ensure_future(evaluator.evaluate(sleeping(toy, 1.5, mark), None))
        await until(lambda: len(processes_with(mark)) >= 2)
        victim = job_of(place.pool.slots[0])
        await asyncio.to_thread(disturb, cluster, victim)
        outcome = await asyncio.wait_for(task, 90)
        assert outcome.status is Status.BASELINE
        assert [run.seed for run in outcome.seed_runs] == [1, 2]
        # What was lost comes back: the job itself, or another in its place.
        await until(lambda: place.pool.width == 2)
    await until(lambda: not processes_with(mark) and not cluster.jobs())


@pytest.mark.slurm
async def test_each_phase_may_be_a_job(cluster: Cluster, toy: Pack, tmp_path: Path) -> None:
    before = int(cluster.call("sbatch", "--parsable", "--output=/dev/null", "--wrap=true"))
    async with opened(tmp_path, slots=2, jobs="phase") as place:
        outcome = await evaluator_on(place, toy).evaluate(toy.baseline(), None)
        assert outcome.status is Status.BASELINE
    await until(lambda: not cluster.jobs())
    after = int(cluster.call("sbatch", "--parsable", "--output=/dev/null", "--wrap=true"))
    # One preflight, and two seeds that are trained, predicted and scored.
    assert after - before - 1 >= 7


@pytest.mark.slurm
async def test_a_queue_that_is_full_is_told_once_and_slots_appear_as_jobs_begin(
    cluster: Cluster, tmp_path: Path
) -> None:
    said: list[str] = []
    hogs = [
        cluster.call(
            "sbatch", "--parsable", "--output=/dev/null", "--gres=slot:2", f"--nodelist={node}",
            "--wrap=exec sleep 600",
        )
        for node in ("n1", "n2")
    ]  # fmt: skip
    await until(lambda: [state for _, state in cluster.jobs()] == ["RUNNING"] * 2)

    async def make_room() -> None:
        await until(lambda: said)
        await asyncio.to_thread(cluster.call, "scancel", hogs[0])

    room = asyncio.ensure_future(make_room())
    async with opened(tmp_path, slots=3, said=said) as place:
        await room
        await until(lambda: place.pool.width == 2)
        assert {slot.node for slot in place.pool.slots} == {"n1"}
        cluster.call("scancel", hogs[1])
        await until(lambda: place.pool.width == 3)
    (words,) = said
    assert words.startswith("waiting for Slurm: jobs ")
    assert words.endswith(" are pending (Resources)") or "(Priority)" in words


@pytest.mark.slurm
async def test_a_preempted_job_gives_its_slot_up_and_gets_it_back(
    cluster: Cluster, toy: Pack, tmp_path: Path
) -> None:
    mark = f"mark-{tmp_path.name}-{os.getpid()}"
    async with opened(tmp_path, slots=4, partition="main") as place:
        assert place.pool.width == 4
        task = asyncio.ensure_future(
            evaluator_on(place, toy).evaluate(sleeping(toy, 1.5, mark), None)
        )
        await until(lambda: len(processes_with(mark)) >= 2)
        lost = [job_of(slot) for slot in place.pool.slots if slot.node == "n1"]
        first = cluster.call(
            "sbatch", "--parsable", "--output=/dev/null", "--partition=first", "--gres=slot:2",
            "--nodelist=n1", "--wrap=exec sleep 600",
        )  # fmt: skip
        await until(lambda: place.pool.width == 2 and (first, "RUNNING") in cluster.jobs())
        assert {slot.node for slot in place.pool.slots} == {"n2"}
        outcome = await asyncio.wait_for(task, 90)
        assert outcome.status is Status.BASELINE
        cluster.call("scancel", first)
        for job in lost:
            await asyncio.to_thread(begin_again, cluster, job)
        await until(lambda: place.pool.width == 4)
        assert {job_of(slot) for slot in place.pool.slots} >= set(lost)


@pytest.mark.slurm
async def test_near_its_time_limit_a_job_takes_no_new_phase_and_another_takes_its_place(
    cluster: Cluster, tmp_path: Path
) -> None:
    async with opened(tmp_path, slots=1, time="10") as place:
        (old,) = place.pool.slots
        async with place.pool.lease() as slot:
            # Once the place has seen that there were ten minutes.
            await until(lambda: all(job.limit for job in place._jobs.values()))
            cluster.call("scontrol", "update", f"JobId={job_of(old)}", "TimeLimit=1")
            await until(lambda: len(cluster.jobs()) == 2)
            assert slot == old
            await until(lambda: place.pool.slots and old not in place.pool.slots)
            # What holds the old slot may end what it runs.
            assert (job_of(old), "RUNNING") in cluster.jobs()
        await until(lambda: job_of(old) not in dict(cluster.jobs()))
        assert place.pool.width == 1


@pytest.mark.slurm
async def test_jobs_end_with_a_driver_that_is_killed(cluster: Cluster, tmp_path: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from tests.places.test_slurm import opened\n"
        "from pathlib import Path\n"
        "async def main():\n"
        f"    async with opened(Path({str(tmp_path)!r}), slots=5) as place:\n"
        "        print(place.pool.width, flush=True); await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    driver = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=PIPE)
    assert driver.stdout is not None
    assert (await driver.stdout.readline()).strip() == b"4"
    assert sorted(state for _, state in cluster.jobs()) == ["PENDING", *["RUNNING"] * 4]
    driver.kill()
    await driver.wait()
    # Neither what runs nor what waits is left, nor the folder.
    await until(lambda: not cluster.jobs())
    await until(lambda: list((tmp_path / "spool").iterdir()) == [])
    await until(lambda: not cluster.workers())


@pytest.mark.slurm
def test_a_campaign_goes_on_after_its_jobs_and_its_driver_were_killed(
    cluster: Cluster, project: Path, tmp_path: Path
) -> None:
    script = project / "task_packs/toy/recipe/train.py"
    slow = "    import time; time.sleep(0.4)\n    parser ="
    script.write_text(script.read_text().replace("    parser =", slow, 1))
    folder = tmp_path / "spool"
    options = (f"folder={folder}", f"store={tmp_path / 'store'}", f"gres={GRES}")
    words = [word for one in options for word in ("--place-option", one)]
    process = start(project, "--place", "slurm", "--slots", "2", *words, trials=3)
    until_begun(lambda: len(judged(project)) >= 1, process)
    running = [job for job, state in cluster.jobs() if state == "RUNNING"]
    cluster.call("scancel", running[0])
    until_begun(lambda: len(judged(project)) >= 2, process)
    before = judged(project)
    stopped(process)
    wait_until(lambda: not cluster.jobs() and not list(folder.iterdir()), seconds=60)
    # The plan is in the lineage, the place and its options too.
    facts = answer("resume", "c")
    assert (facts["trials"], facts["state"]) == (3, "finished")
    after = judged(project)
    assert after[: len(before)] == before
    assert [record.number for record in after] == list(range(len(after)))
    measured = {Status.BASELINE, Status.KEPT, Status.DISCARDED}
    assert {record.status for record in after} <= measured
    assert not cluster.jobs("--states=PENDING,RUNNING")
    assert list(folder.iterdir()) == []


@pytest.mark.slurm
async def test_what_slurm_refuses_is_told_in_its_words(cluster: Cluster, tmp_path: Path) -> None:
    for options, words in (
        ({"partition": "none"}, "invalid partition"),
        ({"gres": "slot:9"}, "Requested node configuration is not available"),
        ({"setup": "echo no module cuda >&2; exit 3"}, "no module cuda"),
    ):
        with pytest.raises(SandboxUnavailable, match=words):
            async with opened(tmp_path, **options):
                raise AssertionError("it began")
    assert list((tmp_path / "spool").iterdir()) == []


@pytest.mark.slurm
async def test_options_that_mean_nothing_are_refused(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for options, words in (
        ({"jobs": "many"}, "valid: slot, phase"),
        ({"partitoin": "gpu"}, "unknown option of the place slurm 'partitoin'; valid: account"),
        ({"folder": str(tmp_path / "file/below")}, "folder: .*: Not a directory"),
    ):
        with pytest.raises(RecipelabError, match=words):
            async with open_place("slurm", request(**options)):
                raise AssertionError("it began")


@pytest.mark.slurm
def test_a_machine_without_slurm_is_told_where_to_start(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(RecipelabError, match="login node"):
        open_place("slurm", request())


def test_a_phase_has_the_cores_and_gpus_of_its_job() -> None:
    limits = PhaseLimits(seconds=1, gpus=("slurm-0-0",))
    parcel = Parcel(phase="train", command=("true",), inputs=(), limits=limits)
    job = Slot("n1:7", cores=(4, 5), gpus=("GPU-b",), node="n1")
    found = on_slot(job, parcel).limits
    assert (found.cpu_set, found.gpus) == ((4, 5), ("GPU-b",))
    # What scores has no GPU; a job that may use any core says nothing of cores.
    scoring = parcel.model_copy(update={"limits": PhaseLimits(seconds=1, cpu_set=(1,))})
    found = on_slot(Slot("n1:7", gpus=("GPU-b",), node="n1"), scoring).limits
    assert (found.cpu_set, found.gpus) == ((1,), ())


def test_states_are_read() -> None:
    text = (
        "12|RUNNING|None|1-02:03:04\n13|PENDING|Resources|10:00\n"
        "14|CANCELLED|None|INVALID\n15|RUNNING|None|UNLIMITED\nslurm_load_jobs error\n"
    )
    states = read_states(text)
    assert list(states) == ["12", "13", "14", "15"]
    assert states["12"].left == 93784.0
    assert (states["13"].waits, states["13"].reason, states["13"].left) == (True, "Resources", 600)
    assert (states["14"].over, states["14"].left) == (True, None)
    assert (states["15"].over, states["15"].waits, states["15"].left) == (False, False, None)


@given(st.integers(0, 10**6))
def test_times_are_read_as_slurm_writes_them(seconds: int) -> None:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    text = f"{minutes:02d}:{rest:02d}"
    if hours or days:
        text = f"{hours:02d}:{text}"
    if days:
        text = f"{days}-{text}"
    assert read_seconds(text) == seconds


@given(st.text())
@settings(max_examples=50)
def test_whatever_is_printed_can_be_read(text: str) -> None:
    for number, state in read_states(text).items():
        assert number.isdigit()
        assert "\x1b" not in state.reason
    read_seconds(text)
