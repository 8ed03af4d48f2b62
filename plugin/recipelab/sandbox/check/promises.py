"""What sandboxes promise: one line each, and who promises it."""

from __future__ import annotations

from dataclasses import dataclass

from recipelab.sandbox.check import judges
from recipelab.sandbox.check.judges import Judge

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
