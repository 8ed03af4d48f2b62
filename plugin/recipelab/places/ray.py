"""Phases on the nodes of a Ray cluster that exists already.

A slot is an actor that reserves its CPUs, GPUs and custom resources for as long as the campaign
goes on, and whose worker runs the phases in the node's own sandbox. More slots come when a node
joins, they go when a node dies, and come back when the cluster has room for them again. What speaks
to Ray is a process of its own, :mod:`recipelab.places.ray_bridge`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Self

from recipelab.core.errors import RecipelabError, SandboxError, SandboxUnavailable
from recipelab.core.logs import logger
from recipelab.places.base import Place, PlaceRequest
from recipelab.places.parcel import PIECE_BYTES, NodeSetup
from recipelab.places.placed import NodeLink, NodeLost, PlacedSandbox
from recipelab.places.setup import STORE_OPTIONS, node_setup
from recipelab.places.stream import Frames, StreamLink
from recipelab.sandbox.files import new_folder, remove_tree
from recipelab.sandbox.slots import Slot

_log = logger(__name__)

_WAIT_SECONDS = 60.0
"""How long to wait for a first slot, if nothing else is asked for."""

_CONNECT_SECONDS = 120.0
"""How long it may take to connect to the cluster."""

_SETTLE_SECONDS = 5.0
"""How long no further slot may come until a campaign begins with those that are there."""

_GONE_SECONDS = 300.0
"""How long the cluster may be away until phases that wait for a slot fail."""

_RETRY_SECONDS = 3.0
_END_SECONDS = 10.0
_TAIL_BYTES = 2000


@dataclass(frozen=True)
class Reserve:
    """What a slot reserves with Ray.

    Attributes:
        cpus: CPUs.
        gpus: GPUs.
        resources: Custom resources.
    """

    cpus: float
    gpus: float
    resources: Mapping[str, float]

    def __str__(self) -> str:
        plain = {"CPU": self.cpus, "GPU": self.gpus, **self.resources}
        return ", ".join(f"{amount:g} {name}" for name, amount in plain.items() if amount)


@dataclass(frozen=True)
class BridgeSettings:
    """What the bridge is told when it begins.

    Attributes:
        socket: Path of the driver's socket.
        address: Address of the cluster, as for ``ray.init``.
        want: Number of slots.
        reserve: What each of them reserves.
        cores: Number of cores that a slot is pinned to, if so many are free on its node.
    """

    socket: str
    address: str
    want: int
    reserve: Reserve
    cores: int

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the settings that :meth:`to_json` wrote down."""
        table = json.loads(text)
        return cls(**{**table, "reserve": Reserve(**table["reserve"])})

    def to_json(self) -> str:
        """Return them as text."""
        return json.dumps(asdict(self))


