"""Chooses the sandbox that a command line asks for."""

from __future__ import annotations

from collections.abc import Callable

from recipelab.core.errors import SandboxUnavailable, unknown_name
from recipelab.sandbox.base import Sandbox
from recipelab.sandbox.local.sandbox import LocalSandbox
from recipelab.sandbox.spec import ImageSpec

KINDS = ("auto", "docker", "local")
_ANSWER_SECONDS = 3


def docker_daemon_error() -> str | None:
    """Why Docker cannot be used, or ``None`` if a daemon answers within three seconds."""
    try:
        from recipelab.sandbox.docker.containers import connect
    except ImportError as error:
        return f"the Python package {error.name} is not installed"
    try:
        connect(timeout=_ANSWER_SECONDS).close()
    except SandboxUnavailable as error:
        return str(error)
    return None


def open_sandbox(
    kind: str,
    spec: ImageSpec,
    *,
    build: bool,
    say: Callable[[str], None],
    allow_local_fallback: bool,
) -> Sandbox:
    """Makes the sandbox of a kind; it is not started yet.

    Args:
        kind: ``docker``, ``local``, or ``auto``: Docker if a daemon answers.
        spec: The image for Docker.
        build: Whether a missing image is built; it takes minutes.
        say: Gets lines for people: what is not isolated, how the build goes.
        allow_local_fallback: Whether ``auto`` may give the local sandbox, which does not isolate.

    Raises:
        SandboxUnavailable: It cannot be had; the message says what to do.
        RecipelabError: The image cannot be built.
    """
    if kind not in KINDS:
        raise SandboxUnavailable(unknown_name("sandbox", kind, KINDS))
    fault = None if kind == "local" else docker_daemon_error()
    if kind == "local" or (kind == "auto" and fault and allow_local_fallback):
        sandbox = LocalSandbox()
        say(sandbox.notice_here())
        return sandbox
    if fault:
        raise SandboxUnavailable(
            f"{fault}; start Docker, or ask for `--sandbox local`, which does not isolate"
        )
    return _docker_sandbox(spec, build=build, say=say)


def _docker_sandbox(spec: ImageSpec, *, build: bool, say: Callable[[str], None]) -> Sandbox:
    # The SDK takes a while to load, and the local sandbox does without.
    from recipelab.sandbox.docker.sandbox import DockerSandbox
    from recipelab.sandbox.images import build_image, image_exists

    if build and not image_exists(spec):
        build_image(spec, progress=say)
    return DockerSandbox(
        image=spec.image,
        profile=spec.container,
        build_hint=f"recipelab sandbox build {spec.name}",
    )
