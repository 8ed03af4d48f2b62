"""The driver's half of a place whose phases run on nodes: links, and a sandbox that uses them."""

from __future__ import annotations

import asyncio
import contextlib
import math
import tempfile
import uuid
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from recipelab.core.errors import SandboxError, SandboxUnavailable
from recipelab.core.logs import logger
from recipelab.places.base import PlaceRequest
from recipelab.places.parcel import (
    NodeFacts,
    Parcel,
    ParcelInput,
    Piece,
    Reply,
    TreesMissing,
)
from recipelab.places.setup import ImageArchive
from recipelab.places.transfer import (
    MOST_ASKED,
    check_figures,
    fetch_outputs,
    result_of,
    send_blobs,
)
from recipelab.places.trees import Hashes, Packed, stand_of_folder
from recipelab.sandbox.base import WATCH_BYTES, Ending, PhaseRequest, PhaseResult, Sandbox
from recipelab.sandbox.files import check_request, reap_folders
from recipelab.sandbox.processes import MIB
from recipelab.sandbox.slots import Slot, SlotPool

_log = logger(__name__)

SENDS = 3
"""How often trees are sent for one phase, where a node throws them out again."""

CANCEL_SECONDS = 60.0
"""How long a node may take to kill a phase before it counts as lost."""

_TOLD_BYTES = 256 * MIB
"""What takes a while to send, so that people are told."""
_MOST_KNOWN = 1 << 17


class NodeLost(SandboxError):
    """A node or its worker is gone, or does not answer: a transport raises it."""


class NodeLink(ABC):
    """The driver's end of one worker on one slot: what a transport implements.

    Its methods are those of :class:`recipelab.places.node.NodeWorker`. Each raises
    :class:`NodeLost` when the worker is gone, and carries ``SandboxError``,
    ``SandboxUnavailable`` and ``TreesMissing`` of the worker as what they are.

    Attributes:
        node: Name of the node, the same for all links to it; set when the worker has begun.
        slot: The slot that it runs phases on; its name is one that no other link has.
    """

    node: str
    slot: Slot

    @abstractmethod
    async def facts(self) -> NodeFacts:
        """Return what the node is."""

    @abstractmethod
    async def load_image(self, digest: str) -> NodeFacts:
        """Have the node load an image that was sent; see ``NodeWorker.load_image``."""

    @abstractmethod
    async def missing(self, digests: Sequence[str]) -> list[str]:
        """Return what the node's store does not have; see ``NodeWorker.missing``."""

    @abstractmethod
    async def put(self, pieces: Sequence[Piece]) -> None:
        """Send pieces of blobs, :data:`PIECE_BYTES` at most; see ``NodeWorker.put``."""

    @abstractmethod
    async def run(
        self,
        name: str,
        parcel: Parcel,
        tell: Callable[[bytes], None],
        watch: Callable[[bytes], bool],
    ) -> Reply:
        """Run a phase; see ``NodeWorker.run``.

        Args:
            name: A name that no other phase has.
            parcel: The phase.
            tell: Called with pieces of its output, in any thread.
            watch: Called with what is appended to the watched file, in any thread; what it returns
                is sent on to ``NodeWorker.watched``.
        """

    @abstractmethod
    async def blobs(self, wanted: Sequence[tuple[str, int]]) -> list[Piece]:
        """Return pieces of blobs; see ``NodeWorker.blobs``."""

    @abstractmethod
    async def cancel(self, name: str) -> None:
        """Kill a phase; see ``NodeWorker.cancel``. Returns when it is dead, or the node is lost."""


