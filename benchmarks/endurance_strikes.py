"""Ways to disturb a campaign at a moment of its life."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Protocol

from endurance_campaign import ROOT, Campaign, Tally, alive, below, children
from sqlalchemy import create_engine, make_url, text

from recipelab.core.errors import RecipelabError

sys.path.insert(0, str(ROOT))

from tests.evaluation.daemon_proxy import DaemonProxy
from tests.places.ray_cluster import Cluster, Node, ray_cluster

GONE_SECONDS = 5.0
"""How long after a kill a process of a phase may still be there."""
DISK_MB = 48
"""Size of the disk that is filled, in MiB."""


class Strike(Protocol):
    """A way to disturb a campaign."""

    def prepare(self, campaign: Campaign, stack: ExitStack) -> None:
        """Gets ready before the campaign begins."""

    def strike(self, campaign: Campaign, driver: subprocess.Popen[bytes], tally: Tally) -> None:
        """Disturbs it; what has to be mended is mended before this returns."""


class KillDriver:
    """Kills the driver, and looks for what outlives it."""

    def prepare(self, campaign: Campaign, stack: ExitStack) -> None:
        """Needs nothing."""

    def strike(self, campaign: Campaign, driver: subprocess.Popen[bytes], tally: Tally) -> None:
        """Kills it."""
        # Held still first, so that it begins nothing while its descendants are listed.
        driver.send_signal(signal.SIGSTOP)
        descendants = below(driver.pid)
        driver.kill()
        driver.wait()
        tally.phases += len(descendants)
        deadline = time.monotonic() + GONE_SECONDS
        while list(alive(descendants)) and time.monotonic() < deadline:
            time.sleep(0.02)
        tally.processes += len(list(alive(descendants)))


class KillLauncher:
    """Kills a process that the local sandbox has started, with the phase that it holds."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def prepare(self, campaign: Campaign, stack: ExitStack) -> None:
        """Needs nothing."""

    def strike(self, campaign: Campaign, driver: subprocess.Popen[bytes], tally: Tally) -> None:
        """Kills one, if there is one right now."""
        deadline = time.monotonic() + GONE_SECONDS
        while time.monotonic() < deadline and driver.poll() is None:
            if found := sorted(children(driver.pid)):
                with _gone_is_fine():
                    os.kill(self._chance.choice(found), signal.SIGKILL)
                return
            time.sleep(0.01)


class CutDaemon:
    """Cuts all connections to the Docker daemon for a moment, as when it is started anew."""

    def __init__(self) -> None:
        self._proxy: DaemonProxy | None = None

    def prepare(self, campaign: Campaign, stack: ExitStack) -> None:
        """Puts a way to the daemon between it and the campaign that can be cut."""
        self._proxy = stack.enter_context(DaemonProxy(campaign.folder / "docker.sock"))
        campaign.environment = {**campaign.environment, "DOCKER_HOST": self._proxy.address}

    def strike(self, campaign: Campaign, driver: subprocess.Popen[bytes], tally: Tally) -> None:
        """Cuts it."""
        assert self._proxy is not None
        self._proxy.cut()
        time.sleep(0.2)
        self._proxy.mend()


class EndConnections:
    """Has the database's server end every connection of the campaign's schema."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._name = ""

    def prepare(self, campaign: Campaign, stack: ExitStack) -> None:
        """Makes a schema of the campaign's own, which goes with it."""
        self._name = campaign.name.replace("-", "_")
        self._do(f"CREATE SCHEMA {self._name}")
        stack.callback(self._do, f"DROP SCHEMA {self._name} CASCADE")
        options = {"options": f"-csearch_path={self._name}", "application_name": self._name}
        url = make_url(self._server).update_query_dict(options)
        campaign.lineage = url.render_as_string(hide_password=False)

    def strike(self, campaign: Campaign, driver: subprocess.Popen[bytes], tally: Tally) -> None:
        """Ends them."""
        found = f"FROM pg_stat_activity WHERE application_name = '{self._name}'"
        self._do(f"SELECT count(pg_terminate_backend(pid)) {found}")

    def _do(self, statement: str) -> None:
        engine = create_engine(self._server)
        with engine.begin() as connection:
            connection.execute(text("SET client_min_messages = warning"))
            connection.execute(text(statement))
        engine.dispose()


class FillDisk:
    """Takes the last byte of the disk that the campaign's files lie on, for a moment."""

    def prepare(self, campaign: Campaign, stack: ExitStack) -> None:
        """Mounts a small disk for them, which takes a superuser."""
        home = campaign.folder / "project/home"
        home.mkdir()
        size = f"size={DISK_MB}m"
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "endurance", str(home)], check=True)
        stack.callback(subprocess.run, ["umount", "--lazy", str(home)], check=True)

    def strike(self, campaign: Campaign, driver: subprocess.Popen[bytes], tally: Tally) -> None:
        """Fills it, waits a moment, and frees it."""
        filler = campaign.folder / "project/home/filler"
        block = b"\0" * (1 << 20)
        with filler.open("wb", buffering=0) as file:
            while block:
                try:
                    file.write(block)
                except OSError:
                    block = block[: len(block) // 2]
        with _gone_is_fine():
            driver.wait(3.0)
        filler.unlink()


class KillNode:
    """Kills the raylet of a node, as a machine ends whose power fails, and adds a node for it."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._cluster: Cluster | None = None
        self._nodes: list[Node] = []

    def prepare(self, campaign: Campaign, stack: ExitStack) -> None:
        """Begins a cluster of a head that gives no slots, and two nodes, for the campaign."""
        self._cluster = stack.enter_context(ray_cluster())
        self._nodes = [self._cluster.add(num_cpus=1) for _ in range(2)]
        store = campaign.folder / "store"
        campaign.words += ["--place", "ray", f"--place-option=address={self._cluster.address}"]
        campaign.words += [f"--place-option=store={store}"]
        # What Ray itself keeps goes with the cluster, and not where campaigns are looked through.
        campaign.environment = {**campaign.environment, "RAY_TMPDIR": str(self._cluster.folder)}

    def strike(self, campaign: Campaign, driver: subprocess.Popen[bytes], tally: Tally) -> None:
        """Kills one."""
        assert self._cluster is not None
        dead = self._chance.randrange(len(self._nodes))
        self._nodes[dead].kill()
        self._nodes[dead] = self._cluster.add(num_cpus=1)


@contextmanager
def _gone_is_fine() -> Iterator[None]:
    """Lets a process be gone, or go on."""
    with suppress(ProcessLookupError, subprocess.TimeoutExpired):
        yield


def chosen(names: Sequence[str], chance: random.Random, server: str | None) -> dict[str, Strike]:
    """Returns the ways to disturb a campaign, by name.

    Raises:
        RecipelabError: One is unknown, or lacks what it needs.
    """
    found: dict[str, Strike] = {
        "driver": KillDriver(),
        "launcher": KillLauncher(chance),
        "daemon": CutDaemon(),
        "disk": FillDisk(),
        "node": KillNode(chance),
    }
    if server is not None:
        found["database"] = EndConnections(server)
    if unknown := [name for name in names if name not in found]:
        needs = "; database needs --lineage" if server is None else ""
        raise RecipelabError(f"unknown kind {unknown[0]!r}; valid: {', '.join(found)}{needs}")
    return {name: found[name] for name in names}
