"""The configuration of a code executor: complete, and plain JSON; and the sandbox it opens."""

from __future__ import annotations

import keyword
import os
import re
import sys
import warnings
from collections.abc import Mapping
from typing import Annotated, Any, Self, TypedDict

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from recipelab.core.errors import RecipelabError, SandboxUnavailable, unknown_name
from recipelab.executor.functions import FunctionSource
from recipelab.sandbox import PhaseLimits, Sandbox
from recipelab.sandbox.choose import (
    AUTO,
    DOCKER,
    LOCAL,
    SANDBOX_KINDS,
    check_kind_name,
    resolve_kind,
)
from recipelab.sandbox.outputs import name_fault
from recipelab.sandbox.spec import load_image_spec

DEFAULT_SANDBOX = "cpu"


class Settings(TypedDict, total=False):
    """The keys of :class:`SandboxCodeExecutorConfig` but image and functions."""

    kind: str
    sandbox: str | None
    allow_local: bool
    timeout: float
    work_dir: str | os.PathLike[str] | None
    memory_mb: int
    cpus: float
    pids: int
    output_mb: int
    output_files: int
    scratch_mb: int
    log_kb: int
    gpus: tuple[str, ...]
    environment: dict[str, str]
    delete_tmp_files: bool
    functions_module: str
    data: Mapping[str, str | os.PathLike[str]]
    init_command: str | None


STOCK_ARGUMENTS = {
    "extra_volumes": 'give data={"NAME": "/host/path"}: read-only; code finds it as ../data/NAME',
    "device_requests": 'give gpus=["0"], the ids of the GPUs',
    "extra_hosts": "code has no network, so it needs no names of hosts",
    "bind_dir": "nothing is bound: files are copied, also to a daemon elsewhere; leave it out",
    "container_name": "each block has a container of its own; leave it out",
    "auto_remove": "a container is removed when its block has ended; leave it out",
    "stop_container": "nothing runs between blocks; leave it out",
    "cleanup_temp_files": "give delete_tmp_files, which means the same",
    "virtual_env_context": (
        "a virtual environment of this machine is not there in a container, and without network "
        "none can be filled: name the packages in requirements.txt of a sandbox, build it with "
        "recipelab sandbox build NAME, and give sandbox=NAME; code of a local sandbox has the "
        "packages of this Python"
    ),
}
"""Arguments of AutoGen's own executors that are not taken, and what to do instead."""


