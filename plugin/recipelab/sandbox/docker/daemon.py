"""What a daemon and its runtime can do, found out before the first phase.

A runtime that gives up a promise does not say so: Docker without control groups of its own sets no
limit, gVisor has no control groups, a daemon on another machine mounts folders
that are not ours. So one container is started as phases are, and tells what it finds.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker import APIClient
from docker.errors import APIError

from recipelab.core.errors import SandboxUnavailable
from recipelab.sandbox.docker.containers import remove
from recipelab.sandbox.docker.inputs import bind, can_overlay, is_usable, overlay, pair_in
from recipelab.sandbox.docker.monitor import STANDARD_OUTPUT, ContainerStream
from recipelab.sandbox.docker.options import (
    NO_NVIDIA,
    OWN_PROCESSES,
    DaemonFacts,
    runtime_option,
    security,
    usual_ulimits,
)
from recipelab.sandbox.docker.remote import Sender
from recipelab.sandbox.files import new_folder, remove_tree
from recipelab.sandbox.gpus import is_amd, list_gpus
from recipelab.sandbox.processes import MIB
from recipelab.sandbox.spec import ContainerProfile

_SHIM = re.compile(r"io\.containerd\.[a-z0-9.-]+\.v[0-9]+")
"""A runtime that containerd finds by its name, so that no daemon lists it."""

_MEMORY_MB = 64
_PIDS = 61 + OWN_PROCESSES
_TREE = "/tree"
_SEEN = "seen"
_ANSWER_SECONDS = 30.0

_LOOK = f"""
[ -e {_TREE}/{_SEEN} ] && echo tree
[ -e /proc/sentry-meminfo ] && echo sentry
while read -r name word; do [ "$name" = Seccomp: ] && echo "seccomp $word"; done </proc/self/status
cd /sys/fs/cgroup || exit 0
for file in memory.max memory/memory.limit_in_bytes pids.max pids/pids.max \
  cpu.max cpu/cpu.cfs_quota_us
do [ -r $file ] && read -r word <$file && echo "${{file##*/}} $word"; done
"""
"""Says whether a tree is seen, the kernel is gVisor's, calls are filtered, and limits are set."""


def check_runtime(facts: Mapping[str, Any], runtime: str | None) -> None:
    """Check that the daemon knows a runtime.

    Args:
        facts: What the daemon says of itself.
        runtime: Name of the runtime; ``None`` for the daemon's own choice.

    Raises:
        SandboxUnavailable: It does not know it; the message lists those that it knows.
    """
    known = sorted(facts.get("Runtimes") or {})
    if runtime is None or runtime in known or _SHIM.fullmatch(runtime):
        return
    raise SandboxUnavailable(
        f"Docker has no runtime {runtime!r} ([container] runtime in sandbox.toml); valid: "
        f"{', '.join(known)}. Others are registered in the daemon's daemon.json, under runtimes"
    )


def find_out(
    api: APIClient,
    image: str,
    profile: ContainerProfile,
    places: Sequence[Path],
    labels: Mapping[str, str],
    sender: Sender,
) -> DaemonFacts:
    """Start a container as phases are started, and return what it says.

    Args:
        api: A connection to the daemon.
        image: An image with a shell.
        profile: What containers of the sandbox have.
        places: Where folders of inputs will be; each that can be written to is tried.
        labels: Labels of the containers that find out.
        sender: Sends folders to the daemon if it sees none of this machine.

    Raises:
        SandboxUnavailable: The runtime is unknown or starts nothing, or gives up a promise.
        docker.errors.DockerException: The daemon failed otherwise.
        SandboxError: The host cannot make a folder in the first of the places.
    """
    facts = api.info()
    check_runtime(facts, profile.runtime)
    _check_rootless(facts)
    podman = any("Podman" in str(part["Name"]) for part in api.version().get("Components") or ())
    if podman and profile.gpu and any(not is_amd([gpu.uuid]) for gpu in list_gpus()):
        raise SandboxUnavailable(NO_NVIDIA)
    probe = _Probe(api, image, profile, labels, podman)
    fault, said = _with_overlay(probe, places, None)
    remote = fault is not None and not _sees_folders(probe, places[0])
    if remote:
        fault, said = _with_overlay(probe, places, sender)
    if fault is not None:
        said = probe.looked([])
    _check_promises(said, profile)
    return DaemonFacts(int(facts["NCPU"]), fault, remote, "sentry" in said, podman)


def _check_rootless(facts: Mapping[str, Any]) -> None:
    """Refuse a daemon without root's rights where control groups are of version 1.

    Raises:
        SandboxUnavailable: Such a daemon can set no limit, whatever it says.
    """
    options = facts.get("SecurityOptions") or []
    rootless = facts.get("Rootless") or any("name=rootless" in str(one) for one in options)
    if rootless and str(facts.get("CgroupVersion", "1")) != "2":
        raise SandboxUnavailable(
            "the daemon runs without root's rights on a machine with control groups of version 1, "
            "where it can limit neither memory nor processes; boot with "
            "systemd.unified_cgroup_hierarchy=1, or use a daemon of root's"
        )


