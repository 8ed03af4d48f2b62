"""The contract of a place: where the phases of a campaign run, and on how many slots.

A place gives an evaluator the two things that it needs: a :class:`SlotPool` and a :class:`Sandbox`.
What begins its processes on other machines (Ray, Slurm) is a scheduler that exists already; a place
only asks it for slots. Each phase runs in the sandbox of the node that its slot belongs to.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import ClassVar, Protocol, Self

from recipelab.core.errors import RecipelabError, unknown_name
from recipelab.core.registry import Registry
from recipelab.sandbox.base import Sandbox
from recipelab.sandbox.slots import SlotPool
from recipelab.sandbox.spec import ImageSpec

LOCAL = "local"
"""The place of a plan that names none: this machine."""


def _nobody(text: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class PlaceRequest:
    """What a campaign asks of a place.

    Attributes:
        spec: The image that phases run in, and what its containers have.
        sandbox: Kind of the sandbox on each node: ``auto``, ``docker``, ``local``, ...
        cpus: Number of cores of one slot.
        gpus: Number of GPUs of one slot.
        slots: Number of slots; ``None`` for as many as there are, up to ``most``.
        most: Largest useful number of slots if no number is wanted.
        share: Whether there may be more slots than devices, which then share them.
        build: Whether to build a missing image; it takes minutes.
        allow_local_fallback: Whether ``auto`` may be the local sandbox, which does not isolate.
        needs_isolation: Whether a node that loses isolation of its sandbox's kind is refused.
        options: What else the place is told, as ``{"address": "auto"}``; see :attr:`Place.options`.
        say: Called with what a person should know.
        warn: Called with what a person should not miss.
    """

    spec: ImageSpec
    sandbox: str = "auto"
    cpus: float = 1.0
    gpus: int = 0
    slots: int | None = None
    most: int = 8
    share: bool = False
    build: bool = True
    allow_local_fallback: bool = True
    needs_isolation: bool = False
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    say: Callable[[str], None] = _nobody
    warn: Callable[[str], None] = _nobody


class Place(ABC):
    """Where phases run. Use it as an async context manager.

    Attributes:
        pool: The slots of all its nodes; :attr:`Slot.node` says which node one belongs to.
        sandbox: Runs each phase on the node, and the slot, that its request names.
    """

    name: ClassVar[str]
    """Its name after ``--place``."""

    options: ClassVar[Mapping[str, str]] = {}
    """The options that it takes, each with a line on what it is."""

    pool: SlotPool
    sandbox: Sandbox

    @classmethod
    @abstractmethod
    def from_request(cls, request: PlaceRequest) -> Self:
        """Return a place, which is not started yet; see :class:`PlaceKind`."""

    @abstractmethod
    async def start(self) -> None:
        """Get slots, and have their nodes ready. ``pool`` and ``sandbox`` are there afterwards.

        Raises:
            SandboxUnavailable: No phase can run there; the message says what is missing.
        """

    @abstractmethod
    async def stop(self) -> None:
        """Stop everything that still runs, and give all slots back. May be called twice."""

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()


class PlaceKind(Protocol):
    """A kind of place: makes a place of a request. Most often a ``Place`` class."""

    @property
    def options(self) -> Mapping[str, str]:
        """The options that it takes, each with a line on what it is."""
        ...

    def from_request(self, request: PlaceRequest) -> Place:
        """Return a place, which is not started yet.

        Raises:
            RecipelabError: An option has no valid value, or a package is missing; the message says
                what to do.
        """
        ...


PLACES = Registry[PlaceKind](
    "place",
    "recipelab.places",
    {
        LOCAL: "recipelab.places.local:LocalPlace",
        "ray": "recipelab.places.ray:RayPlace",
        "slurm": "recipelab.places.slurm:SlurmPlace",
    },
)
"""The places by name."""


def place_kind(name: str) -> PlaceKind:
    """Return the kind of place of that name.

    Raises:
        RecipelabError: There is none (the valid ones are listed), or what it needs is missing.
    """
    try:
        return PLACES.get(name)
    except ImportError as error:
        raise RecipelabError(
            f"the place {name} needs the package {error.name}, which is not installed: "
            f"pip install 'recipelab[{name}]'"
        ) from error


def check_place(name: str, options: Mapping[str, str]) -> None:
    """Check that a place may be asked for, with these options.

    Raises:
        RecipelabError: The place or an option is unknown (the valid ones are listed), or what the
            place needs is not installed.
    """
    if name == LOCAL and not options:
        return
    valid = place_kind(name).options
    for option in options:
        if option not in valid:
            raise RecipelabError(unknown_name(f"option of the place {name}", option, valid))


def open_place(name: str, request: PlaceRequest) -> Place:
    """Return a place of that name, which is not started yet.

    Raises:
        RecipelabError: As for :func:`check_place`, or the place refuses what is asked for.
    """
    check_place(name, request.options)
    return place_kind(name).from_request(request)
