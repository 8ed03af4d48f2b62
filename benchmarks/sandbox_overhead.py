"""What a phase in the Docker sandbox costs over a bare `docker run` of the same command.

Both run the same image with the same flags: no network, read-only root, no capabilities, limits.
They take turns, so that a machine that drifts slows both alike. A pair gives one ratio, and the
ratio of a case is the median of its pairs.

With ``--warm PACK`` it measures what a warm start saves instead: the phases of one seed of the
pack's starting recipe (preflight, train, predict), with its imports before the hand-over and
without, in turns, in both sandboxes.

With ``--runtime NAME`` it measures what another runtime of the daemon costs, as gVisor's runsc:
phases of the same commands with it and with the daemon's ``runc``, in turns.

Usage: python benchmarks/sandbox_overhead.py [--image IMAGE] [--pairs N] [--seconds S ...]
           [--json FILE] [--calls] [--warm PACK]
           [--runtime NAME]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

from docker import APIClient
from one_recipe import drawn_runner

from recipelab.packs.load import load_pack
from recipelab.packs.pack import Pack
from recipelab.sandbox import DockerSandbox, LocalSandbox, PhaseLimits, PhaseRequest, Sandbox
from recipelab.sandbox.spec import ContainerProfile

LIMITS = PhaseLimits(seconds=60, memory_mb=512, cpus=1.0, pids=64, output_mb=16, scratch_mb=16)
SLEEP = "import time; time.sleep({seconds})"
BURN = "import time\nend = time.process_time() + {seconds}\nwhile time.process_time() < end: pass"
SECONDS = (0.1, 1.0, 5.0)
CALLS = (
    *("create_container", "attach_socket", "start"),
    *("exec_create", "exec_start", "exec_inspect"),
    "remove_container",
)


def bare_command(image: str, code: str) -> list[str]:
    """A `docker run` with the flags that the sandbox's own containers have."""
    return [
        *("docker", "run", "--rm", "--init", "--network=none", "--read-only", "--cap-drop=ALL"),
        *("--security-opt=no-new-privileges", "--user=65534:65534", "--ipc=private"),
        *(f"--memory={LIMITS.memory_mb}m", f"--memory-swap={LIMITS.memory_mb}m"),
        *(f"--shm-size={LIMITS.memory_mb}m", f"--cpus={LIMITS.cpus}"),
        *(f"--pids-limit={LIMITS.pids}", "--log-driver=none"),
        f"--tmpfs=/tmp:rw,exec,nosuid,nodev,size={LIMITS.scratch_mb}m,mode=1777",
        f"--tmpfs=/trial/out:rw,noexec,nosuid,nodev,size={LIMITS.output_mb}m,mode=1777",
        *("--workdir=/trial", "--entrypoint=python", image, "-c", code),
    ]


def bare_seconds(image: str, code: str) -> float:
    """Wall-clock seconds of a bare run."""
    begun = time.perf_counter()
    subprocess.run(bare_command(image, code), check=True, capture_output=True)
    return time.perf_counter() - begun


async def phase_seconds(sandbox: DockerSandbox, code: str) -> float:
    """Wall-clock seconds of a phase, from the request to the result."""
    with tempfile.TemporaryDirectory() as folder:
        command = ("python", "-c", code)
        request = PhaseRequest("benchmark", command, (), Path(folder), LIMITS)
        begun = time.perf_counter()
        result = await sandbox.run(request)
        taken = time.perf_counter() - begun
    assert result.ok, result.log
    return taken


async def pairs_of(
    sandbox: DockerSandbox, image: str, code: str, count: int
) -> list[tuple[float, float]]:
    """Pairs of seconds, bare and in the sandbox; which goes first changes from pair to pair."""
    found = []
    for number in range(count):
        if number % 2:
            phase = await phase_seconds(sandbox, code)
            found.append((bare_seconds(image, code), phase))
        else:
            bare = bare_seconds(image, code)
            found.append((bare, await phase_seconds(sandbox, code)))
    return found


def summary(name: str, pairs: list[tuple[float, float]]) -> dict[str, Any]:
    """Medians, the median ratio, and where 95 % of medians of resampled pairs lie."""
    ratios = [phase / bare for bare, phase in pairs]
    source = random.Random(0)
    medians = sorted(statistics.median(source.choices(ratios, k=len(ratios))) for _ in range(2000))
    return {
        "case": name,
        "pairs": len(pairs),
        "bare_seconds": statistics.median(bare for bare, _ in pairs),
        "phase_seconds": statistics.median(phase for _, phase in pairs),
        "more_seconds": statistics.median(phase - bare for bare, phase in pairs),
        "ratio": statistics.median(ratios),
        "ratio_low": medians[50],
        "ratio_high": medians[-51],
    }


