"""What goes between a driver and its nodes: phases made portable, trees of files, and replies.

All of it goes to bytes and back by JSON, and is checked on the way in: what comes from another
machine is read as carefully as what a command leaves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from recipelab.core.errors import SandboxError, validation_problems
from recipelab.sandbox.base import Ending, PhaseLimits

PIECE_BYTES = 4 << 20
"""Most bytes of a blob in one piece, and of all pieces in one message."""

MOST_BYTES = 64 << 20
"""Most bytes of a message that is JSON."""

SINGLE = "file"
"""Path of the only entry of a tree that is a single file."""

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 in hexadecimal digits."""

_Path = Annotated[str, Field(min_length=1, max_length=4096)]


class TreesMissing(Exception):
    """Trees that a phase needs are not in a node's store any more; they have to be sent again.

    Attributes:
        digests: Their digests.
    """

    def __init__(self, digests: Sequence[str]) -> None:
        super().__init__(f"{len(digests)} trees are missing")
        self.digests = tuple(digests)


class Piece(NamedTuple):
    """A part of a blob on its way.

    Attributes:
        digest: SHA-256 of the whole blob.
        offset: Where the part begins, in bytes.
        data: Its bytes, :data:`PIECE_BYTES` at most.
        last: Whether the blob ends with it.
    """

    digest: str
    offset: int
    data: bytes
    last: bool


def pack(pieces: Sequence[Piece]) -> tuple[dict[str, Any], bytes]:
    """Return pieces as a header and bytes."""
    listed = [[one.digest, one.offset, len(one.data), one.last] for one in pieces]
    return {"pieces": listed}, b"".join(one.data for one in pieces)


def unpack(header: Mapping[str, Any], data: bytes) -> list[Piece]:
    """Return the pieces of a header and bytes.

    Raises:
        KeyError, TypeError, ValueError: They are none.
    """
    found: list[Piece] = []
    start = 0
    for digest, offset, length, last in header["pieces"]:
        end = start + int(length)
        if not start <= end <= len(data):
            raise ValueError("more bytes are named than came")
        found.append(Piece(str(digest), int(offset), data[start:end], bool(last)))
        start = end
    return found


class Portable(BaseModel):
    """Something that goes to bytes and back."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        ser_json_bytes="base64",
        val_json_bytes="base64",
        ser_json_inf_nan="strings",
    )

    def to_bytes(self) -> bytes:
        """Return it as JSON in UTF-8."""
        return self.model_dump_json(exclude_defaults=True).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read and check it.

        Raises:
            SandboxError: It is too long, or not what it should be.
        """
        if len(data) > MOST_BYTES:
            raise SandboxError(f"a {cls.__name__} of {len(data):,} bytes is too long")
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            (problem, *_) = validation_problems(error, root=cls.__name__)
            raise SandboxError(f"a {cls.__name__} cannot be read: {problem}") from None


class TreeEntry(Portable):
    """A file, folder or symbolic link of a tree.

    Attributes:
        path: Its path below the root of the tree, with forward slashes.
        kind: What it is.
        executable: Whether a file may be executed.
        size: Size of a file in bytes.
        digest: SHA-256 of a file's bytes.
        link: Where a link leads, as it is written down; nobody follows it.
    """

    path: _Path
    kind: Literal["file", "folder", "link"] = "file"
    executable: bool = False
    size: Annotated[int, Field(ge=0)] = 0
    digest: Digest | None = None
    link: _Path | None = None


