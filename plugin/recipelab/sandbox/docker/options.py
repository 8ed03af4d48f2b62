"""The options of the container of one phase: its rights, its limits, and what it sees.

:mod:`recipelab.sandbox.docker.monitor` says which processes run in it, and why.
"""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from typing import Any

from recipelab.core.errors import SandboxError
from recipelab.sandbox.base import HOST_NAME, OUTPUT_DIRECTORY, PhaseLimits, PhaseRequest
from recipelab.sandbox.docker.inputs import InputTree
from recipelab.sandbox.docker.monitor import MONITOR_COMMAND
from recipelab.sandbox.docker.seccomp import default_profile, profile_file
from recipelab.sandbox.gpus import amd_devices, amd_groups, is_amd, visible_amd
from recipelab.sandbox.processes import MIB, clean_environment
from recipelab.sandbox.spec import RESERVED_USER, ContainerProfile

PHASE_ROOT = "/trial"
OUTPUT_FOLDER = f"{PHASE_ROOT}/{OUTPUT_DIRECTORY}"
MONITOR_USER = f"{RESERVED_USER}:{RESERVED_USER}"
LABEL_PREFIX = "recipelab."
OWNER_LABEL = f"{LABEL_PREFIX}owner"
PHASE_LABEL = f"{LABEL_PREFIX}phase"
SANDBOX_LABEL = f"{LABEL_PREFIX}sandbox"

OWN_PROCESSES = 3
"""Processes beside the command: Docker's init, the monitor, and the shell above the command."""

_OTHER_USERS = 2
"""Those of them that run under another user than the command's: init and the monitor."""

_SENTRY_THREADS = 256
_SENTRY_THREADS_EACH = 4
"""Threads of the host that gVisor's kernel may have for itself, and for each of the command's."""

RUN_COMMAND = ("sh", "-c", '"$@"; code=$?; kill -9 -1 2>/dev/null; exit $code', "sh")
"""Runs the command line that is appended to it.

The shell holds the output open until the command ends, even if that closes its own, and kills what
it left, which would hold the output open for longer. (``kill -1`` spares the shell itself and
whatever runs under another user id.)
"""

WATCH_COMMAND = ("tail", "-n", "+1", "-s", "0.25", "-F")
"""Prints what is appended to the file whose path is added to it, of whatever file has the name.

It looks every so many seconds: containers may not watch files.

It runs as the command's user, so that it can read nothing which the command could not print
itself, and it is killed with the command.
"""

KILL_COMMAND = ("sh", "-c", "kill -9 -1")
"""Kills every process of the command; it runs under the user id of the command."""

NO_NVIDIA = (
    "Podman has no device driver for GPUs of NVIDIA that Docker's language reaches; use Docker"
)
_PODMAN_PLACES = ("/run", "/var/tmp")
_MOST_ULIMIT = {"nofile": 1 << 20, "nproc": 1 << 14}
_TRIPWIRE_BYTES = 64 * 1024
_NO_CORE = {"Name": "core", "Soft": 1, "Hard": 1}
"""No memory dumps of crashed commands: a host may pipe them to a program of its own, as root.

The limit is one byte, because a limit of zero is ignored where dumps are piped (see core(5)).
"""


@dataclass(frozen=True)
class DaemonFacts:
    """What a daemon and its runtime can do.

    Attributes:
        cores: Number of cores of its machine.
        overlay_fault: Why inputs cannot be mounted as overlays; ``None`` if they can.
        remote: Whether it sees no folder of this machine, so that inputs are sent to it.
        sentry: Whether commands run on gVisor, whose kernel has no control groups: the daemon
            knows what a container uses, and limits of its threads are not those of the command.
        podman: Whether it is Podman, which speaks Docker's language with an accent.
    """

    cores: int
    overlay_fault: str | None = None
    remote: bool = False
    sentry: bool = False
    podman: bool = False


def user_of(profile: ContainerProfile) -> str:
    """Return user and group of the command in a container, as Docker takes them."""
    return f"{profile.user}:{profile.user}"


