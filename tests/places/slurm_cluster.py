"""A cluster of Slurm on this machine: a controller, several nodes, and munge, all of its own.

Everything lies in a temporary folder and listens on free ports of the loopback address, so that it
meets no other cluster; it is gone with the context that it was begun in.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.sandbox.helpers import wait_until

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scancel", "scontrol")

_CONF = """
ClusterName=recipelab
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={top}/munge/socket
CredType=cred/munge
SlurmctldPort={port}
StateSaveLocation={top}/state
SlurmdSpoolDir={top}/%n
SlurmctldPidFile={top}/slurmctld.pid
SlurmdPidFile={top}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
PlugStackConfig=/dev/null
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=slot
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=5
ReturnToService=2
SlurmdParameters=config_overrides
SlurmdTimeout=60
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1
PartitionName=first Nodes=ALL MaxTime=INFINITE PriorityTier=9
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two nodes with two slots each; skips where there is no Slurm, or fails if it is required."""
    lacking = missing()
    try:
        import submitit  # noqa: F401
    except ImportError:
        lacking.append("submitit")
    if lacking:
        if os.environ.get("RECIPELAB_REQUIRE_SLURM") == "1":
            pytest.fail(f"RECIPELAB_REQUIRE_SLURM=1, and there is no {', '.join(lacking)}")
        pytest.skip(f"no {', '.join(lacking)}")
    with slurm_cluster() as made, pytest.MonkeyPatch.context() as patch:
        for name, value in made.environment.items():
            patch.setenv(name, value)
        yield made
        # Every test of this module has left nothing.
        wait_until(lambda: not made.workers(), seconds=30)


def missing() -> list[str]:
    """Return the programs that a cluster needs and this machine lacks."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return [program for program in PROGRAMS if shutil.which(program, path=path) is None]


class Cluster:
    """A running cluster.

    Attributes:
        top: Its folder.
        environment: What a process needs to be its user.
    """

    def __init__(self, top: Path) -> None:
        self.top = top
        path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
        self.environment: Mapping[str, str] = {"SLURM_CONF": str(top / "slurm.conf"), "PATH": path}

    def call(self, *command: str) -> str:
        """Run a program of Slurm, and return what it prints."""
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=60, env=os.environ | self.environment
        )
        assert ended.returncode == 0, f"{command}: {ended.stderr}"
        return ended.stdout.strip()

    def jobs(self, *options: str) -> list[tuple[str, str]]:
        """Return number and state of the jobs that have not ended, oldest first."""
        lines = self.call("squeue", "--noheader", "--format=%i %T", "--sort=i", *options)
        return [(number, state) for number, _, state in map(_halves, lines.splitlines())]

    def stepd(self, job: str) -> int:
        """Return the process of Slurm that looks after a job on its node."""
        for number, command in _processes():
            if command.startswith(f"slurmstepd: [{job}.batch]") and self._mine(number):
                return number
        raise LookupError(f"job {job} has no slurmstepd")

    def worker(self, job: str) -> int:
        """Return the process of a job that is a worker."""
        for number, command in _processes():
            found = "submitit.core._submit" in command and "/bin/sh" not in command
            if found and f"SLURM_JOB_ID={job}" in _environment(number) and self._mine(number):
                return number
        raise LookupError(f"job {job} has no worker")

    def workers(self) -> list[str]:
        """Return the command lines of the workers of all jobs."""
        return [command for _, command in self.processes() if "submitit" in command]

    def processes(self) -> list[tuple[int, str]]:
        """Return all processes that jobs and daemons of this cluster have begun."""
        return [(number, command) for number, command in _processes() if self._mine(number)]

    def _mine(self, number: int) -> bool:
        return f"SLURM_CONF={self.environment['SLURM_CONF']}" in _environment(number)


@contextmanager
def slurm_cluster(nodes: int = 2, slots: int = 2) -> Iterator[Cluster]:
    """Run a cluster.

    Args:
        nodes: How many nodes it has.
        slots: How many of the devices that jobs ask for by ``gres=slot:1`` each has.
    """
    # Not pytest's folder: the path of a socket may have 107 characters.
    top = Path(tempfile.mkdtemp(prefix="rl-slurm-"))
    cluster = Cluster(top)
    _write(top, nodes, slots)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, top, ignore_errors=True)
        stack.callback(_end, cluster)
        log = stack.enter_context((top / "log").open("wb"))

        def begin(*command: str) -> None:
            # They die with this process, even if that is killed.
            process = subprocess.Popen(
                ("setpriv", "--pdeathsig=KILL", *command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | cluster.environment,
                start_new_session=True,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)

        begin(
            "munged", "--foreground", "--force",
            f"--socket={top}/munge/socket", f"--key-file={top}/munge/key",
            f"--pid-file={top}/munge/pid", f"--seed-file={top}/munge/seed",
            f"--log-file={top}/munge/log",
        )  # fmt: skip
        wait_until((top / "munge/socket").exists, seconds=60)
        begin("slurmctld", "-D", "-f", f"{top}/slurm.conf")
        for number in range(1, nodes + 1):
            begin("slurmd", "-D", "-N", f"n{number}", "-f", f"{top}/slurm.conf")
        wait_until(lambda: _idle(cluster) == nodes, seconds=60)
        stack.callback(_cancel_all, cluster)
        yield cluster


def _write(top: Path, nodes: int, slots: int) -> None:
    for name in ("munge", "state"):
        (top / name).mkdir(mode=0o700)
    (top / "munge/key").write_bytes(os.urandom(128))
    (top / "munge/key").chmod(0o600)
    host = socket.gethostname()
    ports = _free_ports(nodes + 1)
    lines = [
        f"NodeName=n{number} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=8 "
        f"Gres=slot:{slots} State=UNKNOWN"
        for number, port in enumerate(ports[1:], 1)
    ]
    conf = _CONF.format(
        host=host,
        user=pwd.getpwuid(os.getuid()).pw_name,
        top=top,
        port=ports[0],
        nodes="\n".join(lines),
    )
    (top / "slurm.conf").write_text(conf)
    gres = [f"NodeName=n{number} Name=slot Count={slots}\n" for number in range(1, nodes + 1)]
    (top / "gres.conf").write_text("".join(gres))


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _idle(cluster: Cluster) -> int:
    with suppress(AssertionError):
        return cluster.call("sinfo", "--noheader", "-p", "main", "-N", "--format=%t").count("idle")
    return 0


def _cancel_all(cluster: Cluster) -> None:
    with suppress(AssertionError):
        cluster.call("scancel", f"--user={os.getuid()}")
        wait_until(lambda: not cluster.jobs())


def _end(cluster: Cluster) -> None:
    """Kill what is left, once the daemons are dead: what ran in a job whose keeper was killed."""
    for number, _ in cluster.processes():
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)


def _processes() -> Iterator[tuple[int, str]]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with suppress(OSError):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                yield int(folder.name), command


def _environment(number: int) -> list[str]:
    with suppress(OSError):
        return Path(f"/proc/{number}/environ").read_text(errors="replace").split("\0")
    return []


def _halves(line: str) -> tuple[str, str, str]:
    return line.partition(" ")
