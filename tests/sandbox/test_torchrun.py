"""Processes of one command meet in every sandbox, by the launchers of the shipped packs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from recipelab.core.trial import FailureKind, Phase
from recipelab.evaluation.failures import failure_of
from recipelab.packs.load import load_pack
from recipelab.sandbox import Input, LocalSandbox, PhaseResult, Sandbox
from recipelab.sandbox.check.launcher import launcher_of

from .helpers import phase

PACKS = ("parameter_golf", "nanochat_d12")
"""Those whose full profile trains on several GPUs."""

SHIPPED = Path(__file__).parents[2] / "task_packs"

MEET = """
import os
from pathlib import Path

import torch
import torch.distributed as dist

dist.init_process_group("gloo")
total = torch.tensor([10.0 ** dist.get_rank()])
dist.all_reduce(total)
Path("out", os.environ["RANK"]).write_text(f"{total.item():g} {os.environ['OMP_NUM_THREADS']}")
dist.destroy_process_group()
"""


def launchers() -> dict[tuple[str, ...], str]:
    """The shipped commands that start several processes, with two in place of eight, and whose."""
    found: dict[tuple[str, ...], list[str]] = {}
    for name in PACKS:
        pack = load_pack(str(SHIPPED / name), "full")
        assert pack.limits.processes == 8
        for which in Phase:
            command = pack.phases[which].command
            launcher = launcher_of(command)
            if launcher is None:
                continue
            assert "--nproc_per_node=8" in command
            script = next(word for word in command if word.endswith(".py"))
            found.setdefault((*launcher, script), []).append(f"{name} {which}")
    return {words: ", ".join(whose) for words, whose in found.items()}


LAUNCHERS = launchers()


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize("command", LAUNCHERS, ids=LAUNCHERS.values())
async def test_two_ranks_meet_by_a_packs_own_launcher(
    torch_sandbox: Sandbox, output: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    script = tmp_path / "meet.py"
    script.write_text(MEET)
    inputs = (Input(script, command[-1]),)
    limits = {"seconds": 90, "memory_mb": 4096, "cpus": 8, "processes": 2, "pids": 512}
    result = await torch_sandbox.run(phase(output, *command, inputs=inputs, **limits))
    assert result.ok, result.log
    assert [(output / rank).read_text() for rank in "01"] == ["11 4", "11 4"]


FAILING = {
    "shape": """
import os, torch, torch.distributed as dist
dist.init_process_group("gloo")
if dist.get_rank() == 1:
    torch.ones(3, 4) @ torch.ones(3, 4)
dist.all_reduce(torch.ones(1))
""",
    "text": """
import sys
sys.exit("no shards in data/")
""",
    "kill": """
import os, signal, time
if os.environ["RANK"] == "1":
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep(60)
""",
    "recorded": """
import sys
from torch.distributed.elastic.multiprocessing.errors import record

@record
def main():
    for _ in range(4000):
        print("flood", file=sys.stderr)
    raise MemoryError("no room for the table")

main()
""",
}


@pytest.mark.slow
@pytest.mark.torch
async def test_of_a_failed_launch_the_first_cause_is_told(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    launcher = next(words for words in LAUNCHERS)

    async def run(sandbox: Sandbox, name: str) -> PhaseResult:
        (script := tmp_path / f"{name}.py").write_text(FAILING[name])
        (output := tmp_path / name).mkdir()
        inputs = (Input(script, launcher[-1]),)
        limits = {"seconds": 90, "memory_mb": 4096, "processes": 2, "pids": 512, "log_kb": 16}
        result = await sandbox.run(phase(output, *launcher, inputs=inputs, **limits))
        assert list(output.iterdir()) == []
        return result

    async with LocalSandbox() as sandbox:
        results = await asyncio.gather(*(run(sandbox, name) for name in FAILING))
    told = {
        name: failure_of(result, Phase.TRAIN, seed=1, budget=90)
        for name, result in zip(FAILING, results, strict=True)
    }
    assert {name: (failure.kind, failure.signature) for name, failure in told.items()} == {
        "shape": (
            FailureKind.SHAPE,
            "RuntimeError: mat# and mat# shapes cannot be multiplied (#x# and #x#) in "
            "phases.py:<module>",
        ),
        "text": (FailureKind.OTHER, "exit code 1: no shards in data/"),
        "kill": (FailureKind.SIGNAL, "signal 9: (no output)"),
        "recorded": (FailureKind.OOM, "MemoryError: no room for the table in phases.py:main"),
    }
    assert "rank 1 failed first: signal 9" in told["kill"].excerpt