def fetch_command(request: PhaseRequest) -> list[str]:
    """Return the command that archives tripwires and outputs, with paths below the phase root."""
    # Tripwires come first, so that no flood of outputs ends the reading before them.
    return ["tar", "-C", PHASE_ROOT, "-cf", "-", *request.tripwires, OUTPUT_DIRECTORY]


def container_options(
    request: PhaseRequest,
    *,
    image: str,
    profile: ContainerProfile,
    inputs: InputTree,
    owner: str,
    sandbox: str,
    facts: DaemonFacts,
) -> dict[str, Any]:
    """Return the arguments of ``APIClient.create_container``.

    Args:
        request: The phase.
        image: Name or id of the image.
        profile: Properties of the container beyond the limits.
        inputs: The inputs.
        owner: Identity of the process that owns the container.
        sandbox: Identity of the sandbox in that process.
        facts: What the daemon can do.
    """
    labels = {f"{LABEL_PREFIX}{key}": value for key, value in request.labels.items()}
    return {
        "image": image,
        "entrypoint": list(MONITOR_COMMAND),
        "command": [],
        "hostname": HOST_NAME,
        "stdin_open": True,
        "user": MONITOR_USER,
        "working_dir": PHASE_ROOT,
        "environment": _environment(request, profile),
        "labels": {
            **labels,
            OWNER_LABEL: owner,
            SANDBOX_LABEL: sandbox,
            PHASE_LABEL: request.phase,
        },
        "host_config": _host_config(request, profile, inputs, facts),
    }


def _environment(request: PhaseRequest, profile: ContainerProfile) -> dict[str, str]:
    passed = {name: os.environ[name] for name in profile.environment if name in os.environ}
    gpus = request.limits.gpus
    amd = visible_amd(gpus, alone=True) if is_amd(gpus) else {}
    # NVIDIA's runtime, where it is Docker's default, goes by a variable that images often set.
    hidden = {} if gpus and not amd else {"NVIDIA_VISIBLE_DEVICES": "void"}
    places = {"HOME": "/tmp", "TMPDIR": "/tmp"}
    return clean_environment(request, {**places, **passed, **hidden, **amd})


def _host_config(
    request: PhaseRequest,
    profile: ContainerProfile,
    inputs: InputTree,
    facts: DaemonFacts,
) -> dict[str, Any]:
    """Return rights, limits and mounts under the names of Docker's API."""
    limits = request.limits
    memory = limits.memory_mb * MIB
    return {
        **runtime_option(profile),
        **_devices(limits, facts),
        "Init": True,
        "NetworkMode": "none",
        # Without a network Docker leaves the container's own name out of its /etc/hosts.
        "ExtraHosts": [f"{HOST_NAME}:127.0.0.1"],
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": security(profile, podman=facts.podman),
        "IpcMode": "private",
        "ShmSize": memory if profile.shm_mb is None else profile.shm_mb * MIB,
        "Memory": memory,
        "MemorySwap": memory,
        "NanoCpus": int(min(limits.cpus, facts.cores) * 1e9),
        **_process_limits(request, facts),
        "LogConfig": {"Type": "none"},
        "Tmpfs": _writable(request, profile, inputs, facts),
        "Mounts": inputs.mounts(PHASE_ROOT),
    }


def _process_limits(request: PhaseRequest, facts: DaemonFacts) -> dict[str, Any]:
    """Return the limits of processes and threads, and of their memory dumps.

    The group that the daemon limits holds the threads of gVisor's own kernel: that needs some for
    each of the command's, and dies with the container where it gets none. So the command's are
    limited by the kernel inside, which counts those of each user of one container.
    """
    own = OWN_PROCESSES + (request.watch is not None)
    common = [_NO_CORE, *usual_ulimits(facts)]
    if not facts.sentry:
        return {"PidsLimit": request.limits.pids + own, "Ulimits": common}
    # The shell above the command, and who reads its file, run under the command's user.
    number = request.limits.pids + own - _OTHER_USERS
    most = {"Name": "nproc", "Soft": number, "Hard": number}
    host = _SENTRY_THREADS + _SENTRY_THREADS_EACH * (request.limits.pids + own)
    return {"PidsLimit": host, "Ulimits": [*common, most]}


