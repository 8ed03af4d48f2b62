"""The phases of a check: a probe meets the sandbox from inside, as a recipe would."""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from recipelab.core.errors import SandboxError
from recipelab.sandbox.base import Input, PhaseLimits, PhaseRequest, PhaseResult, Sandbox
from recipelab.sandbox.check import host as check_host
from recipelab.sandbox.files import new_folder, remove_tree
from recipelab.sandbox.spec import ContainerProfile

_PROBES = ("probe.py", "probe_limits.py")
_LOOK = PhaseLimits(seconds=60, memory_mb=256, pids=24, output_mb=4, scratch_mb=8, cpu_set=(0,))
_DEADLINE_SECONDS = 1.0


class Unmeasured(Exception):
    """A measurement is missing; the message says why."""


@dataclass(frozen=True)
class Visit:
    """What came of one phase.

    Attributes:
        limits: Its limits.
        result: What the sandbox measured; ``None`` if its machinery failed.
        report: What the probe wrote; empty if it did not come to that.
        taken_bytes: Size of all outputs that the host received.
        seconds: How long the whole phase took.
        error: Why there is no result.
    """

    limits: PhaseLimits
    result: PhaseResult | None = None
    report: Mapping[str, Any] = field(default_factory=dict[str, Any])
    taken_bytes: int = 0
    seconds: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class Measurements:
    """Everything that the phases and the host saw.

    Attributes:
        profile: What containers of the sandbox should have.
        visits: The phases by mode; ``look`` and the modes of ``probe_limits.py``.
        namespaces: Those of the host.
        session: The host's process session.
        left_running: Processes of the check that still run.
    """

    profile: ContainerProfile
    visits: Mapping[str, Visit]
    namespaces: Mapping[str, str]
    session: int
    left_running: int

    def result(self, mode: str) -> PhaseResult:
        """What the sandbox measured of a phase.

        Raises:
            Unmeasured: Its machinery failed.
        """
        visit = self.visits[mode]
        if visit.result is None:
            raise Unmeasured(visit.error)
        return visit.result

    def reported(self, mode: str) -> Mapping[str, Any]:
        """What the probe of a phase wrote.

        Raises:
            Unmeasured: It wrote nothing; its last words are in the message.
        """
        result = self.result(mode)
        report = self.visits[mode].report
        if not report:
            words = result.log.strip().splitlines()[-1:] or ["without a word"]
            raise Unmeasured(f"the probe ended ({result.ending}, {result.exit_code}): {words[0]}")
        return report

    def found(self, name: str) -> Any:
        """One thing that the first probe looked at.

        Raises:
            Unmeasured: It could not look.
        """
        report = self.reported("look")
        if name not in report["found"]:
            raise Unmeasured(report["errors"].get(name, "the probe did not look"))
        return report["found"][name]


def limits_by_mode(core: int, gpus: tuple[str, ...]) -> dict[str, PhaseLimits]:
    """The limits of each phase of a check.

    Args:
        core: The one core that the first phase may use.
        gpus: The GPUs to ask for; without any there is no phase for them.
    """
    common = {**asdict(_LOOK), "cpu_set": None}
    modes = {
        "look": PhaseLimits(**{**common, "cpu_set": (core,)}),
        "memory": PhaseLimits(**common),
        "processes": PhaseLimits(**common),
        "storage": PhaseLimits(**common),
        "overflow": PhaseLimits(**common),
        "cores": PhaseLimits(**{**common, "cpus": 0.5}),
        "stay": PhaseLimits(**{**common, "seconds": _DEADLINE_SECONDS}),
    }
    if gpus:
        # PyTorch alone takes more than a GiB before it has found a GPU.
        modes["gpu"] = PhaseLimits(**{**common, "seconds": 120, "memory_mb": 4096, "gpus": gpus})
    return modes


async def measure(
    sandbox: Sandbox,
    profile: ContainerProfile,
    *,
    isolated: bool,
    core: int,
    gpus: tuple[str, ...],
) -> Measurements:
    """Runs all phases of a check, one after the other.

    Args:
        sandbox: A started sandbox.
        profile: What its containers should have.
        isolated: Whether the probes may try what would reach the user's own files and network if
            nothing kept them from it.
        core: A core that this process may use.
        gpus: Ids of the GPUs to ask for.
    """
    marker = f"recipelab-check-{secrets.token_hex(8)}"
    folder = new_folder(Path(tempfile.gettempdir()), what="check")
    try:
        with check_host.listening() as reachable, check_host.canary():
            visits = {}
            for mode, limits in limits_by_mode(core, gpus).items():
                told = {**asdict(limits), **asdict(reachable), "isolated": isolated}
                visits[mode] = await _visit(sandbox, folder / mode, mode, limits, told, marker)
    finally:
        remove_tree(folder)
    return Measurements(
        profile=profile,
        visits=visits,
        namespaces=check_host.namespaces(),
        session=check_host.session(),
        left_running=check_host.running_with(marker),
    )


async def _visit(
    sandbox: Sandbox,
    folder: Path,
    mode: str,
    limits: PhaseLimits,
    told: Mapping[str, Any],
    marker: str,
) -> Visit:
    inputs, output = folder / "check", folder / "output"
    inputs.mkdir(parents=True)
    output.mkdir()
    for name in _PROBES:
        shutil.copy(Path(__file__).with_name(name), inputs / name)
    (inputs / "config.json").write_text(json.dumps(told))
    program = _PROBES[0] if mode == "look" else _PROBES[1]
    request = PhaseRequest(
        phase=f"check-{mode}",
        command=("python", f"check/{program}", mode, marker),
        inputs=(Input(inputs, "check"),),
        output=output,
        limits=limits,
    )
    begun = time.monotonic()
    try:
        result = await sandbox.run(request)
    except SandboxError as error:
        return Visit(limits, error=str(error))
    return Visit(
        limits=limits,
        result=result,
        report=_report(output),
        taken_bytes=sum(path.lstat().st_size for path in output.rglob("*") if path.is_file()),
        seconds=time.monotonic() - begun,
    )


def _report(output: Path) -> dict[str, Any]:
    try:
        report = json.loads((output / "report.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return report if isinstance(report, dict) else {}