class SandboxCodeExecutorConfig(BaseModel):
    """Configuration of :class:`~recipelab.executor.SandboxCodeExecutor`.

    Attributes:
        kind: ``docker``; ``local``, which does not isolate; ``auto``, Docker if a daemon answers;
            or a kind of another distribution.
        sandbox: Name of the sandbox whose image and container to use; ``cpu`` unless an image is
            named.
        image: Name of any image with Python 3.9, ``sh`` and ``tar``, instead of ``sandbox``.
        allow_local: Whether ``auto`` may be the local sandbox.
        timeout: Seconds that one code block may take.
        work_dir: Folder whose files the blocks share; by default a temporary one, removed at stop.
        memory_mb: Memory of a block in MiB; its files count as memory.
        cpus: CPU cores.
        pids: Number of processes and threads.
        output_mb: Size of all files of the work folder in MiB.
        output_files: Number of files of the work folder.
        scratch_mb: Size of ``/tmp`` in MiB.
        log_kb: Size of a block's output in KiB; of a longer one, head and tail are kept.
        gpus: Ids of the GPUs that blocks get, as ``["0"]``.
        environment: Environment variables. They are saved in plain text with the rest, and code
            that a model wrote can print them: no place for secrets.
        delete_tmp_files: Whether to remove the code of a block that names no file.
        functions: Functions that blocks can import.
        functions_module: Name of the module to import them from.
        data: Files and folders of this machine that code may read and not change, by the name under
            which it finds them in ``../data``.
        init_command: Command of ``sh`` that runs in the working folder before each block.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kind: str = DOCKER
    sandbox: Annotated[str | None, Field(min_length=1)] = None
    image: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9]\S*$")] = None
    allow_local: bool = False
    timeout: Annotated[float, Field(gt=0)] = 60.0
    work_dir: Annotated[str | None, BeforeValidator(lambda value: _path_text(value))] = None
    memory_mb: Annotated[int, Field(ge=16)] = 2048
    cpus: Annotated[float, Field(gt=0)] = 1.0
    pids: Annotated[int, Field(ge=1)] = 128
    output_mb: Annotated[int, Field(ge=1)] = 256
    output_files: Annotated[int, Field(ge=1)] = 1024
    scratch_mb: Annotated[int, Field(ge=1)] = 512
    log_kb: Annotated[int, Field(ge=1)] = 64
    gpus: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9:-]+$")], ...] = ()
    environment: dict[str, str] = Field(default_factory=dict)
    delete_tmp_files: bool = False
    functions: tuple[FunctionSource, ...] = ()
    functions_module: str = "functions"
    data: Annotated[dict[str, str], BeforeValidator(lambda value: _texts(value))] = Field(
        default_factory=dict
    )
    init_command: Annotated[str | None, Field(min_length=1)] = None

    @model_validator(mode="before")
    @classmethod
    def _explain_others(cls, given: Any) -> Any:
        for name in given if isinstance(given, Mapping) else ():
            if name in STOCK_ARGUMENTS:
                raise ValueError(f"{name} is not taken: {STOCK_ARGUMENTS[name]}")
            if name not in cls.model_fields:
                raise ValueError(unknown_name("argument", name, cls.model_fields))
        return given

    @field_validator("data")
    @classmethod
    def _are_names(cls, data: dict[str, str]) -> dict[str, str]:
        for name in data:
            if "/" in name or (fault := name_fault(name)):
                reason = "it may have no folders" if "/" in name else fault
                raise ValueError(f"{name!r} is no name for data: {reason}")
        return data

    @field_validator("kind")
    @classmethod
    def _is_a_kind(cls, kind: str) -> str:
        try:
            check_kind_name(kind)
        except SandboxUnavailable as error:
            raise ValueError(str(error)) from None
        return kind

    @field_validator("environment")
    @classmethod
    def _are_variables(cls, variables: dict[str, str]) -> dict[str, str]:
        for name, value in variables.items():
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or "\0" in value:
                raise ValueError(f"{name!r} is not a variable that can be set")
        return variables

    @field_validator("functions_module")
    @classmethod
    def _is_a_module(cls, name: str) -> str:
        if not name.isidentifier() or keyword.iskeyword(name):
            raise ValueError(f"{name!r} is not a name that Python can import")
        # It would shadow a module that the standard library itself imports.
        if name in sys.stdlib_module_names:
            raise ValueError(f"{name!r} is a module of Python itself")
        return name

    @model_validator(mode="after")
    def _has_one_image(self) -> Self:
        if self.image is not None and self.sandbox is not None:
            raise ValueError("image and sandbox both name an image; give one of them")
        return self

    def limits(self) -> PhaseLimits:
        """Return the limits of one code block."""
        return PhaseLimits(
            seconds=self.timeout,
            memory_mb=self.memory_mb,
            cpus=self.cpus,
            pids=self.pids,
            output_mb=self.output_mb,
            scratch_mb=self.scratch_mb,
            output_files=self.output_files,
            log_kb=self.log_kb,
            gpus=self.gpus,
        )


def _path_text(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _texts(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _path_text(path) for name, path in value.items()}
    return value


def open_code_sandbox(config: SandboxCodeExecutorConfig) -> Sandbox:
    """Return the sandbox of an executor; it is not started. Blocks while it looks for Docker.

    Raises:
        SandboxUnavailable: Docker is asked for and does not answer.
        RecipelabError: No sandbox has the name given, or its kind cannot run an image by name.
    """
    option = "allow_local=True" if config.kind == AUTO else 'kind="local"'
    kind = resolve_kind(
        config.kind, allow_local_fallback=config.allow_local, local_option=f"give {option}"
    )
    if config.image is not None and kind == DOCKER:
        # Its SDK takes a while to load, and the other kinds do without.
        from recipelab.sandbox.docker.sandbox import DockerSandbox

        return DockerSandbox(image=config.image, build_hint=f"docker pull {config.image}")
    if config.image is not None and kind != LOCAL:
        raise RecipelabError(f"image: a sandbox of kind {kind!r} takes a sandbox, not an image")
    spec = load_image_spec(config.sandbox or DEFAULT_SANDBOX)
    sandbox = SANDBOX_KINDS.get(kind).from_spec(spec, build=False, progress=_warn)
    if notice := sandbox.notice():
        _warn(notice)
    return sandbox


def image_name(config: SandboxCodeExecutorConfig, sandbox: Sandbox) -> str:
    """Return what the code runs in, for messages."""
    if sandbox.name == LOCAL:
        return "this Python"
    if config.image is not None:
        return f"the image {config.image}"
    return f"the sandbox {config.sandbox or DEFAULT_SANDBOX}"


def _warn(line: str) -> None:
    # A warning and no log: apps that have set up no logging must see it, too.
    warnings.warn(line, stacklevel=5)