class Tree(Portable):
    """The manifest of a folder, or of a single file: all that makes it what it is.

    Attributes:
        is_file: Whether it is a single file, the only entry, whose path is ``file``.
        entries: Everything below it, sorted by path.
    """

    is_file: bool = False
    entries: tuple[TreeEntry, ...] = ()

    @model_validator(mode="after")
    def _is_a_tree(self) -> Self:
        """Check that each entry lies in a folder of the tree: nothing leads out of it."""
        folders = {""}
        seen = set[str]()
        for entry in self.entries:
            parent, _, name = entry.path.rpartition("/")
            if name in ("", ".", "..") or "\0" in name or parent not in folders:
                raise ValueError(f"no folder of the tree holds {entry.path!r}")
            if entry.path in seen:
                raise ValueError(f"{entry.path!r} is there twice")
            if (entry.kind == "file") != (entry.digest is not None):
                raise ValueError(f"a file has a digest, and nothing else has one: {entry.path!r}")
            if (entry.kind == "link") != (entry.link is not None):
                raise ValueError(f"a link leads somewhere, and nothing else does: {entry.path!r}")
            seen.add(entry.path)
            if entry.kind == "folder":
                folders.add(entry.path)
        if self.is_file and [entry.path for entry in self.entries] != [SINGLE]:
            raise ValueError(f"the only entry of a single file is {SINGLE!r}")
        return self

    @property
    def digest(self) -> str:
        """The SHA-256 of the manifest, by which a node knows the tree."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def files(self) -> Mapping[str, int]:
        """Return digest and size of each different file."""
        return {entry.digest: entry.size for entry in self.entries if entry.digest is not None}


class ParcelInput(Portable):
    """An input of a phase: a tree by its digest, or a folder that lies where it lies.

    Attributes:
        target: Path below the phase root; see :class:`recipelab.sandbox.base.Input`.
        tree: Digest of the tree; ``None`` for a folder that is read where it lies.
        place: Absolute path of a folder that has to lie at the same place on the node.
        stand: What tells whether it is the same folder there: a digest of names and sizes on top.
        writable: Whether the command gets a copy that it may change.
    """

    target: _Path
    tree: Digest | None = None
    place: _Path | None = None
    stand: str = ""
    writable: bool = False


class Parcel(Portable):
    """A :class:`recipelab.sandbox.base.PhaseRequest` without paths and functions of the driver.

    Attributes:
        watch: Name of the file in ``out/`` that is handed over while the command runs; empty for
            none.
        told: Whether pieces of the log are wanted while the command runs.
    """

    phase: str
    command: tuple[str, ...]
    inputs: tuple[ParcelInput, ...]
    limits: PhaseLimits
    environment: dict[str, str] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)
    tripwires: tuple[str, ...] = ()
    warm: tuple[str, ...] = ()
    watch: str = ""
    told: bool = False
    directory: str = ""


class NodeFacts(Portable):
    """What a node is, and what its sandbox promises.

    Attributes:
        node: Its name: the same for all workers on it.
        sandbox: Kind of its sandbox, as ``docker``.
        image: Identity of the image; see :attr:`recipelab.sandbox.base.Sandbox.image_identity`.
        fault: Why no phase can run there yet: the image is missing. It may be sent.
        isolated: Whether the sandbox keeps code from files, network and processes.
        notice: What it cannot promise there; empty for nothing.
        lost_isolation: Isolation that its kind stands for and the node does not give.
        cores: Numbers of the cores that the worker may use.
        gpus: Ids of the GPUs that it may use.
        packages: Versions of the image's packages where there is no image, as in the local sandbox.
        recipelab: Version of recipelab there.
        python: Version of Python there.
    """

    node: str
    sandbox: str
    image: str = ""
    fault: str = ""
    isolated: bool = False
    notice: str = ""
    lost_isolation: str = ""
    cores: tuple[int, ...] = ()
    gpus: tuple[str, ...] = ()
    packages: dict[str, str] = Field(default_factory=dict)
    recipelab: str = ""
    python: str = ""


class Reply(Portable):
    """A :class:`recipelab.sandbox.base.PhaseResult` without paths of the node, and what was left.

    Attributes:
        outputs: Manifest of what was collected from ``out/``; the node has it as a tree.
        changed: Targets of inputs that were not, after the phase, what they had been before it.
    """

    ending: Ending
    exit_code: int | None
    wall_seconds: float
    cpu_seconds: float
    peak_memory_mb: float | None
    log: str
    refused: tuple[str, ...] = ()
    environment: str = ""
    tampered: tuple[str, ...] = ()
    refused_processes: int | None = None
    error_file: str = ""
    warm_seconds: float = 0.0
    warm_cpu_seconds: float = 0.0
    watched: bytes = b""
    outputs: Tree = Tree()
    changed: tuple[str, ...] = ()


class SpecFiles(Portable):
    """The specification of an image with the files that it names, so that a node can read it.

    Attributes:
        table: Its ``sandbox.toml``, as JSON; without the packages that a pack adds.
        files: Name to text of the files that lie beside it.
        packages: What tells an image with a pack's packages from others; empty where there is none.
        requirements: The packages, as ``requirements.txt`` lists them.
    """

    table: str
    files: dict[str, str] = Field(default_factory=dict)
    packages: str = ""
    requirements: str = ""


class NodeSetup(Portable):
    """How a worker is to begin.

    Attributes:
        spec: The image.
        sandbox: Kind of the node's sandbox, never ``auto``.
        store: Folder of the node's store; empty for one of this user in the temporary folder.
        store_gb: Bound on the store's size in GiB.
        node: Name of the node; empty for its host name.
    """

    spec: SpecFiles
    sandbox: str
    store: str = ""
    store_gb: Annotated[float, Field(gt=0)] = 50.0
    node: str = ""