class PlacedSandbox(Sandbox):
    """Runs each phase on the node of its slot, in that node's own sandbox.

    Only what a node lacks is sent there: files are known by their hash, once a node. What a phase
    leaves stays there, too, for the next phase. Where a request names no slot, the node that has
    most of its inputs runs it.

    Attributes:
        pool: The slots of all links.
    """

    name: ClassVar[str] = "placed"
    isolated: ClassVar[bool] = False

    def __init__(
        self, request: PlaceRequest, *, left: Callable[[NodeLink, str], None] | None = None
    ) -> None:
        """Note what is asked for; there are no links yet.

        Args:
            request: What is asked of the place.
            left: Called with each link that has left, and why: its worker may have to be ended, or
                replaced.
        """
        self._left = left or (lambda link, reason: None)
        self.pool = SlotPool([], shared=True)
        self._request = request
        self._links: dict[str, NodeLink] = {}
        self._facts: dict[str, NodeFacts] = {}
        self._archive = ImageArchive(request.spec)
        self._hashes = Hashes()
        self._running: dict[str, int] = defaultdict(int)
        self._active: dict[str, NodeLink] = {}
        self._known: dict[str, set[str]] = defaultdict(set)
        self._sending: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._started = False

    async def start(self) -> None:
        """Get ready; see :meth:`Sandbox.start`."""
        # Phases run elsewhere, and what a killed driver has left lies here.
        await asyncio.to_thread(reap_folders, Path(tempfile.gettempdir()))
        self._started = True

    async def stop(self) -> None:
        """Take all links out of use; what runs there ends. See :meth:`Sandbox.stop`."""
        self._started = False
        await asyncio.gather(
            *(self._cancel(link, name) for name, link in list(self._active.items()))
        )
        for link in list(self._links.values()):
            self.leave(link, "the place was closed")
        await asyncio.to_thread(self._archive.close)

    @property
    def started(self) -> bool:
        """Whether phases may be run."""
        return self._started

    @property
    def image_identity(self) -> str:
        """That of the nodes, which have it in common; empty before the first has joined."""
        return next((facts.image for facts in self._facts.values()), "")

    def notice(self) -> str | None:
        """Return what the nodes' sandboxes cannot promise, and which nodes say so."""
        return self._said(lambda facts: facts.notice)

    def lost_isolation(self) -> str | None:
        """Return what isolation is lost, and on which nodes."""
        return self._said(lambda facts: facts.lost_isolation)

    def _said(self, words: Callable[[NodeFacts], str]) -> str | None:
        said: dict[str, list[str]] = {}
        for facts in self._facts.values():
            if text := words(facts):
                said.setdefault(text, []).append(facts.node)
        lines = (f"on {', '.join(sorted(set(nodes)))}: {text}" for text, nodes in said.items())
        return "; ".join(lines) or None

    async def join(self, link: NodeLink) -> None:
        """Take in a link whose worker has begun: its slot is leased from now on.

        The image is sent if the node does not have it, once a node.

        Raises:
            SandboxUnavailable: The node has another image or sandbox than the others, or cannot
                have what is asked for.
            SandboxError: It is gone again.
        """
        facts = await link.facts()
        if facts.fault:
            async with self._sending[link.node]:
                facts = await link.facts()
                facts = await self._send_image(link, facts) if facts.fault else facts
        self._check(facts)
        name = link.slot.name
        if name in self._links:
            raise ValueError(f"there is a link for the slot {name} already")
        # The first that has joined says what the others have to be, even when it has left.
        self._facts[name] = facts
        self._links[name] = link
        self.pool.add(link.slot)

    async def _send_image(self, link: NodeLink, facts: NodeFacts) -> NodeFacts:
        try:
            digest, path = await asyncio.to_thread(self._archive.open)
        except SandboxUnavailable as error:
            raise SandboxUnavailable(f"node {facts.node}: {facts.fault}; {error}") from error
        if await link.missing([digest]):
            size = path.stat().st_size
            self._request.say(f"sending the image to {facts.node} ({size / MIB:,.0f} MiB)")
            await send_blobs(link, {digest: path})
        facts = await link.load_image(digest)
        if facts.fault:
            raise SandboxUnavailable(f"node {facts.node}: {facts.fault}")
        return facts

    def _check(self, facts: NodeFacts) -> None:
        """Refuse a node on which phases would be other phases.

        Raises:
            SandboxUnavailable: It is one.
        """
        if facts.lost_isolation and self._request.needs_isolation:
            raise SandboxUnavailable(
                f"node {facts.node}: {facts.lost_isolation}; a language model writes code that "
                "nobody has read, so nothing runs there"
            )
        if not self._facts:
            return
        first = next(iter(self._facts.values()))
        for what, here, there in (
            ("sandbox", first.sandbox, facts.sandbox),
            ("image", first.image, facts.image),
            ("packages", _listed(first.packages), _listed(facts.packages)),
            ("version of recipelab", first.recipelab, facts.recipelab),
        ):
            if here != there:
                raise SandboxUnavailable(
                    f"the nodes differ, so what they measure cannot be compared: {what} of "
                    f"{first.node}: {here or 'none'}; of {facts.node}: {there or 'none'}"
                )

    def leave(self, link: NodeLink, reason: str) -> None:
        """Take a link out of use: its slot is retired.

        A link that raised :class:`NodeLost` has left already.
        """
        name = link.slot.name
        if self._links.get(name) is not link:
            return
        del self._links[name]
        self.pool.retire(link.slot, reason)
        if all(other.node != link.node for other in self._links.values()):
            self._known.pop(link.node, None)
        if self._started:
            _log.warning("a slot of a node is gone", slot=name, reason=reason)
        self._left(link, reason)

    async def run(self, request: PhaseRequest) -> PhaseResult:
        """Run one command on the node that it names; see :meth:`Sandbox.run`."""
        if not self._started:
            raise SandboxError("the place is not started")
        await asyncio.to_thread(check_request, request)
        parcel, packed = await asyncio.to_thread(self._pack, request)
        link = self._link(request, packed)
        self._running[link.slot.name] += 1
        try:
            reply = await self._run_on(link, request, parcel, packed)
            check_figures(reply)
            if not (reply.ending is Ending.EXITED and reply.exit_code == 0):
                await self._check_gpus(link, request)
            refused = await fetch_outputs(link, request, reply.outputs, self._hashes)
            self._known[link.node].add(reply.outputs.digest)
        except NodeLost as error:
            self.leave(link, str(error))
            raise SandboxError(f"node {link.node} is lost: {error}") from error
        finally:
            self._running[link.slot.name] -= 1
        return result_of(request, reply, refused)

    async def _check_gpus(self, link: NodeLink, request: PhaseRequest) -> None:
        """Ask the node of a phase that failed whether its GPUs still answer there.

        Raises:
            NodeLost: One that did when the worker began does not.
        """
        gpus = set(request.limits.gpus) & set(self._facts[link.slot.name].gpus)
        if gpus and (gone := sorted(gpus - set((await link.facts()).gpus))):
            raise NodeLost(f"GPU {gone[0]} does not answer there any more")

    def _link(self, request: PhaseRequest, packed: Mapping[str, Packed]) -> NodeLink:
        """Return the link to run a phase on.

        Raises:
            SandboxError: The slot that it names is gone, or there is none at all.
        """
        links = [link for link in self._links.values() if request.node in ("", link.node)]
        if request.slot:
            # One that has come back on another node is not where the last phase ran.
            links = [link for link in links if link.slot.name == request.slot]
            if not links:
                raise SandboxError(f"the slot {request.slot} of node {request.node} is gone")
        if not links:
            raise SandboxError(f"no slot is left at the place, or none of node {request.node!r}")

        def rank(link: NodeLink) -> tuple[int, int]:
            known = self._known[link.node]
            lacking = sum(
                sum(one.tree.files().values()) for one in packed.values() if one.digest not in known
            )
            return lacking, self._running[link.slot.name]

        return min(links, key=rank)

    def _pack(self, request: PhaseRequest) -> tuple[Parcel, dict[str, Packed]]:
        """Make a request portable."""
        packed: dict[str, Packed] = {}
        inputs: list[ParcelInput] = []
        for one in request.inputs:
            if one.as_is and one.source.is_dir():
                folder = one.source.resolve()
                try:
                    stand = stand_of_folder(folder)
                except OSError as error:
                    raise SandboxError(f"no input at {folder}: {error.strerror}") from error
                inputs.append(ParcelInput(target=one.target, place=str(folder), stand=stand))
                continue
            tree = self._hashes.pack(one.source)
            packed[tree.digest] = tree
            inputs.append(ParcelInput(target=one.target, tree=tree.digest, writable=one.writable))
        parcel = Parcel(
            phase=request.phase,
            command=request.command,
            inputs=tuple(inputs),
            limits=request.limits,
            environment=dict(request.environment),
            labels=dict(request.labels),
            tripwires=request.tripwires,
            warm=request.warm,
            watch=request.watch.file if request.watch is not None else "",
            told=request.tell is not None,
            directory=request.directory,
        )
        return parcel, packed

    async def _run_on(
        self, link: NodeLink, request: PhaseRequest, parcel: Parcel, packed: Mapping[str, Packed]
    ) -> Reply:
        tell = request.tell or _nobody
        watcher = _Watcher(request)
        wanted: Iterable[str] | None = None
        for _ in range(SENDS):
            await self._send(link, packed, wanted)
            name = uuid.uuid4().hex
            self._active[name] = link
            try:
                return await link.run(name, parcel, tell, watcher.tell)
            except TreesMissing as missing:
                wanted = missing.digests
            except asyncio.CancelledError:
                await self._cancel(link, name)
                raise
            finally:
                del self._active[name]
        raise SandboxError(f"node {link.node} does not keep what phase {parcel.phase} needs")

    async def _cancel(self, link: NodeLink, name: str) -> None:
        """Have a phase killed before a cancellation takes effect."""
        task = asyncio.ensure_future(asyncio.wait_for(link.cancel(name), CANCEL_SECONDS))
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        if (error := task.exception()) is not None:
            self.leave(link, f"a phase could not be cancelled: {error}")

    async def _send(
        self, link: NodeLink, packed: Mapping[str, Packed], wanted: Iterable[str] | None
    ) -> None:
        """Send what a node lacks of some trees.

        Args:
            link: Where to.
            packed: The trees.
            wanted: Those that it has thrown out; ``None`` to ask for those that it lacks.
        """
        if wanted is None and not await link.missing(list(packed)):
            return
        async with self._sending[link.node]:
            # Another phase may have sent the same meanwhile.
            trees = list(wanted) if wanted is not None else await link.missing(list(packed))
            files: dict[str, Path] = {}
            sizes: dict[str, int] = {}
            for digest in trees:
                if digest not in packed:
                    raise SandboxError(f"node {link.node} asks for a tree that nobody named")
                files |= packed[digest].files
                sizes |= packed[digest].tree.files()
            digests = list(files)
            lacking: list[str] = []
            for start in range(0, len(digests), MOST_ASKED):
                lacking += await link.missing(digests[start : start + MOST_ASKED])
            if (total := sum(sizes[one] for one in lacking if one in sizes)) > _TOLD_BYTES:
                self._request.say(f"sending {total / MIB:,.0f} MiB of data to {link.node}")
            manifests = {digest: packed[digest].tree.to_bytes() for digest in trees}
            sent = {digest: files[digest] for digest in lacking if digest in files}
            await send_blobs(link, {**sent, **manifests})
        if len(known := self._known[link.node]) > _MOST_KNOWN:
            known.clear()
        known.update(packed)


