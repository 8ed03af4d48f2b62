"""What sandboxes promise: one line each, and who promises it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum

from recipelab.sandbox.base import Sandbox
from recipelab.sandbox.check import judges
from recipelab.sandbox.check.judges import Judge, Judged
from recipelab.sandbox.check.phases import Measurements, Unmeasured, measure
from recipelab.sandbox.local.sandbox import IN_NAMESPACES, LocalSandbox
from recipelab.sandbox.processes import owner_identity
from recipelab.sandbox.spec import ContainerProfile

DOCKER, NAMESPACES, LOCAL = "docker", "namespaces", "local"
"""Kinds of sandboxes; the local one promises more where it has namespaces."""

_ISOLATED = (DOCKER, NAMESPACES)
_ALL = (DOCKER, NAMESPACES, LOCAL)


@dataclass(frozen=True)
class Promise:
    """One line of a check.

    Attributes:
        what: What is looked at.
        promised: What it should be.
        judge: Compares that with the measurements.
        by: Kinds of sandboxes that promise it.
    """

    what: str
    promised: str
    judge: Judge
    by: tuple[str, ...] = (DOCKER,)


PROMISES = (
    Promise("network interfaces", "only lo", judges.interfaces, _ISOLATED),
    Promise("this host over the network", "not reached", judges.none_of("host"), _ISOLATED),
    Promise("abstract sockets of this host", "not reached", judges.abstract_socket, _ISOLATED),
    Promise("metadata address of clouds", "not reached", judges.metadata, _ISOLATED),
    Promise("names looked up", "none", judges.none_of("resolved"), _ISOLATED),
    Promise("sockets of container daemons", "none", judges.none_of("daemons"), _ISOLATED),
    Promise("capabilities", "none", judges.capabilities, _ISOLATED),
    Promise("new privileges", "ruled out", judges.status("NoNewPrivs", "1"), _ISOLATED),
    Promise("system calls", "filtered", judges.status("Seccomp", "2")),
    Promise("user and groups", "the profile's alone", judges.user),
    Promise("namespaces", "its own", judges.namespaces, _ISOLATED),
    Promise("process session", "its own", judges.session, _ALL),
    Promise("other processes", "only its own container's", judges.processes, _ISOLATED),
    Promise("memory setting", "the limit, without swap", judges.memory_setting),
    Promise("memory, when met", "killed", judges.memory_met),
    Promise("CPU setting", "the limit", judges.cpu_setting),
    Promise("CPU, when met", "the limit", judges.cpus),
    Promise("cores", "those given", judges.core_set),
    Promise("processes, when met", "refused at the limit", judges.process_limit, _ISOLATED),
    Promise("out/, when full", "refused at the limit", judges.storage("output"), _ISOLATED),
    Promise(
        "temporary folder, when full", "refused at the limit", judges.storage("scratch"), _ISOLATED
    ),
    Promise("/dev/shm", "no larger than the profile says", judges.shared_memory),
    Promise("outputs taken", "no more than the limit", judges.overflow, _ALL),
    Promise("root file system", "read-only", judges.root, _ISOLATED),
    Promise("writable places", ", ".join(judges.WRITABLE), judges.writable, _ISOLATED),
    Promise("inputs that can be changed", "none", judges.none_of("inputs"), _ISOLATED),
    Promise("kernel files that can be read", "none", judges.none_of("masked"), _ISOLATED),
    Promise("kernel controls that can be written", "none", judges.none_of("controls"), _ISOLATED),
    Promise("environment of the host", "not seen", judges.environment, _ALL),
    Promise("devices", "harmless ones", judges.devices, _ISOLATED),
    Promise("deadline", "everything killed in time", judges.deadline, _ALL),
    Promise("left running", "none", judges.left_running, _ALL),
)

NO_GPU = Promise("GPUs, none asked for", "none", judges.none_of("gpu_nodes"), _ISOLATED)
GPUS = Promise("GPUs, asked for", "those and no others", judges.gpus)


_API_SECONDS = 60


class SandboxVerdict(StrEnum):
    """What came of one promise."""

    OK = "ok"
    FAILED = "FAILED"
    NOT_PROMISED = "not promised"


@dataclass(frozen=True)
class SandboxFinding:
    """One thing that was measured.

    Attributes:
        what: What was looked at.
        promised: What it should be where it is promised.
        verdict: Whether the promise holds, if it is one.
        measured: What it is.
    """

    what: str
    promised: str
    verdict: SandboxVerdict
    measured: str


async def check_sandbox(
    sandbox: Sandbox, profile: ContainerProfile, *, core: int = 0, gpus: tuple[str, ...] = ()
) -> tuple[SandboxFinding, ...]:
    """Runs probes in a sandbox, as a recipe's phases run, and judges what they saw.

    It takes some ten seconds.

    Args:
        sandbox: A started sandbox.
        profile: What its containers should have.
        core: A core that this process may use; one probe is pinned to it.
        gpus: Ids of the GPUs to ask for.
    """
    kind = await asyncio.to_thread(kind_of, sandbox)
    seen = await measure(sandbox, profile, isolated=kind != LOCAL, core=core, gpus=gpus)
    promises = (*PROMISES, NO_GPU, *((GPUS,) if gpus else ()))
    findings = [_finding(promise, seen, kind) for promise in promises]
    if kind == DOCKER:
        findings.append(_finding(_NO_CONTAINER, seen, kind))
    return tuple(findings)


def kind_of(sandbox: Sandbox) -> str:
    """Which promises a sandbox gives: ``docker``, ``namespaces`` or ``local``."""
    if isinstance(sandbox, LocalSandbox):
        return NAMESPACES if sandbox.notice() == IN_NAMESPACES else LOCAL
    return sandbox.name


def _finding(promise: Promise, seen: Measurements, kind: str) -> SandboxFinding:
    try:
        holds, words = promise.judge(seen)
    except Unmeasured as error:
        holds, words = False, f"could not be measured: {error}"
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        # The report comes from inside an image, and so can be anything.
        holds, words = False, f"the probe's report makes no sense: {error!r}"
    verdict = SandboxVerdict.OK if holds else SandboxVerdict.FAILED
    if kind not in promise.by:
        verdict = SandboxVerdict.NOT_PROMISED
    return SandboxFinding(promise.what, promise.promised, verdict, words)


def _no_container(seen: Measurements) -> Judged:
    from recipelab.sandbox.docker.containers import daemon, list_containers

    with daemon(timeout=_API_SECONDS) as api:
        left = [found for found in list_containers(api) if found.owner == owner_identity()]
    return not left, ", ".join(container.short_id for container in left) or "none"


_NO_CONTAINER = Promise("containers left", "none", _no_container)
