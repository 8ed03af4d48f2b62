"""Daemons of a test's own: with gVisor, with other folders than this machine's, and Podman's.

Each has data, sockets and a network of its own, so that the machine's daemon stays as it is.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

Environment = dict[str, str]
_START_SECONDS = 60

GVISOR_OPTIONS = ("--platform=ptrace", "--network=none")

HIDING = """
set -e
mount -t tmpfs none /mnt
mkdir /mnt/tls
mount --bind "$1/tls" /mnt/tls
mount -t tmpfs none /tmp
shift
exec "$@"
"""
"""Runs a program that keeps its data, and for which the folders of temporary files are others."""


_ALONE = ("unshare", "--mount", "--propagation", "private")
"""Runs a daemon whose mounts go with it, however it ends."""

IN_MEMORY = """
mkdir "$1/data" && mount -t tmpfs none "$1/data" && shift && exec "$@"
"""
"""Runs a program whose data are in memory: a disk takes long to forget an image."""


def _in_memory(folder: Path) -> tuple[str, ...]:
    return ("sh", "-c", IN_MEMORY, "sh", str(folder))


def _own_folder() -> Path:
    """A folder with a short path, as sockets want, that pytest does not try to tidy."""
    return Path(tempfile.mkdtemp(prefix="daemon-", dir="/tmp"))


def missing(*programs: str) -> str | None:
    """Why a daemon cannot be started here."""
    if os.geteuid():
        return "only root starts daemons"
    lacking = [name for name in programs if shutil.which(name) is None]
    return f"there is no {', '.join(lacking)}" if lacking else None


def skip_or_fail(fault: str | None, variable: str) -> None:
    """Skips with the reason, or fails where a variable of the environment requires the tests."""
    if fault is None:
        return
    if os.environ.get(variable) == "1":
        pytest.fail(f"{variable}: {fault}")
    pytest.skip(fault)


@contextlib.contextmanager
def gvisor() -> Iterator[Environment]:
    """A daemon whose default runtime is gVisor; gives the variables that lead to it."""
    folder = _own_folder()
    runsc = {"path": shutil.which("runsc"), "runtimeArgs": list(GVISOR_OPTIONS)}
    runtimes = {"runsc": runsc, "broken": {"path": "/nonexistent/runtime"}}
    settings = folder / "daemon.json"
    settings.write_text(json.dumps({"default-runtime": "runsc", "runtimes": runtimes}))
    environment = {"DOCKER_HOST": f"unix://{folder}/docker.sock"}
    command = [
        *_ALONE,
        *("--net", *_in_memory(folder), "dockerd", "--config-file", str(settings)),
        *("--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"),
        *("--pidfile", f"{folder}/pid", "--host", environment["DOCKER_HOST"]),
        *("--bridge", "none", "--iptables=false"),  # In a network of its own.
    ]
    with _started(command, folder, environment):
        yield environment


@contextlib.contextmanager
def remote() -> Iterator[Environment]:
    """A daemon behind TLS that sees other temporary files; gives the variables that lead to it."""
    folder = _own_folder()
    certificates(folder / "tls")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = {
        "DOCKER_HOST": f"tcp://127.0.0.1:{port}",
        "DOCKER_TLS_VERIFY": "1",
        "DOCKER_CERT_PATH": str(folder / "tls"),
    }
    command = [
        *_ALONE,
        *("sh", "-c", HIDING, "sh", str(folder)),
        *("dockerd", "--data-root", "/mnt/data", "--exec-root", "/mnt/exec"),
        *("--pidfile", "/mnt/pid", "--host", environment["DOCKER_HOST"], "--tlsverify"),
        *("--tlscacert", "/mnt/tls/ca.pem", "--tlscert", "/mnt/tls/server-cert.pem"),
        *("--tlskey", "/mnt/tls/server-key.pem"),
        *("--iptables=false", "--ip-masq=false"),
    ]
    with _started(command, folder, environment):
        yield environment


@contextlib.contextmanager
def podman() -> Iterator[Environment]:
    """Podman's service, with images of its own; gives the variables that lead to it."""
    folder = _own_folder()
    environment = {"DOCKER_HOST": f"unix://{folder}/podman.sock"}
    # Its own crun knows machines with groups of version 1 and of version 2, but not with both.
    runtime = ("--runtime", "runc") if Path("/sys/fs/cgroup/unified").exists() else ()
    # Locks of its own: others of this machine would share those in memory with it.
    settings = folder / "containers.conf"
    settings.write_text(f'[engine]\nlock_type = "file"\ntmp_dir = "{folder}/tmp"\n')
    command = [
        *_ALONE,
        *_in_memory(folder),
        *(
            "env",
            f"CONTAINERS_CONF={settings}",
            "podman",
            *runtime,
            "--root",
            f"{folder}/data",
            "--runroot",
            f"{folder}/run",
        ),
        *("system", "service", "--time", "0", environment["DOCKER_HOST"]),
    ]
    with _started(command, folder, environment):
        yield environment


