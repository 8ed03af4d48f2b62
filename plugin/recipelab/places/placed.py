"""The driver's half of a place whose phases run on nodes: links, and a sandbox that uses them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from recipelab.core.errors import SandboxError
from recipelab.places.base import PlaceRequest
from recipelab.places.parcel import NodeFacts, NodeSetup, Parcel, Piece, Reply
from recipelab.sandbox.base import PhaseRequest, PhaseResult, Sandbox
from recipelab.sandbox.slots import Slot, SlotPool


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


async def node_setup(request: PlaceRequest) -> NodeSetup:
    """Return how the workers of a place are to begin.

    What ``auto`` stands for is settled here; where images are built, the image is built on this
    machine, so that it can be sent.

    Raises:
        RecipelabError: The sandbox cannot be had.
    """
    raise NotImplementedError


class PlacedSandbox(Sandbox):
    """Runs each phase on the node of its slot.

    Attributes:
        pool: The slots of all links.
    """

    def __init__(self, request: PlaceRequest) -> None:
        """Note what is asked for; there are no links yet.

        Args:
            request: What is asked of the place.
        """
        self.pool: SlotPool

    async def join(self, link: NodeLink) -> None:
        """Take in a link whose worker has begun: its slot is leased from now on.

        The image is sent if the node does not have it, once a node.

        Raises:
            SandboxUnavailable: The node has another image or sandbox than the others, or cannot
                have what is asked for.
            NodeLost: It is gone again.
        """
        raise NotImplementedError

    def leave(self, link: NodeLink, reason: str) -> None:
        """Take a link out of use: its slot is retired. What runs there raises ``NodeLost``.

        A link that raised :class:`NodeLost` has left already.
        """
        raise NotImplementedError

    async def run(self, request: PhaseRequest) -> PhaseResult:
        """Run one command on the node that it names; see :meth:`Sandbox.run`."""
        raise NotImplementedError

    async def start(self) -> None:
        """Get ready; see :meth:`Sandbox.start`."""
        raise NotImplementedError

    async def stop(self) -> None:
        """Stop what runs; see :meth:`Sandbox.stop`."""
        raise NotImplementedError

    @property
    def started(self) -> bool:
        """Whether phases may be run."""
        raise NotImplementedError
