"""Parts of a ``pack.toml`` about recipes of others: where they come from, and what must stay."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from recipelab.pack_parts import Part


class UpstreamFile(Part):
    """One file of an upstream repository.

    Attributes:
        path: Where it is in the repository.
        target: Where it is in the recipe, below the recipe's folder.
        sha256: Its hash in the repository.
        bytes: Its size there.
        unpack: ``lzma-b85`` for a Python file that holds its source compressed, as contests that
            count bytes make people write it; the recipe then has the source.
    """

    path: str
    target: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)
    unpack: Literal["lzma-b85"] | None = None


class Upstream(Part):
    """The repository of somebody else that a recipe starts from; its code is never in the pack.

    Attributes:
        name: ``owner/name``, for people.
        url: Address for git.
        commit: The pinned commit.
        license: Its licence.
        files: The files that the recipe takes.
    """

    name: str
    url: str
    commit: str = Field(pattern=r"^[0-9a-f]{40}$")
    license: str
    files: tuple[UpstreamFile, ...] = Field(min_length=1)


class Protected(Part):
    """Functions and classes of an editable file that have to stay as they were.

    Attributes:
        path: The file, as the recipe names it.
        names: Top-level functions and classes.
    """

    path: str
    names: tuple[str, ...] = Field(min_length=1)


class LegalityCheck(Part):
    """A rule of the task, and what enforces it.

    Attributes:
        name: A few words.
        proves: What is known of a recipe that passes, and if need be what is not.
        by: What enforces it: the sandbox, the evaluator, a gate, acceptance, the protection of
            functions, or the pack's own static rules.
    """

    name: str
    proves: str
    by: Literal["sandbox", "evaluator", "gate", "acceptance", "protection", "rules"]


class Hardware(Part):
    """What a profile is made for.

    Attributes:
        gpus: GPUs that one phase has to itself.
        kind: Which, for people.
        note: What else to know.
    """

    gpus: int = Field(default=0, ge=0)
    kind: str = "one CPU thread"
    note: str = ""
