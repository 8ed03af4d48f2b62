"""The process that speaks to Ray for a campaign: keeps an actor for each slot, and relays bytes.

It is a process of its own because Ray's client ends the process that it is in when the head of the
cluster is gone, prints to its standard output what raylets say, and takes its signals. When it
ends, Ray ends the actors; when an actor ends, however it dies, its worker sees the end of its
standard input, and stops its phase and itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayError

from recipelab import __version__
from recipelab.places.parcel import PIECE_BYTES
from recipelab.places.placed import NodeLost
from recipelab.places.ray import BridgeSettings
from recipelab.places.stream import SILENT_SECONDS, Frames
from recipelab.sandbox.gpus import list_gpus
from recipelab.sandbox.slots import SlotPool, machine_slots

_PAUSES = (1.0, 5.0, 15.0, 60.0)
"""Seconds until an actor is asked for again, after so many ones that could not be used."""

_USED_SECONDS = 20.0
_ANSWER_SECONDS = 10.0
_CORE_SECONDS = 0.3
_WATCH_SECONDS = 1.0
_TAIL = 600

_ASIDE = re.compile(r"(class_name|actor_id|pid|namespace|ip|name): |File |\x1b")
"""Lines of an error of Ray that say where, and not what."""


class SlotWorker:
    """A worker on a node, as an actor has it: begins it, and moves bytes to and from it.

    It ends the actor's process when the driver is silent, or the node's raylet is gone: a Ray
    worker may live on without it, unreachable, and so would what runs in its sandbox.
    """

    def __init__(self) -> None:
        self._held = AsyncExitStack()
        self._parent = os.getppid()
        self._heard = time.monotonic()
        self._in: asyncio.StreamWriter
        self._out = asyncio.StreamReader(limit=PIECE_BYTES)
        self._log = asyncio.StreamReader(limit=PIECE_BYTES)

    async def begin(self, cores: int, gpus: Sequence[str]) -> dict[str, list[Any]]:
        """Begin the worker.

        Args:
            cores: Number of cores to lease for it alone, if so many are free; 0 for none.
            gpus: Numbers of the GPUs that Ray gave to the actor.

        Returns:
            ``cores`` and ``gpus``: the numbers of its cores, and the ids of its GPUs, as the node's
            own tool has them.
        """
        mine: list[int] = []
        if cores:
            pool = SlotPool(machine_slots(cpus=cores, gpus=0))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CORE_SECONDS):
                    slot = await self._held.enter_async_context(pool.lease())
                    mine = list(slot.cores or ())
        # Ray has named them in CUDA_VISIBLE_DEVICES, so these are those of the slot.
        found = list_gpus() if gpus else ()
        await self._start()
        threading.Thread(target=self._watch, daemon=True).start()
        return {"cores": mine, "gpus": [gpu.uuid for gpu in found] or list(gpus)}

    async def _start(self) -> None:
        """Start its process, which is no child of this one.

        Ray kills the children of a process that ends. The worker is to end by itself then, at the
        end of its input, so that nothing of its sandbox is left behind.
        """
        ends = [os.pipe() for _ in range(3)]
        (its_input, to_worker), (from_worker, its_output), (log, its_log) = ends
        begun = await asyncio.create_subprocess_exec(
            # A shell's background process reads nothing, unless it is told what.
            *("sh", "-c", 'exec 3<&0; "$@" <&3 3<&- &', "sh"),
            *(sys.executable, "-P", "-m", "recipelab.places.stream"),
            stdin=its_input,
            stdout=its_output,
            stderr=its_log,
            start_new_session=True,
        )
        for end in (its_input, its_output, its_log):
            os.close(end)
        await begun.wait()
        loop = asyncio.get_running_loop()
        for end, reader in ((from_worker, self._out), (log, self._log)):
            protocol = partial(asyncio.StreamReaderProtocol, reader)
            await loop.connect_read_pipe(protocol, os.fdopen(end, "rb"))
        transport, flow = await loop.connect_write_pipe(
            asyncio.streams.FlowControlMixin, os.fdopen(to_worker, "wb")
        )
        self._in = asyncio.StreamWriter(transport, flow, None, loop)

    async def push(self, data: bytes) -> None:
        """Move bytes to the worker."""
        self._heard = time.monotonic()
        self._in.write(data)
        await self._in.drain()

    async def pull(self) -> AsyncIterator[tuple[bytes, str]]:
        """Yield what comes from the worker; last why it ended, as far as it said that."""
        said = asyncio.create_task(self._log.read())
        while data := await self._out.read(PIECE_BYTES):
            yield data, ""
        yield b"", (await said).decode(errors="replace").strip()[-_TAIL:]

    def _watch(self) -> None:
        """End this process when nothing can come any more, whatever else it does."""
        while time.monotonic() - self._heard < SILENT_SECONDS and os.getppid() == self._parent:
            time.sleep(_WATCH_SECONDS)
        os._exit(1)


def _slot_actor() -> Any:
    """Return the class of the actors.

    It is defined in here so that Ray sends its code: a node that has no recipelab, or another
    version, can still say so. So it may use nothing of this module.
    """

    class Slot:
        """The actor of a slot."""

        async def hello(self) -> dict[str, Any]:
            """Return where it is, what Ray gave to it, and which versions there are."""
            import platform
            import socket

            import ray

            context = ray.get_runtime_context()
            try:
                from recipelab import __version__ as version
            except ImportError as error:
                version = f"none ({error})"
            return {
                "id": context.get_node_id(),
                "host": socket.gethostname(),
                "gpus": context.get_accelerator_ids().get("GPU", []),
                "versions": {
                    "Python": ".".join(platform.python_version_tuple()[:2]),
                    "Ray": ray.__version__,
                    "recipelab": version,
                },
            }

        async def begin(self, cores: int, gpus: list[str]) -> dict[str, list[Any]]:
            """Begin the worker; see :meth:`SlotWorker.begin`."""
            from recipelab.places.ray_bridge import SlotWorker

            self._worker = SlotWorker()
            return await self._worker.begin(cores, gpus)

        async def push(self, data: bytes) -> None:
            """Move bytes to the worker."""
            await self._worker.push(data)

        async def pull(self) -> AsyncIterator[tuple[bytes, str]]:
            """Yield what comes from the worker."""
            async for found in self._worker.pull():
                yield found

    return ray.remote(Slot)


class Bridge:
    """Keeps as many slots as are wanted, each with a connection to the driver."""

    def __init__(self, settings: BridgeSettings, control: Frames) -> None:
        self._settings = settings
        self._control = control
        self._class: Any = None
        self._home = ""

    async def run(self) -> None:
        """Keep slots until the driver is gone, or the cluster."""
        # In this thread: Ray sets signal handlers, which only the main thread can.
        if (fault := self._connect()) is not None:
            await self._control.send({"failed": fault})
            return
        await self._control.send({"connected": _cluster_words()})
        numbers = range(self._settings.want)
        tasks = [asyncio.create_task(self._keep(number)) for number in numbers]
        tasks.append(ending := asyncio.create_task(_to_end(self._control)))
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if ending.done():
            # A driver that was killed has left it.
            shutil.rmtree(Path(self._settings.socket).parent, ignore_errors=True)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _connect(self) -> str | None:
        """Connect to the cluster; return why that fails."""
        host, _, port = self._settings.address.rpartition(":")
        try:
            if port.isdigit() and "/" not in host:
                # Ray would try for minutes.
                socket.create_connection((host, int(port)), _ANSWER_SECONDS).close()
            ray.init(
                address=self._settings.address,
                log_to_driver=False,
                logging_level="ERROR",
                include_dashboard=None,
            )
        except (RayError, ConnectionError, RuntimeError, ValueError, OSError) as error:
            return _one_line(error)
        self._home = ray.get_runtime_context().get_node_id()
        self._class = _slot_actor()
        return None

    async def _keep(self, number: int) -> None:
        """Keep one slot: whenever its actor ends, ask for another one."""
        failed = 0
        while self._is_home():
            actor = self._actor()
            try:
                used = await self._use(number, actor)
            finally:
                with contextlib.suppress(Exception):
                    ray.kill(actor)
            failed = 0 if used else failed + 1
            await asyncio.sleep(_PAUSES[min(failed, len(_PAUSES) - 1)])
        await self._control.send({"failed": "the raylet of this machine is gone"})

    def _actor(self) -> Any:
        reserve = self._settings.reserve
        return self._class.options(
            num_cpus=reserve.cpus,
            num_gpus=reserve.gpus,
            resources=dict(reserve.resources) or None,
            max_restarts=0,
            max_concurrency=16,
        ).remote()

    async def _use(self, number: int, actor: Any) -> bool:
        """Relay between the driver and an actor, until either is gone.

        Returns:
            Whether the actor was of use.
        """
        try:
            hello = await actor.hello.remote()
            node = f"{hello['host']}-{hello['id'][:6]}"
            if fault := _version_fault(hello["versions"]):
                await self._control.send({"refused": f"node {node} {fault}"})
                return False
            devices = await actor.begin.remote(self._settings.cores, hello["gpus"])
        except (RayError, OSError) as error:
            await self._control.send({"refused": _one_line(error)})
            return False
        name, began = f"{node}:{number}", time.monotonic()
        said = await self._relay(actor, {"slot": name, "node": node, **devices})
        await self._control.send({"lost": name, "why": said})
        # The driver may have refused what it found there, and would do so again.
        return time.monotonic() - began > _USED_SECONDS

    async def _relay(self, actor: Any, hello: Mapping[str, Any]) -> str:
        """Move bytes both ways; return why that ended."""
        path = os.fspath(self._settings.socket)
        reader, writer = await asyncio.open_unix_connection(path, limit=PIECE_BYTES)
        await Frames(reader, writer).send(dict(hello))
        ways = [
            asyncio.create_task(_up(reader, actor)),
            asyncio.create_task(_down(actor, writer)),
        ]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            return next(iter(done)).result()
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            writer.close()

    def _is_home(self) -> bool:
        """Return whether this process may still have actors: they end with its node."""
        alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        return self._home in alive


async def _up(reader: asyncio.StreamReader, actor: Any) -> str:
    """Move what the driver sends; return why that ended."""
    try:
        while data := await reader.read(PIECE_BYTES):
            # One at a time: an actor may begin calls in another order.
            await actor.push.remote(data)
    except (RayError, OSError) as error:
        return _one_line(error)
    return "the driver gave it back"


async def _down(actor: Any, writer: asyncio.StreamWriter) -> str:
    """Move what the worker sends; return why that ended."""
    try:
        async for found in actor.pull.options(num_returns="streaming").remote():
            data, said = await found
            if not data:
                return f"its worker has ended{': ' * bool(said)}{said}"
            writer.write(data)
            await writer.drain()
    except (RayError, OSError) as error:
        return _one_line(error)
    return "its worker has ended"


async def _to_end(control: Frames) -> None:
    """Wait until the driver ends the connection, or is dead."""
    with contextlib.suppress(NodeLost):
        while True:
            await control.receive()


def _version_fault(found: Mapping[str, str]) -> str | None:
    """Return how the versions of a node differ from those here; ``None`` if they do not."""
    here = {
        "Python": ".".join(map(str, sys.version_info[:2])),
        "Ray": ray.__version__,
        "recipelab": __version__,
    }
    differ = [
        f"{what} {found.get(what)}, and here it is {version}"
        for what, version in here.items()
        if found.get(what) != version
    ]
    return f"has {'; '.join(differ)}" if differ else None


def _cluster_words() -> str:
    """Return what the cluster has, in words."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    plain = {
        name: amount
        for name, amount in sorted(ray.cluster_resources().items())
        if not name.startswith(("node:", "accelerator_type:")) and "memory" not in name
    }
    have = ", ".join(f"{amount:g} {name}" for name, amount in plain.items())
    return f"{len(nodes)} node{'s' * (len(nodes) != 1)} with {have or 'no resources'}"


def _one_line(error: BaseException) -> str:
    """Return what an error of Ray says, without the tables and advice around it."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not _ASIDE.match(line)]
    # An actor that has died says that first, and then why.
    text = " ".join(told[1:] if isinstance(error, ActorDiedError) else told)
    text = text.partition(" Some common causes")[0] or type(error).__name__
    return text if len(text) <= _TAIL else f"{text[:_TAIL]}..."


async def _main(settings: BridgeSettings) -> None:
    path = os.fspath(settings.socket)
    control = Frames(*await asyncio.open_unix_connection(path))
    await control.send({"control": os.getpid()})
    try:
        await Bridge(settings, control).run()
    finally:
        control.close()
        with contextlib.suppress(Exception):
            ray.shutdown()


if __name__ == "__main__":
    asyncio.run(_main(BridgeSettings.from_json(sys.argv[1])))
