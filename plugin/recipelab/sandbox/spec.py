"""The specification of a sandbox, ``sandbox.toml``: its image, and what its containers have."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from recipelab.core import content
from recipelab.core.errors import RecipelabError, validation_problems

SPEC_FILE = "sandbox.toml"
REQUIREMENTS_FILE = "requirements.txt"

NOBODY = 65534
"""User and group id of a command where a profile names no other."""

RESERVED_USER = 65533
"""User id of the container's monitor; a command under it could speak in the monitor's place."""

_FORMAT = 1
_MOST_SHM_MB = (1 << 20) - 1
_ALLOWING = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE")
_DEEP_CALLS = frozenset(
    [
        "bpf",
        "delete_module",
        "finit_module",
        "init_module",
        "kexec_file_load",
        "kexec_load",
        "mount",
        "open_by_handle_at",
        "perf_event_open",
        "pivot_root",
        "reboot",
        "setns",
        "swapon",
        "umount2",
        "userfaultfd",
        "add_key",
        "keyctl",
    ]
)
"""What Docker's own profile keeps from a command without capabilities."""
_SECCOMP_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.json")


class ContainerProfile(BaseModel):
    """Properties of a container beyond the limits of a phase: the table ``[container]``.

    Attributes:
        user: User and group id of the command; never root's.
        gpu: Whether recipes need a GPU: each phase then gets the GPUs of its slot.
        shm_mb: Size of ``/dev/shm`` in MiB; ``None`` for as much as the memory limit.
        seccomp: A seccomp profile in Docker's JSON; ``None`` for recipelab's own.
        runtime: Name of the daemon's runtime, as ``runsc``; ``None`` for the daemon's own choice.
        environment: Names of host variables that are passed on if they are set.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    user: int = Field(
        default=NOBODY,
        ge=1,
        le=NOBODY,
        description=f"a user id from 1 to {NOBODY}, but not {RESERVED_USER}, which recipelab "
        "takes itself",
    )
    gpu: bool = Field(default=False, description="true or false")
    shm_mb: Annotated[int, Field(ge=1, le=_MOST_SHM_MB)] | None = Field(
        default=None, description=f"MiB of /dev/shm, from 1 to {_MOST_SHM_MB}"
    )
    seccomp: Path | None = Field(
        default=None, description="the name of a JSON file beside it, as seccomp.json"
    )
    runtime: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="the name of a runtime that the daemon has, as runsc",
    )
    environment: tuple[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], ...] = Field(
        default=(),
        strict=False,  # TOML has arrays, and no tuples.
        description='a list of different variable names, as ["HF_TOKEN"]',
    )

    @field_validator("user")
    @classmethod
    def _is_free(cls, user: int) -> int:
        if user == RESERVED_USER:
            raise ValueError("this user id is reserved")
        return user

    @field_validator("environment")
    @classmethod
    def _differ(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError("a variable is listed twice")
        return names

    @field_validator("seccomp", mode="before")
    @classmethod
    def _is_beside(cls, name: object, info: ValidationInfo) -> object:
        """Replace the name of a seccomp profile in a ``sandbox.toml`` by its path."""
        if info.context is None:
            return name
        if not isinstance(name, str) or not _SECCOMP_FILE.fullmatch(name):
            raise ValueError("not the name of a JSON file")
        path = Path(info.context["folder"]) / name
        try:
            profile = json.loads(content.read_limited(path).decode("utf-8"))
        except FileNotFoundError:
            raise ValueError(f"there must be a file {name} beside it") from None
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(
                f"{name} is not JSON: {getattr(error, 'strerror', None) or error}"
            ) from error
        # Without a default action Docker's runtime takes the profile and filters nothing.
        if not isinstance(profile, dict) or "defaultAction" not in profile:
            raise ValueError(
                f"{name} is not a seccomp profile: an object with defaultAction, in Docker's format"
            )
        if let := _let_through(profile):
            raise ValueError(
                f"{name} lets every command call {', '.join(let)}, which Docker's own profile "
                "refuses; take that one as your start"
            )
        return path


def _let_through(profile: Mapping[str, Any]) -> list[str]:
    """Return the calls into the depths of the kernel that a seccomp profile allows everybody.

    A rule that asks for a capability lets nobody through, as a command has none.
    """
    allowed = set(_DEEP_CALLS) if profile["defaultAction"] in _ALLOWING else set()
    rules = profile.get("syscalls") or ()
    for rule in rules if isinstance(rules, list) else ():
        if not isinstance(rule, Mapping):
            continue
        names = rule.get("names") or [rule.get("name")]
        called = _DEEP_CALLS & set(map(str, names if isinstance(names, list) else ()))
        if rule.get("action") not in _ALLOWING:
            # One that looks at arguments refuses some calls of a name, and lets the others through.
            allowed -= set() if rule.get("args") else called
        elif not (isinstance(rule.get("includes"), Mapping) and rule["includes"].get("caps")):
            allowed |= called
    return sorted(allowed)


class KernelSpec(BaseModel):
    """A compiled kernel of a hub that the image brings along: an entry of ``[[kernels]]``.

    Attributes:
        repository: Its name on the hub, ``owner/name``.
        revision: A commit, or a branch that is looked up when the image is built.
        variant: The folder below ``build/`` that fits the image, with ``{machine}`` for the
            processor.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    repository: str = Field(
        pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$", description="owner/name on the hub"
    )
    revision: str = Field(
        default="main", pattern=r"^[A-Za-z0-9][\w./-]*$", description="a commit or a branch"
    )
    variant: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_{}-]*$",
        description="a folder below build/, as torch29-cxx11-cu128-{machine}-linux",
    )


