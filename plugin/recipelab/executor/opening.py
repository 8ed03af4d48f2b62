"""Makes the sandbox that a configuration asks for."""

from __future__ import annotations

import warnings

from recipelab.errors import SandboxUnavailable
from recipelab.executor.config import DEFAULT_SANDBOX, SandboxCodeExecutorConfig
from recipelab.sandbox import LocalSandbox, Sandbox
from recipelab.sandbox.choose import docker_daemon_error
from recipelab.sandbox.images.spec import load_image_spec


def make_sandbox(config: SandboxCodeExecutorConfig) -> Sandbox:
    """Makes a sandbox; it is not started yet. Blocks for a moment while it looks for Docker.

    Raises:
        SandboxUnavailable: Docker is asked for and does not answer.
        RecipelabError: There is no sandbox of the name given.
    """
    if config.kind == "local":
        return _local()
    fault = docker_daemon_error()
    if fault is None:
        return _docker(config)
    if config.kind == "auto" and config.allow_local:
        return _local()
    way = "allow_local=True" if config.kind == "auto" else 'kind="local"'
    raise SandboxUnavailable(f"{fault}; start Docker, or give {way}, which does not isolate")


def image_of(config: SandboxCodeExecutorConfig, sandbox: Sandbox) -> str:
    """What the code runs in, for messages."""
    if sandbox.name == LocalSandbox.name:
        return "this Python"
    return f"the image {config.image}" if config.image else f"the sandbox {_name(config)}"


def _local() -> Sandbox:
    sandbox = LocalSandbox()
    # A warning and no log: apps that have set up no logging must see it, too.
    warnings.warn(sandbox.notice_here(), stacklevel=4)
    return sandbox


def _docker(config: SandboxCodeExecutorConfig) -> Sandbox:
    # The SDK takes a while to load, and the local sandbox does without.
    from recipelab.sandbox.docker.sandbox import DockerSandbox

    if config.image is not None:
        return DockerSandbox(image=config.image, build_hint=f"docker pull {config.image}")
    spec = load_image_spec(_name(config))
    return DockerSandbox(
        image=spec.image,
        profile=spec.container,
        build_hint=f"recipelab sandbox build {spec.name}",
    )


def _name(config: SandboxCodeExecutorConfig) -> str:
    return config.sandbox or DEFAULT_SANDBOX
