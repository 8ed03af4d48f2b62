"""Opens the sandbox that a campaign, a command or an executor asks for by the name of its kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from recipelab.core.errors import SandboxUnavailable, unknown_name
from recipelab.core.registry import Registry
from recipelab.sandbox.base import Sandbox
from recipelab.sandbox.spec import ImageSpec

AUTO, DOCKER, LOCAL = "auto", "docker", "local"
_ANSWER_SECONDS = 3


class SandboxKind(Protocol):
    """A kind of sandbox: opens a sandbox for a specification. Most often a ``Sandbox`` class."""

    @property
    def isolated(self) -> bool:
        """Whether code in it is kept from the host's files, network and processes."""
        ...

    def from_spec(
        self, spec: ImageSpec, *, build: bool, progress: Callable[[str], None]
    ) -> Sandbox:
        """Return a sandbox, which is not started yet.

        Args:
            spec: The image, and what its containers have.
            build: Whether to build a missing image; it takes minutes.
            progress: Called with lines for people.

        Raises:
            RecipelabError: The sandbox cannot be had; the message says what to do.
        """
        ...


SANDBOX_KINDS = Registry[SandboxKind](
    "sandbox kind",
    "recipelab.sandbox_kinds",
    {
        DOCKER: "recipelab.sandbox.docker.sandbox:DockerSandbox",
        LOCAL: "recipelab.sandbox.local.sandbox:LocalSandbox",
    },
)


def sandbox_kind_names() -> tuple[str, ...]:
    """Return what may be asked for: ``auto``, and the kinds of this and other distributions."""
    return (AUTO, *SANDBOX_KINDS.names())


def check_kind_name(name: str) -> None:
    """Check that a kind may be asked for.

    Raises:
        SandboxUnavailable: The kind is unknown; the valid ones are listed.
    """
    # Other distributions last: to look for their entry points takes a while.
    if name not in (AUTO, DOCKER, LOCAL) and name not in SANDBOX_KINDS.names():
        raise SandboxUnavailable(unknown_name("sandbox kind", name, sandbox_kind_names()))


def docker_daemon_error() -> str | None:
    """Return why Docker cannot be used, or ``None`` if a daemon answers within three seconds."""
    try:
        from recipelab.sandbox.docker.containers import connect
    except ImportError as error:
        return f"the Python package {error.name} is not installed"
    try:
        connect(timeout=_ANSWER_SECONDS).close()
    except SandboxUnavailable as error:
        return str(error)
    return None


def resolve_kind(
    name: str, *, allow_local_fallback: bool, local_option: str = "ask for `--sandbox local`"
) -> str:
    """Return the name of a registered kind: the one asked for, or what ``auto`` stands for here.

    ``auto`` is Docker if a daemon answers. Otherwise it is the local sandbox if that is allowed.

    Args:
        name: A name of :func:`sandbox_kind_names`.
        allow_local_fallback: Whether ``auto`` may be the local sandbox, which does not isolate.
        local_option: How to ask for the local sandbox, for the error.

    Raises:
        SandboxUnavailable: The kind is unknown (the valid ones are listed), or Docker is needed
            and does not answer.
    """
    check_kind_name(name)
    if name not in (AUTO, DOCKER):
        return name
    fault = docker_daemon_error()
    if fault is None:
        return DOCKER
    if name == AUTO and allow_local_fallback:
        return LOCAL
    raise SandboxUnavailable(f"{fault}; start Docker, or {local_option}, which does not isolate")


def open_sandbox(
    kind: str,
    spec: ImageSpec,
    *,
    build: bool,
    say: Callable[[str], None],
    allow_local_fallback: bool,
) -> Sandbox:
    """Return a sandbox of a kind, which is not started yet.

    Args:
        kind: ``docker``, ``local``, the name of a kind of another distribution, or ``auto``; see
            :func:`resolve_kind`.
        spec: The image, and what its containers have.
        build: Whether to build a missing image; it takes minutes.
        say: Called with lines for people on how the build goes.
        allow_local_fallback: Whether ``auto`` may be the local sandbox, which does not isolate.

    Raises:
        SandboxUnavailable: It cannot be had; the message says what to do.
        RecipelabError: The image cannot be built, or the kind cannot be imported.
    """
    name = resolve_kind(kind, allow_local_fallback=allow_local_fallback)
    return SANDBOX_KINDS.get(name).from_spec(spec, build=build, progress=say)