class _Watcher:
    """Hands pieces of a watched file to whoever watches it, up to its bound.

    Args:
        request: The phase.
    """

    def __init__(self, request: PhaseRequest) -> None:
        self._watch = request.watch
        self._left = WATCH_BYTES
        self._stop = False

    def tell(self, piece: bytes) -> bool:
        """Hand on a piece, and return whether to stop the command."""
        piece = piece[: self._left]
        self._left -= len(piece)
        if self._watch is not None and piece and not self._stop:
            self._stop = self._watch.tell(piece)
        return self._stop


def _listed(packages: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(packages.items()))


def _nobody(piece: bytes) -> None:
    """Tell nobody."""


def node_slots(facts: NodeFacts, *, cpus: float, gpus: int) -> list[Slot]:
    """Return the slots that a node has for phases of one size, as this machine's are made.

    Args:
        facts: What the node is.
        cpus: Number of cores of a phase.
        gpus: Number of GPUs of a phase.

    Raises:
        SandboxUnavailable: It has no GPU, or too few.
    """
    if gpus:
        if len(facts.gpus) < gpus:
            raise SandboxUnavailable(
                f"node {facts.node} has {len(facts.gpus)} GPUs, and a slot needs {gpus}"
            )
        sets = [
            facts.gpus[start : start + gpus] for start in range(0, len(facts.gpus) - gpus + 1, gpus)
        ]
        return [
            Slot(f"{facts.node}:{number}", gpus=one, node=facts.node)
            for number, one in enumerate(sets)
        ]
    width, cores = math.ceil(cpus), facts.cores
    groups = [cores[start : start + width] for start in range(0, len(cores) - width + 1, width)]
    return [
        Slot(f"{facts.node}:{number}", cores=one, node=facts.node)
        for number, one in enumerate(groups or [cores])
    ]
