"""What a code executor is rebuilt from. All of it is plain JSON, and nothing is left out."""

from __future__ import annotations

import ast
import keyword
import os
import re
import sys
import warnings
from typing import Annotated, Any, Self, TypedDict

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from recipelab.core.errors import RecipelabError, unknown_name
from recipelab.sandbox import PhaseLimits, Sandbox
from recipelab.sandbox.choose import (
    AUTO,
    DOCKER,
    LOCAL,
    SANDBOX_KINDS,
    resolve_kind,
    sandbox_kind_names,
)
from recipelab.sandbox.spec import load_image_spec

DEFAULT_SANDBOX = "cpu"


class FunctionSource(BaseModel):
    """A function that code blocks can import, as source.

    It is only parsed here. Unlike AutoGen's own loader of functions, loading one from JSON runs
    nothing outside of the sandbox.

    Attributes:
        source: Python code that defines the function.
        python_packages: What must be installed in the image, as ``pandas>=2``.
        global_imports: Import statements that the function relies on, as ``import numpy as np``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    python_packages: tuple[str, ...] = ()
    global_imports: tuple[str, ...] = ()

    @field_validator("source")
    @classmethod
    def _is_a_function(cls, source: str) -> str:
        defined = [type(node) for node in _parsed(source)]
        if not {ast.FunctionDef, ast.AsyncFunctionDef}.intersection(defined):
            raise ValueError("the source must define a function at its top level")
        return source

    @field_validator("global_imports")
    @classmethod
    def _are_imports(cls, lines: tuple[str, ...]) -> tuple[str, ...]:
        for line in lines:
            if not all(isinstance(node, ast.Import | ast.ImportFrom) for node in _parsed(line)):
                raise ValueError(f"{line!r} is not an import statement, as `import numpy as np`")
        return lines


class Settings(TypedDict, total=False):
    """What :class:`SandboxCodeExecutorConfig` takes, less the functions."""

    kind: str
    sandbox: str | None
    image: str | None
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


class SandboxCodeExecutorConfig(BaseModel):
    """Configuration of :class:`~recipelab.executor.SandboxCodeExecutor`.

    Attributes:
        kind: ``docker``; ``local``, which does not isolate; ``auto``, Docker if a daemon answers;
            or a kind of another distribution.
        sandbox: Name of the sandbox whose image and container are taken; ``cpu`` unless an image
            is named.
        image: Name of any image with Python 3.9, ``sh`` and ``tar``, in place of ``sandbox``.
        allow_local: Whether ``auto`` may give the local sandbox.
        timeout: Seconds that one code block may take.
        work_dir: Folder whose files the blocks share; a temporary one by default, removed at stop.
        memory_mb: Memory of a block in MiB; its files count as memory.
        cpus: CPU cores.
        pids: Number of processes and threads.
        output_mb: Size of all files of the work folder in MiB.
        output_files: Number of files of the work folder.
        scratch_mb: Size of ``/tmp`` in MiB.
        log_kb: Size of a block's kept output in KiB; of a longer one, head and tail are kept.
        gpus: Ids of the GPUs that blocks get, as ``["0"]``.
        environment: Variables of the code. They are saved with the rest in plain text, and code
            that a model wrote can print them: no place for secrets.
        delete_tmp_files: Whether the code of a block that names no file is not kept.
        functions: What blocks can import from the functions module.
        functions_module: Name of that module.
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

    @field_validator("kind")
    @classmethod
    def _is_a_kind(cls, kind: str) -> str:
        if kind not in sandbox_kind_names():
            raise ValueError(unknown_name("sandbox kind", kind, sandbox_kind_names()))
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
        # It comes before the standard library, whose own modules would import it.
        if name in sys.stdlib_module_names:
            raise ValueError(f"{name!r} is a module of Python itself")
        return name

    @model_validator(mode="after")
    def _has_one_image(self) -> Self:
        if self.image is not None and self.sandbox is not None:
            raise ValueError("image and sandbox both name an image; give one of them")
        return self

    def limits(self) -> PhaseLimits:
        """The bounds of one code block."""
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


def _parsed(code: str) -> list[ast.stmt]:
    try:
        return ast.parse(code).body
    except SyntaxError as error:
        raise ValueError(f"not valid Python: {error}") from error


def _path_text(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


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