class ImageSpec(BaseModel):
    """An image that can be built, and what its containers have.

    Attributes:
        format: Version of the format of ``sandbox.toml``.
        name: Its name among the sandboxes.
        description: One line for people.
        image: Name (and tag) of the image that is built.
        dockerfile: Path of the Dockerfile from the folder: its own, or another sandbox's.
        base: Name of the image to build on unless another one is asked for.
        python: Python version of the base, which the wheels are for.
        container: What its containers have beyond the limits of a phase.
        kernels: Compiled kernels that it brings along, in ``/opt/recipelab/kernels``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal[1]
    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]*$",
        description="lower-case letters, digits, _ and -, as cpu",
    )
    description: str = Field(pattern=r"^[^\n]+$", description="one line of text")
    image: str = Field(
        pattern=r"^[a-z0-9][a-z0-9._/-]*(:[A-Za-z0-9._-]+)?$",
        description="an image name, as recipelab/cpu",
    )
    dockerfile: str = Field(
        pattern=r"^(\.\./[a-z0-9][a-z0-9_-]*/)?[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="the name of a file beside it, as Dockerfile, or of another sandbox's, as "
        "../cpu/Dockerfile",
    )
    base: str = Field(
        pattern=r"^[a-z0-9]\S*$", description="an image name, as python:3.11-slim-bookworm"
    )
    python: str = Field(pattern=r"^3\.[0-9]+$", description="a Python version, as 3.11")
    container: ContainerProfile = Field(
        default_factory=ContainerProfile,
        description=f"a table with the keys {', '.join(ContainerProfile.model_fields)}",
    )
    kernels: tuple[KernelSpec, ...] = Field(
        default=(),
        strict=False,  # TOML has arrays, and no tuples.
        description=f"tables with the keys {', '.join(KernelSpec.model_fields)}",
    )
    _folder: Path = PrivateAttr(default=Path())
    _below: ImageSpec | None = PrivateAttr(default=None)

    def model_post_init(self, context: Mapping[str, Path] | None) -> None:
        """Note the folder of the ``sandbox.toml``, which is no key of it."""
        if context is not None:
            self._folder = context["folder"]

    @property
    def folder(self) -> Path:
        """The folder of the ``sandbox.toml`` and ``requirements.txt``."""
        return self._folder

    @property
    def below(self) -> ImageSpec | None:
        """The image that it is a layer on top of, if that has to be built, too."""
        return self._below

    def with_packages(self, folder: Path, digest: str) -> ImageSpec:
        """Return the image with more packages on top of it.

        Args:
            folder: A folder with ``requirements.txt`` and ``Dockerfile``.
            digest: What tells it from other images, in hexadecimal digits.
        """
        changed = {
            "image": f"{self.image.partition(':')[0]}-{digest}",
            "description": f"{self.description}, and {REQUIREMENTS_FILE} of a pack",
            "dockerfile": "Dockerfile",
            "base": self.image,
            "kernels": (),
        }
        made = self.model_copy(update=changed)
        made._folder, made._below = folder, self
        return made

    def with_runtime(self, runtime: str) -> ImageSpec:
        """Return the same with another runtime of the daemon.

        Raises:
            RecipelabError: It is not the name of a runtime.
        """
        container = self.container.model_dump() | {"runtime": runtime}
        try:
            profile = ContainerProfile.model_validate(container)
        except ValidationError:
            valid = ContainerProfile.model_fields["runtime"].description
            raise RecipelabError(f"runtime {runtime!r} is not valid; valid: {valid}") from None
        made = self.model_copy(update={"container": profile})
        made._folder, made._below = self._folder, self._below
        return made

    @property
    def requirements(self) -> Path:
        """The file that lists the packages to install."""
        return self.folder / REQUIREMENTS_FILE


def image_spec_names() -> tuple[str, ...]:
    """Return the names of the sandboxes that can be found from the working directory."""
    return content.names(content.SANDBOXES, marker=SPEC_FILE)


def load_image_spec(name: str) -> ImageSpec:
    """Read the specification of the sandbox of that name.

    Raises:
        RecipelabError: No sandbox has that name (the valid ones are listed), or its
            specification is not valid.
    """
    return read_image_spec(content.find(content.SANDBOXES, name, marker=SPEC_FILE, what="sandbox"))


def read_image_spec(file: Path) -> ImageSpec:
    """Read one ``sandbox.toml`` and look for the files that it needs.

    Raises:
        RecipelabError: It cannot be read, is not valid, or a file is missing; the message names
            the file, the key and the valid values.
    """
    try:
        table = content.read_toml(file)
    except OSError as error:
        raise RecipelabError(f"{file}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise RecipelabError(f"{file}: {error}") from None
    spec = parse_image_spec(file, table)
    for needed in (spec.dockerfile, REQUIREMENTS_FILE):
        if not (file.parent / needed).is_file():
            raise RecipelabError(f"{file}: there must be a file {needed} beside it")
    return spec


def parse_image_spec(file: Path, table: Mapping[str, Any]) -> ImageSpec:
    """Check the contents of a ``sandbox.toml``.

    Args:
        file: The ``sandbox.toml``, for messages and to find the files beside it.
        table: Its contents.

    Raises:
        RecipelabError: A key is missing, unknown or not valid; the message names the file, the key
            and the valid values.
    """
    form = table.get("format")
    # First, and alone: a file of another format may well have other keys.
    if form != _FORMAT:
        raise RecipelabError(f"{file}: format: {form!r} is not a known format; valid: {_FORMAT}")
    try:
        return ImageSpec.model_validate(table, context={"folder": file.parent})
    except ValidationError as error:
        problems = validation_problems(error, root="sandbox", valid=_valid_keys)
        locations = [item["loc"] for item in error.errors(include_url=False)]
        lines = [
            f"{file}: {problem}{_valid_values(location)}"
            for problem, location in zip(problems, locations, strict=True)
        ]
        raise RecipelabError("\n".join(lines)) from None


def _valid_keys(location: tuple[int | str, ...]) -> Iterable[str]:
    """Return the keys that are valid in the table of an unknown key."""
    return _table(location).model_fields


def _table(location: tuple[int | str, ...]) -> type[BaseModel]:
    """Return the model of the table that a key stands in."""
    if len(location) < 2:
        return ImageSpec
    return KernelSpec if location[0] == "kernels" else ContainerProfile


def _valid_values(location: tuple[int | str, ...]) -> str:
    """Return the end of a message: the values that are valid for a known key."""
    within = {ImageSpec: 0, ContainerProfile: 1, KernelSpec: 2}[table := _table(location)]
    field = table.model_fields.get(str(location[min(within, len(location) - 1)]))
    return f"; valid: {field.description}" if field and field.description else ""