def certificates(folder: Path) -> None:
    """Makes an authority, and certificates of a server and of its client."""
    folder.mkdir()

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    new = ("-newkey", "rsa:2048", "-nodes")
    authority = ("-keyout", "ca-key.pem", "-out", "ca.pem")
    openssl("req", "-x509", *new, "-days", "2", "-subj", "/CN=authority", *authority)
    for name, key in (("server", "server-"), ("client", "")):
        (folder / "extensions").write_text(
            f"subjectAltName=IP:127.0.0.1\nextendedKeyUsage={name}Auth\n"
        )
        openssl("req", *new, "-subj", f"/CN={name}", "-keyout", f"{key}key.pem", "-out", "request")
        by = ("-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial")
        made = ("-extfile", "extensions", "-days", "2", "-out", f"{key}cert.pem")
        openssl("x509", "-req", "-in", "request", *by, *made)


@contextlib.contextmanager
def _started(command: list[str], folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    with (folder / "daemon.log").open("wb") as log:
        # In a session of its own, so that an interrupted test still ends it in order.
        daemon = subprocess.Popen(
            command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
        )
    try:
        _wait(daemon, folder, environment)
        yield
    finally:
        daemon.terminate()
        daemon.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(daemon: subprocess.Popen[bytes], folder: Path, environment: Mapping[str, str]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not answers(environment):
        late = daemon.poll() is not None or time.monotonic() > deadline
        assert not late, (folder / "daemon.log").read_text("utf-8", "replace")[-2000:]
        time.sleep(0.1)


def answers(environment: Mapping[str, str]) -> bool:
    """Whether a daemon answers."""
    return asked(environment, lambda: None) is None


def asked(environment: Mapping[str, str], ask: Callable[[], object]) -> object:
    """What comes of something in an environment, or the error that no daemon answers."""
    from recipelab.core.errors import SandboxUnavailable
    from recipelab.sandbox.docker.containers import connect

    with pytest.MonkeyPatch.context() as patch:
        lead_to(patch, environment)
        try:
            connect(timeout=5).close()
        except SandboxUnavailable as error:
            return error
        return ask()


def lead_to(patch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> None:
    """Sets the variables that lead to a daemon."""
    for name in ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        patch.delenv(name, raising=False)
    for name, value in environment.items():
        patch.setenv(name, value)


def hand_over(image: str, environment: Mapping[str, str]) -> None:
    """Copies an image from the machine's daemon to another one."""
    from recipelab.sandbox.docker.containers import connect

    here = connect(timeout=120)
    with pytest.MonkeyPatch.context() as patch:
        lead_to(patch, environment)
        there = connect(timeout=120)
    try:
        for _ in there.load_image(here.get_image(image)):
            pass
    finally:
        here.close()
        there.close()


DAEMONS = {"gvisor": gvisor, "podman": podman, "remote": remote}
"""By the names that ``RECIPELAB_TEST_DAEMON`` takes."""
