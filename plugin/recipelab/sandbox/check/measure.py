"""What `recipelab sandbox check` measures: a probe in each of several phases, and the host.

The probe meets the sandbox from inside, as a recipe would. The host offers it something to reach
that must be out of reach, and looks for what is left running.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from recipelab.core.errors import SandboxError
from recipelab.sandbox.base import Input, PhaseLimits, PhaseRequest, PhaseResult, Sandbox
from recipelab.sandbox.files import new_folder, remove_tree
from recipelab.sandbox.spec import ContainerProfile

CANARY = "RECIPELAB_CHECK_CANARY"
"""A host variable that no phase may see."""

_PROBES = ("probe.py", "probe_limits.py")
_LOOK = PhaseLimits(seconds=60, memory_mb=256, pids=24, output_mb=4, scratch_mb=8, cpu_set=(0,))
_DEADLINE_SECONDS = 1.0
_DOCUMENTATION_ADDRESS = ("192.0.2.1", 9)


class MissingMeasurement(Exception):
    """A measurement is missing; the message says why."""


@dataclass(frozen=True)
class ProbeRun:
    """One phase of a check.

    Attributes:
        limits: Its limits.
        result: What the sandbox measured; ``None`` if its machinery failed.
        report: What the probe wrote; empty if it wrote nothing.
        collected_bytes: Size of all outputs that the host received.
        seconds: How long the whole phase took.
        error: Why there is no result.
    """

    limits: PhaseLimits
    result: PhaseResult | None = None
    report: Mapping[str, Any] = field(default_factory=dict[str, Any])
    collected_bytes: int = 0
    seconds: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class Measurements:
    """Everything that the probes and the host measured.

    Attributes:
        profile: What containers of the sandbox should have.
        runs: The phases by mode: ``look`` and the modes of ``probe_limits.py``.
        namespaces: Those of this process, by kind; empty if the system has none.
        session: The process session of this process.
        left_running: Number of processes of the check that still run.
        sentry: Whether the probes ran on gVisor's kernel.
    """

    profile: ContainerProfile
    runs: Mapping[str, ProbeRun]
    namespaces: Mapping[str, str]
    session: int
    left_running: int
    sentry: bool = False

    def result(self, mode: str) -> PhaseResult:
        """Return what the sandbox measured of a phase.

        Raises:
            MissingMeasurement: The machinery of the sandbox failed.
        """
        run = self.runs[mode]
        if run.result is None:
            raise MissingMeasurement(run.error)
        return run.result

    def reported(self, mode: str) -> Mapping[str, Any]:
        """Return what the probe of a phase wrote.

        Raises:
            MissingMeasurement: It wrote nothing; its last line is in the message.
        """
        result = self.result(mode)
        report = self.runs[mode].report
        if not report:
            last = (result.log.strip().splitlines() or ["it printed nothing"])[-1]
            raise MissingMeasurement(
                f"the probe ended ({result.ending}, {result.exit_code}): {last}"
            )
        return report

    def found(self, name: str) -> Any:
        """Return one thing that the first probe looked at.

        Raises:
            MissingMeasurement: It could not look.
        """
        report = self.reported("look")
        if name not in report["found"]:
            raise MissingMeasurement(report["errors"].get(name, "the probe did not look"))
        return report["found"][name]


def limits_by_mode(core: int, gpus: tuple[str, ...]) -> dict[str, PhaseLimits]:
    """Return the limits of each phase of a check.

    Args:
        core: The one core that the first phase may use.
        gpus: The GPUs to ask for; without any there is no phase for them.
    """
    modes = ("memory", "processes", "storage", "overflow", "cores", "unwaited", "stay")
    common = replace(_LOOK, cpu_set=None)
    limits = {"look": replace(_LOOK, cpu_set=(core,)), **dict.fromkeys(modes, common)}
    limits["cores"] = replace(common, cpus=0.5)
    limits["stay"] = replace(common, seconds=_DEADLINE_SECONDS)
    if gpus:
        # PyTorch alone takes more than a GiB before it has found a GPU.
        limits["gpu"] = replace(common, seconds=120, memory_mb=4096, gpus=gpus)
    return limits


async def measure(
    sandbox: Sandbox,
    profile: ContainerProfile,
    *,
    isolated: bool,
    core: int,
    gpus: tuple[str, ...],
    sentry: bool = False,
) -> Measurements:
    """Run all phases of a check, one after the other.

    Args:
        sandbox: A started sandbox.
        profile: What its containers should have.
        isolated: Whether the probes may try what would reach the user's own files and network if
            nothing kept them from it.
        core: A core that this process may use.
        gpus: Ids of the GPUs to ask for.
        sentry: Whether it runs commands on gVisor's kernel.
    """
    marker = f"recipelab-check-{secrets.token_hex(8)}"
    folder = new_folder(Path(tempfile.gettempdir()), what="check")
    try:
        with _listening() as endpoints, _canary_set():
            runs = {}
            for mode, limits in limits_by_mode(core, gpus).items():
                config = {**asdict(limits), **asdict(endpoints), "isolated": isolated}
                runs[mode] = await _run_probe(sandbox, folder / mode, mode, limits, config, marker)
    finally:
        remove_tree(folder)
    return Measurements(
        profile=profile,
        runs=runs,
        namespaces=_own_namespaces(),
        session=os.getsid(0),
        left_running=_running_with(marker),
        sentry=sentry,
    )


async def _run_probe(
    sandbox: Sandbox,
    folder: Path,
    mode: str,
    limits: PhaseLimits,
    config: Mapping[str, Any],
    marker: str,
) -> ProbeRun:
    inputs, output = folder / "check", folder / "output"
    inputs.mkdir(parents=True)
    output.mkdir()
    for name in _PROBES:
        shutil.copy(Path(__file__).with_name(name), inputs / name)
    seen = (inputs / _PROBES[0]).stat()
    config = {**config, "inode": [seen.st_dev, seen.st_ino]}
    (inputs / "config.json").write_text(json.dumps(config))
    program = _PROBES[0] if mode == "look" else _PROBES[1]
    request = PhaseRequest(
        phase=f"check-{mode}",
        command=("python", f"check/{program}", mode, marker),
        inputs=(Input(inputs, "check"),),
        output=output,
        limits=limits,
    )
    start = time.monotonic()
    try:
        result = await sandbox.run(request)
    except SandboxError as error:
        return ProbeRun(limits, error=str(error))
    return ProbeRun(
        limits=limits,
        result=result,
        report=_read_report(output),
        collected_bytes=sum(path.lstat().st_size for path in output.rglob("*") if path.is_file()),
        seconds=time.monotonic() - start,
    )


def _read_report(output: Path) -> dict[str, Any]:
    try:
        report = json.loads((output / "report.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return report if isinstance(report, dict) else {}


@dataclass(frozen=True)
class HostEndpoints:
    """Where a program that is not isolated could reach this process.

    Attributes:
        addresses: Addresses of the host.
        port: A port that is listened on at each of them.
        abstract: Name of an abstract socket; empty if the system has none.
    """

    addresses: tuple[str, ...]
    port: int
    abstract: str


@contextlib.contextmanager
def _listening() -> Iterator[HostEndpoints]:
    """Listen at all addresses of the host, and answer nobody."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("0.0.0.0", 0)))
        abstract = ""
        if sys.platform.startswith("linux"):
            abstract = f"recipelab-check-{secrets.token_hex(8)}"
            named = stack.enter_context(socket.socket(socket.AF_UNIX))
            named.bind(f"\0{abstract}")
            named.listen()
        yield HostEndpoints(_addresses(), listener.getsockname()[1], abstract)


def _addresses() -> tuple[str, ...]:
    """Return the loopback address, and the one that leads out if there is one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Nothing is sent: this only chooses a route.
            probe.connect(_DOCUMENTATION_ADDRESS)
        except OSError:
            return ("127.0.0.1",)
        return ("127.0.0.1", str(probe.getsockname()[0]))


@contextlib.contextmanager
def _canary_set() -> Iterator[None]:
    """Set a variable of this process that no phase may see."""
    os.environ[CANARY] = "1"
    try:
        yield
    finally:
        del os.environ[CANARY]


def _own_namespaces() -> dict[str, str]:
    try:
        return {path.name: os.readlink(path) for path in Path("/proc/self/ns").iterdir()}
    except OSError:
        return {}


def _running_with(marker: str) -> int:
    """Count the processes of this machine, in containers too, with the marker in their command."""
    if Path("/proc/self/cmdline").exists():
        commands = [_command(path) for path in Path("/proc").glob("[0-9]*")]
    else:
        listed = subprocess.run(["ps", "-axww", "-o", "command"], capture_output=True, check=True)
        commands = listed.stdout.splitlines()
    return sum(marker.encode() in command for command in commands)


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""  # It has ended, or belongs to a user whose processes are hidden.
