"""The node's half of a place: runs phases in the node's own sandbox, whatever brings them there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from recipelab.places.parcel import NodeFacts, NodeSetup, Parcel, Piece, Reply


class TreesMissing(Exception):
    """Trees that a phase needs are no longer in the store; send them again.

    Attributes:
        digests: Their digests.
    """

    def __init__(self, digests: Sequence[str]) -> None:
        super().__init__(f"{len(digests)} trees are missing")
        self.digests = tuple(digests)


class NodeWorker:
    """Runs phases on one slot of a node. Workers of one node share a store of files.

    All methods may be called at the same time as others. What they raise is a ``SandboxError``
    where nothing else is said, and a transport carries its text.
    """

    def __init__(self, setup: NodeSetup) -> None:
        """Note how to begin; nothing is touched before :meth:`start`."""

    async def start(self) -> NodeFacts:
        """Open the store and start the sandbox.

        Returns:
            What the node is. Where the image is missing, :attr:`NodeFacts.fault` says so:
            :meth:`load_image` comes next then.

        Raises:
            SandboxUnavailable: The sandbox cannot run on this node.
        """
        raise NotImplementedError

    async def stop(self) -> None:
        """Kill what still runs, and stop the sandbox. May be called twice."""
        raise NotImplementedError

    async def facts(self) -> NodeFacts:
        """Return what the node is."""
        raise NotImplementedError

    async def load_image(self, digest: str) -> NodeFacts:
        """Load an image that was sent as a blob (``docker save``), and start the sandbox with it.

        Args:
            digest: SHA-256 of the archive.
        """
        raise NotImplementedError

    async def missing(self, digests: Sequence[str]) -> list[str]:
        """Return those of some trees and blobs that the store does not have.

        The others are kept for a while at least, so that a phase can begin with them.
        """
        raise NotImplementedError

    async def put(self, pieces: Sequence[Piece]) -> None:
        """Take pieces of blobs, each blob's in their order.

        A blob whose last piece has come is held against its digest. The manifest of a tree is a
        blob, too; it comes after the files that it names.

        Raises:
            SandboxError: A blob is not what its digest says, or cannot be stored.
        """
        raise NotImplementedError

    async def run(
        self,
        name: str,
        parcel: Parcel,
        tell: Callable[[bytes], None],
        watch: Callable[[bytes], None],
    ) -> Reply:
        """Run a phase in the node's sandbox, under its limits.

        What it leaves is put into the store, so that a later phase there needs no transfer.

        Args:
            name: A name that no other phase of this worker has.
            parcel: The phase.
            tell: Called with pieces of its output, in a thread; it must neither raise nor wait.
            watch: Called with what is appended to the watched file, in a thread, as ``tell``.
                Each call is answered by :meth:`watched`; the sandbox looks on only then.

        Raises:
            TreesMissing: Trees are not in the store any more.
            SandboxError: The machinery failed.
        """
        raise NotImplementedError

    async def watched(self, name: str, *, stop: bool) -> None:
        """Answer a piece of a watched file.

        Args:
            name: The phase.
            stop: Whether to stop the command.
        """
        raise NotImplementedError

    async def blobs(self, wanted: Sequence[tuple[str, int]]) -> list[Piece]:
        """Return pieces of blobs, one for each that is wanted, until a message is full.

        Args:
            wanted: Digest of each blob, and where its piece begins.

        Returns:
            At least one piece, and at most :data:`PIECE_BYTES` bytes; not all that was wanted.

        Raises:
            SandboxError: The store has no such blob.
        """
        raise NotImplementedError

    async def cancel(self, name: str) -> None:
        """Kill a phase; nothing if none of that name runs. Its ``run`` raises then."""
        raise NotImplementedError