class RayPlace(Place):
    """The nodes of a Ray cluster.

    Args:
        request: What is asked for.
    """

    name: ClassVar[str] = "ray"
    options: ClassVar[Mapping[str, str]] = {
        "address": "the cluster, as for ray.init (default: RAY_ADDRESS, or that of this machine)",
        "cpus": "CPUs that a slot reserves (default: the cores that a phase of the pack may use)",
        "gpus": "GPUs that a slot reserves (default: those of the pack); a part, as 0.5, is shared",
        "resources": "custom resources that a slot reserves, as a100:1,fast_disk:0.5",
        **STORE_OPTIONS,
        "wait": f"seconds to wait for the first slot (default: {_WAIT_SECONDS:.0f})",
    }

    def __init__(self, request: PlaceRequest) -> None:
        options = request.options
        self._request = request
        self._address = options.get("address") or os.environ.get("RAY_ADDRESS") or "auto"
        gpus = _number(options, "gpus", float(request.gpus))
        if gpus > request.gpus or (gpus < request.gpus and (request.gpus > 1 or not gpus)):
            raise RecipelabError(
                f"place option gpus={options['gpus']}: a slot of this pack needs {request.gpus}"
            )
        if request.share:
            raise RecipelabError(
                "slots of the place ray are reserved by Ray, so devices are shared by reserving "
                "parts of them: --place-option gpus=0.5 (or cpus=0.5), without --share-devices"
            )
        self._reserve = Reserve(
            _number(options, "cpus", float(math.ceil(request.cpus))),
            gpus,
            _resources(options.get("resources", "")),
        )
        self._wait = _number(options, "wait", _WAIT_SECONDS)
        self.sandbox: PlacedSandbox = PlacedSandbox(request, left=self._left)
        self.pool = self.sandbox.pool
        self._folder: Path | None = None
        self._stack = AsyncExitStack()
        self._setup: NodeSetup | None = None
        self._links: dict[str, StreamLink] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._cluster = ""
        self._since = 0.0
        self._failed = ""
        self._told: set[str] = set()
        self._gone: dict[str, asyncio.Future[str]] = {}
        self._gone_since: float | None = None

    @classmethod
    def from_request(cls, request: PlaceRequest) -> Self:
        """Return a place, which is not started yet.

        Raises:
            RecipelabError: An option is not valid, or Ray is not installed.
        """
        if find_spec("ray") is None:
            raise RecipelabError("the place ray needs Ray: pip install 'recipelab[ray]'")
        return cls(request)

    @property
    def want(self) -> int:
        """How many slots are asked for."""
        return self._request.slots or self._request.most

    async def start(self) -> None:
        """Connect to the cluster, and wait for slots; see :meth:`Place.start`."""
        self._setup = await node_setup(self._request)
        self._folder = new_folder(Path(tempfile.gettempdir()), what="ray")
        self._stack.callback(remove_tree, self._folder)
        await self._stack.enter_async_context(self.sandbox)
        self.pool.grows = True
        server = await asyncio.start_unix_server(
            self._connected, self._folder / "socket", limit=PIECE_BYTES
        )
        self._stack.callback(server.close)
        self._begin(self._keep_bridge())
        await self._wait_for_slots()

    async def stop(self) -> None:
        """Give all slots back; see :meth:`Place.stop`."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._stack.aclose()

    async def _wait_for_slots(self) -> None:
        """Wait until all slots are there, or none has come for a while.

        Raises:
            SandboxUnavailable: There is none.
        """
        began = since = time.monotonic()
        have = 0
        while (found := len(self._links)) < self.want:
            now = time.monotonic()
            if found != have:
                have, since = found, now
            if have and now - since > _SETTLE_SECONDS:
                break
            over = now - (self._since or began + _CONNECT_SECONDS) > self._wait
            if not have and (self._failed or over):
                raise SandboxUnavailable(self._why_none())
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), 0.5)
        text = f"Ray cluster at {self._address}, {self._cluster}: {found} slots"
        if found < self.want:
            text += f"; it has no room for {self.want - found} more now"
        self._request.say(text)

    def _why_none(self) -> str:
        if self._failed:
            return f"Ray cluster at {self._address}: {self._failed}"
        if self._told:
            return f"Ray cluster at {self._address} gives no slot: {'; '.join(sorted(self._told))}"
        return (
            f"Ray cluster at {self._address}, {self._cluster or 'which does not answer'}, had no "
            f"room for a slot ({self._reserve}) for {self._wait:.0f} s; --place-option wait=900 "
            "waits longer, as for a cluster that grows"
        )

    def _begin(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep_bridge(self) -> None:
        """Run the bridge; when it ends, as with the head of the cluster, try again for a while."""
        while True:
            said = await self._run_bridge()
            if not self._cluster:
                self._failed = self._failed or said
                self._changed.set()
                return
            if self._gone_since is None:
                self._gone_since = time.monotonic()
                self._request.warn(f"the Ray cluster at {self._address} is lost: {said}")
            if time.monotonic() - self._gone_since > _GONE_SECONDS:
                self.pool.close(f"the Ray cluster at {self._address} is gone: {said}")
                return
            await asyncio.sleep(_RETRY_SECONDS)

    async def _run_bridge(self) -> str:
        """Run the bridge to its end; return what it said last."""
        assert self._folder is not None
        settings = BridgeSettings(
            socket=os.fspath(self._folder / "socket"),
            address=self._address,
            want=self.want,
            cores=0 if self._request.gpus else math.ceil(self._request.cpus),
            reserve=self._reserve,
        )
        self._failed = ""
        log = self._folder / "bridge.log"
        with log.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "recipelab.places.ray_bridge"),
                settings.to_json(),
                # Ray has the nodes import from the folder that its driver is in.
                cwd=self._folder,
                env=_environment(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        try:
            await process.wait()
        finally:
            await _ended(process)
        said = self._failed or _last_words(log)
        for name in list(self._gone):
            self._end(name, said)
        return said

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._begin(self._take(reader, writer))

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a connection of the bridge: its own, or that of a slot."""
        frames = Frames(reader, writer)
        try:
            head, _ = await frames.receive()
            if "control" not in head:
                await self._join(head, reader, writer)
            while "control" in head:
                self._heard((await frames.receive())[0])
        except NodeLost:
            pass  # The bridge has ended, or the slot.
        finally:
            frames.close()

    def _heard(self, head: Mapping[str, Any]) -> None:
        """Note what the bridge says."""
        if "connected" in head:
            self._cluster, self._since = head["connected"], time.monotonic()
            self._gone_since = None
        elif "failed" in head:
            self._failed = head["failed"]
        elif "refused" in head:
            self._tell_refused(head["refused"])
        elif "lost" in head:
            self._end(head["lost"], head["why"])
        self._changed.set()

    def _tell_refused(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._request.warn(f"Ray cluster at {self._address}: no slot: {text}")

    async def _join(
        self,
        hello: Mapping[str, Any],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Take a slot into use until its worker is gone."""
        assert self._setup is not None
        name, node = hello["slot"], hello["node"]
        link = StreamLink(reader, writer)
        gone = self._gone[name] = asyncio.get_running_loop().create_future()
        try:
            await link.greet(self._setup.model_copy(update={"node": node}))
            cores, gpus = hello["cores"], hello["gpus"]
            link.slot = Slot(name, cores=tuple(cores) or None, gpus=tuple(gpus), node=node)
            await self.sandbox.join(link)
            self._links[name] = link
            self._changed.set()
            reason = await gone
            await link.close(reason)
            self.sandbox.leave(link, reason)
        except (SandboxUnavailable, SandboxError) as error:
            self._tell_refused(f"{name}: {error}")
        finally:
            self._links.pop(name, None)
            self._gone.pop(name, None)
            self._changed.set()
            await link.close()

    def _left(self, link: NodeLink, reason: str) -> None:
        """Note that a slot is out of use: the sandbox calls it."""
        name = link.slot.name
        if self._links.pop(name, None) is not None and self.sandbox.started:
            self._request.warn(f"slot {name} is lost: {reason}")
        self._end(name, reason)

    def _end(self, name: str, reason: str) -> None:
        """Have the connection of a slot be closed, which ends its worker."""
        if (gone := self._gone.get(name)) is not None and not gone.done():
            gone.set_result(reason)


def _number(options: Mapping[str, str], name: str, otherwise: float) -> float:
    """Return an option that is a number.

    Raises:
        RecipelabError: It is none, or negative.
    """
    text = options.get(name)
    if text is None:
        return otherwise
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < math.inf:
        raise RecipelabError(f"place option {name}={text}: valid is a number, 0 or more")
    return number


def _resources(text: str) -> dict[str, float]:
    """Return custom resources, as ``label:1,disk:0.5``.

    Raises:
        RecipelabError: They are written otherwise, or have options of their own.
    """
    found: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, amount = (word.strip() for word in part.rpartition(":"))
        if not name or name in found or name in ("CPU", "GPU", "memory", "object_store_memory"):
            raise RecipelabError(
                f"place option resources={text}: valid is NAME:AMOUNT, separated by commas, with "
                "each name once, and none of Ray's own (cpus and gpus are options by themselves)"
            )
        found[name] = _number({"resources": amount}, "resources", 0.0)
    return found


def _environment() -> dict[str, str]:
    """Return the variables of the bridge, which runs in another folder."""
    variables = dict(os.environ)
    if path := variables.get("PYTHONPATH"):
        parts = [os.path.abspath(part) for part in path.split(os.pathsep) if part]
        variables["PYTHONPATH"] = os.pathsep.join(parts)
    return variables


async def _ended(process: asyncio.subprocess.Process) -> None:
    """See to it that the bridge has ended: by itself, or killed."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _END_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()


def _last_words(log: Path) -> str:
    """Return the last line that the bridge, or Ray in it, has printed."""
    with log.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - _TAIL_BYTES))
        lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "its bridge has ended"