def _with_overlay(
    probe: _Probe, places: Sequence[Path], sender: Sender | None
) -> tuple[str | None, dict[str, str]]:
    """Return why the daemon mounts no overlay of folders of ours, or what was seen within one."""
    if sender is None and (odd := [str(place) for place in places if not can_overlay(place)]):
        return f"the path {odd[0]} has characters that options of mounts do not take", {}
    with contextlib.ExitStack() as stack:
        folders: list[Path] = []
        for place in [places[0], *(place for place in places[1:] if is_usable(place))]:
            top = new_folder(place)
            stack.callback(remove_tree, top)
            folders += pair_in(top)
        (folders[-1] / _SEEN).touch()
        if sender is not None:
            sent = stack.enter_context(sender.phase())
            folders = [sent.folder(folder) for folder in folders]
        try:
            said = probe.looked([overlay(_TREE, *folders)])
        except SandboxUnavailable as error:
            return str(error), {}
    if "tree" not in said:
        return "it mounts other folders than those of this machine", {}
    return None, said


def _sees_folders(probe: _Probe, place: Path) -> bool:
    """Return whether the daemon can mount a folder of this machine as it is."""
    top = new_folder(place)
    try:
        top.chmod(0o755)
        (top / _SEEN).touch()
        return "tree" in probe.looked([bind(top, _TREE)])
    except SandboxUnavailable:
        return False
    finally:
        remove_tree(top)


@dataclass(frozen=True)
class _Probe:
    """Starts containers that say what they find."""

    api: APIClient
    image: str
    profile: ContainerProfile
    labels: Mapping[str, str]
    podman: bool

    def looked(self, mounts: list[dict[str, Any]]) -> dict[str, str]:
        """Return what a container with these mounts says: words, some with a value.

        Raises:
            SandboxUnavailable: The container does not start, or says nothing in time.
        """
        container, pieces = "", []
        try:
            made = self.api.create_container(
                self.image,
                entrypoint=["sh", "-c", _LOOK],
                command=[],
                labels=dict(self.labels),
                host_config=self._host_config(mounts),
            )
            container = made["Id"]
            params = {"stdout": 1, "stderr": 1, "stream": 1}
            opened = self.api.attach_socket(container, params=params)
            with ContainerStream(opened, timeout=_ANSWER_SECONDS) as stream:
                self.api.start(container)
                pieces = [piece for number, piece in stream.pieces() if number == STANDARD_OUTPUT]
        except APIError as error:
            raise SandboxUnavailable(str(error.explanation or error)) from error
        except OSError as error:
            raise SandboxUnavailable(f"a container does not answer: {error}") from error
        finally:
            if container:
                remove(self.api, container)
        lines = b"".join(pieces).decode("utf-8", "replace").splitlines()
        return {name: word for name, _, word in (line.partition(" ") for line in lines)}

    def _host_config(self, mounts: list[dict[str, Any]]) -> dict[str, Any]:
        memory = _MEMORY_MB * MIB
        return {
            **runtime_option(self.profile),
            "NetworkMode": "none",
            "Mounts": mounts,
            "SecurityOpt": security(self.profile, podman=self.podman),
            "Memory": memory,
            "MemorySwap": memory,
            "NanoCpus": int(1e9),
            "PidsLimit": _PIDS,
            "Ulimits": usual_ulimits(DaemonFacts(cores=1, podman=self.podman)),
            "LogConfig": {"Type": "none"},
        }


def _check_promises(said: Mapping[str, str], profile: ContainerProfile) -> None:
    """Check what no phase may do without.

    Raises:
        SandboxUnavailable: Calls are not filtered, or a limit was not set.
    """
    runtime = f"the runtime {profile.runtime}" if profile.runtime else "the daemon"
    if "sentry" in said:
        # No call reaches the host's kernel, and the daemon reads the host's control groups.
        if profile.seccomp is None:
            return
        raise SandboxUnavailable(
            f"{runtime} is gVisor, which applies no seccomp profile to a command; leave out "
            "[container] seccomp in sandbox.toml, or take another runtime"
        )
    if said.get("seccomp") != "2":
        raise SandboxUnavailable(f"{runtime} does not filter system calls")
    missing = [what for what, holds in _limits(said) if not holds]
    if missing:
        raise SandboxUnavailable(
            f"{runtime} does not limit {' and '.join(missing)} of a container; without root's "
            "rights it needs these controllers of control groups delegated to its user "
            "(systemd: Delegate=cpu cpuset memory pids)"
        )


def _limits(said: Mapping[str, str]) -> Iterator[tuple[str, bool]]:
    memory = said.get("memory.max", said.get("memory.limit_in_bytes"))
    yield "memory", memory == str(_MEMORY_MB * MIB)
    quota = said.get("cpu.max", said.get("cpu.cfs_quota_us", "max"))
    yield "CPU time", quota.split()[0].isdigit()
    yield "processes", said.get("pids.max") == str(_PIDS)
