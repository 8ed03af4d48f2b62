"""Whether the processes that a launcher starts meet in a sandbox.

A pack that trains on several GPUs starts its processes by torchrun. Whether they find each other
depends on the sandbox (does the host name resolve, is there a loopback device, are there enough
processes), not on GPUs: two processes of a script of our own show it on any machine.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from recipelab.sandbox.base import Ending, Input, PhaseLimits, PhaseRequest, Sandbox

RANKS = 2
MEETING_SECONDS = 90.0
_SHOWN_CHARACTERS = 600
_WAIT_SECONDS = 60

_MODULES = ("torch.distributed.run", "torch.distributed.launch")
_FLAGS = ("standalone", "virtual-local-rank", "use-env")
"""Options of a launcher without a value."""
_OF_SCRIPT = ("m", "module", "no-python", "run-path")
"""Options without a value that say how to read the script's name; ours is a file."""
_COUNTS = ("nproc-per-node", "nnodes", "node-rank")

_SCRIPT = "meet.py"
_MEET = f"""
import os
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

dist.init_process_group("gloo", timeout=timedelta(seconds={_WAIT_SECONDS}))
total = torch.tensor([10.0 ** dist.get_rank()])
dist.all_reduce(total)
Path("out", os.environ["RANK"]).write_text(f"{{total.item():g}}")
dist.destroy_process_group()
"""


@dataclass(frozen=True)
class Meeting:
    """How a try of a launcher ended.

    Attributes:
        met: Whether all processes came together.
        text: What happened, for people.
        without_torch: Whether it was only that the sandbox has no PyTorch.
    """

    met: bool
    text: str
    without_torch: bool = False


def launcher_of(command: Sequence[str]) -> tuple[str, ...] | None:
    """Return the launcher of a command, made to start two processes of one machine.

    Args:
        command: The command of a phase.

    Returns:
        Program and options, up to where the script's path stands in the command; ``None`` if the
        command does not begin with torchrun, or names no script.
    """
    words = list(command)
    at = _options_at(words)
    if at is None:
        return None
    kept = [*words[:at], f"--nproc_per_node={RANKS}"]
    while at < len(words) and words[at].startswith("-"):
        name, has_value, _ = words[at].lstrip("-").replace("_", "-").partition("=")
        alone = bool(has_value) or name in (*_FLAGS, *_OF_SCRIPT)
        after = at + 1 if alone else at + 2
        if name not in (*_OF_SCRIPT, *_COUNTS):
            kept += words[at:after]
        at = after
    return tuple(kept) if at < len(words) else None


def _options_at(words: Sequence[str]) -> int | None:
    """Return where the options of a launcher begin in a command; ``None`` if there is none."""
    program = PurePosixPath(words[0]).name if words else ""
    if program == "torchrun":
        return 1
    if not program.startswith("python"):
        return None
    module = next((at for at in range(1, len(words)) if words[at] == "-m"), len(words))
    # Behind the first word that is no option everything belongs to a script.
    flags = all(word.startswith("-") for word in words[1:module])
    named = flags and module + 1 < len(words) and words[module + 1] in _MODULES
    return module + 2 if named else None


def _prepared(folder: Path) -> tuple[Path, Path]:
    """Write the script into a folder, and return it with an empty folder for what it leaves."""
    script, output = folder / _SCRIPT, folder / "out"
    script.write_text(_MEET, "utf-8")
    output.mkdir()
    return script, output


def _written(output: Path) -> dict[str, str]:
    return {path.name: path.read_text("utf-8") for path in output.iterdir()}


async def try_launcher(
    launcher: Sequence[str], sandbox: Sandbox, limits: PhaseLimits, labels: dict[str, str]
) -> Meeting:
    """Start two processes by a launcher in a sandbox, and see whether they come together.

    Args:
        launcher: What :func:`launcher_of` returned.
        sandbox: A started sandbox.
        limits: The limits of the phase, for two processes.
        labels: What it is for.

    Raises:
        SandboxError: The machinery failed.
    """
    with tempfile.TemporaryDirectory(prefix="recipelab-meet-") as name:
        script, output = _prepared(Path(name))
        request = PhaseRequest(
            phase="launcher",
            command=(*launcher, _SCRIPT),
            inputs=(Input(script, _SCRIPT),),
            output=output,
            limits=limits,
            labels=labels,
        )
        result = await sandbox.run(request)
        wrote = _written(output)
    if result.ok and wrote == dict.fromkeys(map(str, range(RANKS)), "1" * RANKS):
        return Meeting(True, f"{RANKS} processes meet, in {result.wall_seconds:.1f} s")
    if "No module named 'torch'" in result.log:
        return Meeting(False, "there is no PyTorch in it", without_torch=True)
    ended = f"ended with exit status {result.exit_code}"
    if result.ending is not Ending.EXITED:
        ended = f"were stopped at a limit ({result.ending}) after {result.wall_seconds:.0f} s"
    log = result.log.strip()[-_SHOWN_CHARACTERS:]
    return Meeting(False, f"{RANKS} processes do not meet; they {ended}\n{log}")
