"""A real Ray cluster on this machine, in a process of its own: a head without slots, and nodes.

As a program it is that process: it reads what to do, a line of JSON each, and ends with its input.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import recipelab

# So that a dead node is found out in seconds: by default that takes fifteen.
_QUICK = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 6,
    "health_check_timeout_ms": 1500,
}
_STORE_BYTES = 80 << 20

PLUGIN = Path(recipelab.__file__).parents[1]


@dataclass(frozen=True)
class Node:
    """A node of the cluster.

    Attributes:
        name: What the place calls it.
        raylet: Process id of its raylet.
    """

    name: str
    raylet: int

    def kill(self) -> None:
        """End its raylet as a machine ends whose power fails."""
        os.kill(self.raylet, signal.SIGKILL)


class Cluster:
    """A cluster, as tests have it.

    Attributes:
        address: What drivers connect to.
        folder: Temporary folder of its nodes.
    """

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process = process
        self.folder = folder
        self.address: str = self._answer()["address"]

    def add(self, variables: Mapping[str, str] | None = None, **resources: Any) -> Node:
        """Add a node.

        Args:
            variables: Environment variables of what runs there.
            resources: What it has, as ``num_cpus=2, resources={"label": 1}``.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({**resources, "env_vars": variables}) + "\n")
        self._process.stdin.flush()
        found = self._answer()
        return Node(f"{socket.gethostname()}-{found['id'][:6]}", found["raylet"])

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise AssertionError("the Ray cluster has ended")


@contextlib.contextmanager
def ray_cluster() -> Iterator[Cluster]:
    """Run a cluster that has a head alone, which gives no slots."""
    if find_spec("ray") is None:
        if os.environ.get("RECIPELAB_REQUIRE_RAY") == "1":
            pytest.fail("Ray is required, and not installed")
        pytest.skip("Ray is not installed")
    # Sockets below it have to have short paths.
    folder = Path(tempfile.mkdtemp(prefix="rl-", dir="/tmp"))
    variables = {
        **os.environ,
        "PYTHONPATH": os.fspath(PLUGIN),
        "RAY_TMPDIR": os.fspath(folder),
        # As a driver finds it that is told an address alone.
        "RAY_AUTH_MODE": "disabled",
        # Leases on cores, and what sandboxes need, apart from those of other tests.
        "TMPDIR": os.fspath(folder),
    }
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=variables,
            start_new_session=True,
        )
    try:
        yield Cluster(process, folder)
    finally:
        with process:
            assert process.stdin is not None
            process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def _say(**facts: Any) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def _main() -> None:
    from ray.cluster_utils import Cluster as RayCluster

    cluster = RayCluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "object_store_memory": _STORE_BYTES,
            "include_dashboard": False,
            "_system_config": _QUICK,
        },
    )
    _say(address=cluster.address)
    for line in sys.stdin:
        node = cluster.add_node(object_store_memory=_STORE_BYTES, **json.loads(line))
        (raylet,) = node.all_processes["raylet"]
        _say(id=node.node_id, raylet=raylet.process.pid)
    cluster.shutdown()


if __name__ == "__main__":
    _main()