@contextmanager
def timed_calls() -> Iterator[dict[str, list[float]]]:
    """Measures each call of the Docker SDK that a phase makes."""
    taken: dict[str, list[float]] = defaultdict(list)
    originals = {name: getattr(APIClient, name) for name in CALLS}

    def timed(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def measured(*arguments: Any, **options: Any) -> Any:
            begun = time.perf_counter()
            try:
                return call(*arguments, **options)
            finally:
                taken[name].append(time.perf_counter() - begun)

        return measured

    for name, call in originals.items():
        setattr(APIClient, name, timed(name, call))
    try:
        yield taken
    finally:
        for name, call in originals.items():
            setattr(APIClient, name, call)


async def calls_of(sandbox: DockerSandbox, image: str, count: int) -> dict[str, Any]:
    """Where the time of a phase with an empty command goes; medians over phases, in ms."""
    phases, bare, rows = [], [], []
    for _ in range(count):
        bare.append(1000 * bare_seconds(image, "pass"))
        with timed_calls() as taken:
            phases.append(1000 * await phase_seconds(sandbox, "pass"))
        rows.append({name: 1000 * sum(found) for name, found in taken.items()})
    calls = {name: statistics.median(row.get(name, 0.0) for row in rows) for name in CALLS}
    rest = statistics.median(
        phase - sum(row.values()) for phase, row in zip(phases, rows, strict=True)
    )
    return {
        "bare": statistics.median(bare),
        "phase": statistics.median(phases),
        "calls": calls | {"the rest: command, outputs, questions": rest},
    }


def cases_of(lengths: list[float]) -> dict[str, str]:
    """The commands, by their names: some that wait, some that work."""
    return {
        f"{kind} {seconds:g} s": code.format(seconds=seconds)
        for seconds in lengths
        for kind, code in (("sleep", SLEEP), ("work", BURN))
    }


async def measured(
    image: str, cases: dict[str, str], pairs: int, *, with_calls: bool
) -> dict[str, Any]:
    """Everything; prints each case as it is done."""
    async with DockerSandbox(image=image) as sandbox:
        await pairs_of(sandbox, image, "pass", 2)  # The first ones read the image from the disk.
        print(f"{'command':<12}{'pairs':>6}{'bare':>9}{'phase':>9}{'more':>9}  ratio (95 %)")
        rows = []
        for name, code in cases.items():
            row = summary(name, await pairs_of(sandbox, image, code, pairs))
            rows.append(row)
            print(
                f"{name:<12}{row['pairs']:>6}{row['bare_seconds']:>8.3f}s"
                f"{row['phase_seconds']:>8.3f}s{row['more_seconds']:>8.3f}s"
                f"  {row['ratio']:.3f} ({row['ratio_low']:.3f} to {row['ratio_high']:.3f})",
                flush=True,
            )
        facts: dict[str, Any] = {"machine": _machine(), "image": image, "cases": rows}
        if with_calls:
            told = await calls_of(sandbox, image, pairs)
            facts["calls"] = told
            print(f"an empty command: bare {told['bare']:.0f} ms, phase {told['phase']:.0f} ms:")
            for name, milliseconds in told["calls"].items():
                print(f"  {milliseconds:>6.1f} ms  {name}")
        return facts


async def trial_seconds(pack: Pack, sandbox: Sandbox) -> dict[str, float]:
    """CPU and wall-clock seconds of one seed of a pack's starting recipe, and what is charged."""
    async with drawn_runner(pack, pack.baseline(), sandbox) as (runner, _):
        begun = time.perf_counter()
        await runner.preflight()
        assert runner.last is not None
        results = [runner.last, await runner.train(1), await runner.predict(1)]
        seconds = time.perf_counter() - begun
    return {
        "wall": seconds,
        "cpu": sum(result.cpu_seconds + result.warm_cpu_seconds for result in results),
        "train": results[1].cpu_seconds,
    }


async def warm_starts(name: str, pairs: int) -> list[dict[str, Any]]:
    """What a warm start saves; prints a row for each sandbox and way."""
    pack = load_pack(name, "mini")
    ways = {"cold": pack.model_copy(update={"warm": ()}), "warm": pack}
    kinds = {"local": LocalSandbox(), "docker": DockerSandbox(image="recipelab/cpu")}
    rows: list[dict[str, Any]] = []
    print(f"{name}: preflight, train and predict of one seed; medians of {pairs}")
    for kind, made in kinds.items():
        found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        async with made as sandbox:
            for way in ways:  # The first ones read PyTorch from the disk, and start a server.
                await trial_seconds(ways[way], sandbox)
            for _ in range(pairs):
                for way in ways:
                    found[way].append(await trial_seconds(ways[way], sandbox))
        for way, runs in found.items():
            row = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
            rows.append({"sandbox": kind, "way": way, **row})
            print(
                f"{kind:<8}{way:<6}{row['cpu']:>7.2f} s CPU in all,{row['wall']:>7.2f} s wall, "
                f"{row['train']:.2f} s CPU charged to train",
                flush=True,
            )
    return rows


RUNTIME_CASES = {
    "nothing": "pass",
    "loop": "for _ in range(30_000_000): pass",
    "2,000 files": (
        "for number in range(2000):\n"
        "    with open(f'/tmp/{number}', 'w') as file: file.write('x' * 4096)\n"
        "    with open(f'/tmp/{number}') as file: file.read()"
    ),
    "training": (
        "import torch\ntorch.manual_seed(0)\n"
        "net = torch.nn.Sequential(torch.nn.Conv2d(3, 32, 3), torch.nn.ReLU(),\n"
        "    torch.nn.Flatten(), torch.nn.Linear(32 * 900, 10))\n"
        "data, labels = torch.randn(64, 3, 32, 32), torch.randint(10, (64,))\n"
        "optimizer = torch.optim.SGD(net.parameters(), 0.01)\n"
        "for _ in range(150):\n"
        "    optimizer.zero_grad()\n"
        "    torch.nn.functional.cross_entropy(net(data), labels).backward()\n"
        "    optimizer.step()"
    ),
}


async def runtime_costs(image: str, name: str, pairs: int) -> list[dict[str, Any]]:
    """Seconds of phases with a runtime and with runc; prints a row for each command."""
    rows = []
    print(f"{'command':<12}{'':<8}{'phase':>8}{'command':>9}{'CPU':>8}{'memory':>9}")
    async with contextlib.AsyncExitStack() as stack:
        sandboxes = {}
        for runtime in ("runc", name):
            made = DockerSandbox(image=image, profile=ContainerProfile(runtime=runtime))
            sandboxes[runtime] = await stack.enter_async_context(made)
        for case, code in RUNTIME_CASES.items():
            found: dict[str, list[tuple[float, ...]]] = {runtime: [] for runtime in sandboxes}
            for number in range(pairs + 1):
                for runtime, sandbox in sandboxes.items():
                    figures = await phase_figures(sandbox, code)
                    if number:  # The first ones read the image from the disk.
                        found[runtime].append(figures)
            for runtime, all_figures in found.items():
                phase, wall, cpu, memory = map(statistics.median, zip(*all_figures, strict=True))
                row = {"phase": phase, "wall": wall, "cpu": cpu, "memory_mb": memory}
                rows.append({"case": case, "runtime": runtime, **row})
                print(
                    f"{case:<12}{runtime:<8}{phase:>7.2f}s{wall:>8.2f}s{cpu:>7.2f}s{memory:>6.0f}MiB",
                    flush=True,
                )
    return rows


async def phase_figures(sandbox: DockerSandbox, code: str) -> tuple[float, ...]:
    """Seconds of a phase, of its command, of CPU, and MiB."""
    with tempfile.TemporaryDirectory() as folder:
        limits = replace(LIMITS, memory_mb=1024)
        command = ("python", "-c", code)
        request = PhaseRequest("benchmark", command, (), Path(folder), limits)
        begun = time.perf_counter()
        result = await sandbox.run(request)
        taken = time.perf_counter() - begun
    assert result.ok, result.log
    return taken, result.wall_seconds, result.cpu_seconds, result.peak_memory_mb or 0.0


def _machine() -> dict[str, Any]:
    api = APIClient(version="auto")
    try:
        docker = api.version()["Version"]
        cgroup = api.info().get("CgroupVersion", "")
    finally:
        api.close()
    return {
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "docker": docker,
        "cgroup": cgroup,
        "python": platform.python_version(),
    }


def main() -> None:
    """Reads the command line, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--image", default="recipelab/cpu")
    parser.add_argument("--pairs", type=int, default=11)
    parser.add_argument("--seconds", type=float, nargs="*", default=SECONDS, help="of commands")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--calls", action="store_true", help="say where the time goes")
    parser.add_argument("--warm", metavar="PACK", help="what a warm start saves on a mini pack")
    parser.add_argument("--runtime", metavar="NAME", help="what this runtime of the daemon costs")
    asked = parser.parse_args()
    if asked.runtime:
        rows = asyncio.run(runtime_costs(asked.image, asked.runtime, asked.pairs))
        if asked.json:
            asked.json.write_text(json.dumps(rows, indent=2) + "\n")
        return
    if asked.warm:
        rows = asyncio.run(warm_starts(asked.warm, asked.pairs))
        if asked.json:
            asked.json.write_text(json.dumps(rows, indent=2) + "\n")
        return
    if shutil.which("docker") is None:
        sys.exit("the bare run needs Docker's command line, and there is none")
    cases = cases_of(asked.seconds)
    facts = asyncio.run(measured(asked.image, cases, asked.pairs, with_calls=asked.calls))
    if asked.json:
        asked.json.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