def _writable(
    request: PhaseRequest, profile: ContainerProfile, inputs: InputTree, facts: DaemonFacts
) -> dict[str, str]:
    """Return the only writable folders. Files in them count as memory of the container."""
    limits = request.limits
    owner = f"uid={profile.user},gid={profile.user}"
    public, private = f"mode=0755,{owner}", f"mode=0700,{owner}"
    others: dict[str, str] = {}
    if facts.podman:
        # It knows no owners, but nobody but the monitor is there beside the command. Of its own
        # accord it would make the others writable, without a limit.
        public = private = "mode=0777,notmpcopyup"
        others = dict.fromkeys(_PODMAN_PLACES, "ro,noexec,nosuid,size=4k")
    copy = f"rw,exec,nosuid,nodev,size={limits.scratch_mb}m,{public}"
    tripwire = f"rw,noexec,nosuid,nodev,size={_TRIPWIRE_BYTES},{private}"
    return {
        # Compilers of kernels load what they build from here, so it may hold code.
        "/tmp": f"rw,exec,nosuid,nodev,size={limits.scratch_mb}m,mode=1777",
        OUTPUT_FOLDER: f"rw,noexec,nosuid,nodev,size={limits.output_mb}m,{private}",
        **{f"{PHASE_ROOT}/{name}": tripwire for name in request.tripwires},
        **{place: copy for _, place in inputs.copies(PHASE_ROOT)},
        **others,
    }


def usual_ulimits(facts: DaemonFacts) -> list[dict[str, Any]]:
    """Return the limits that Podman raises to a million unless told, which not every root may."""
    if not facts.podman:
        return []
    numbers = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
    limits = []
    for name, number in numbers.items():
        hard = resource.getrlimit(number)[1]
        most = _MOST_ULIMIT[name] if hard < 0 else min(hard, _MOST_ULIMIT[name])
        limits.append({"Name": name, "Soft": most, "Hard": most})
    return limits


def runtime_option(profile: ContainerProfile) -> dict[str, str]:
    """Return the runtime to ask for, if the profile names one."""
    return {"Runtime": profile.runtime} if profile.runtime else {}


def _devices(limits: PhaseLimits, facts: DaemonFacts) -> dict[str, Any]:
    """Return the cores and GPUs that are named. A GPU that is not named cannot be seen."""
    options: dict[str, Any] = {}
    if limits.cpu_set:
        options["CpusetCpus"] = ",".join(map(str, limits.cpu_set))
    if is_amd(limits.gpus):
        devices = amd_devices(limits.gpus)
        options["Devices"] = [
            {"PathOnHost": str(path), "PathInContainer": str(path), "CgroupPermissions": "rw"}
            for path in devices
        ]
        # Nobody else may open them; the groups have other numbers in an image.
        options["GroupAdd"] = amd_groups(devices)
    elif limits.gpus and facts.podman:
        # It would take the request, and give nothing.
        raise SandboxError(NO_NVIDIA)
    elif limits.gpus:
        options["DeviceRequests"] = [
            {"Driver": "nvidia", "DeviceIDs": list(limits.gpus), "Capabilities": [["gpu"]]}
        ]
    return options


def security(profile: ContainerProfile, *, podman: bool) -> list[str]:
    """Return the options that keep privileges and system calls from a command."""
    own = profile.seccomp
    if podman:
        return ["no-new-privileges", f"seccomp={own if own is not None else profile_file()}"]
    # The daemon wants the profile itself; only Docker's command line reads files.
    calls = own.read_text("utf-8") if own is not None else default_profile()
    return ["no-new-privileges", f"seccomp={calls}"]
