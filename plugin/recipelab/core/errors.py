"""The errors that recipelab raises on purpose; each says how to fix what is wrong."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class RecipelabError(Exception):
    """Something the user can fix: bad input, a missing file, a wrong name.

    The command line prints the message alone and exits with code 2.
    """


class PackError(RecipelabError):
    """A task pack cannot be read; the message names the file, the key and the valid values."""


class EditError(RecipelabError):
    """An edit does not fit the recipe: it does not apply, or it leaves the editable files."""


class DataError(RecipelabError):
    """A data file of a pack cannot be fetched, or is not the file that its hash says."""


class LineageError(RecipelabError):
    """The lineage store cannot be opened, or holds nothing under the given name."""


class LeaseLost(LineageError):
    """A driver wrote to a trial that it holds no more, or was given up by the others: refused."""


class ModelError(RecipelabError):
    """A model specification cannot be turned into a model client."""


class BudgetSpent(RecipelabError):
    """A call or a trial would go beyond a limit of the campaign."""


class SandboxError(Exception):
    """The machinery of a sandbox failed (daemon gone, image missing, host disk full).

    It is never the recipe's fault: the trial is ``aborted`` and may be retried.
    """


class SandboxUnavailable(RecipelabError):
    """The chosen sandbox cannot run on this machine; the message says what is missing."""


def unknown_name(what: str, name: str, valid: Iterable[str]) -> str:
    """Return the message for a name that is not one of the valid ones, with these listed."""
    return f"unknown {what} {name!r}; valid: {', '.join(sorted(valid)) or '(none)'}"


def warm_problem(modules: Sequence[str], command: Sequence[str]) -> str:
    """Return why modules cannot be imported before a command; empty if they can, or there are none.

    Args:
        modules: Names of modules, as ``torch`` or ``torch.optim``.
        command: The command line.
    """
    for name in modules:
        if not all(part.isidentifier() for part in name.split(".")):
            return f"{name!r} is no name of a module; one is like 'torch' or 'torch.optim'"
    is_script = len(command) > 1 and command[0] == "python" and not command[1].startswith("-")
    if not modules or is_script:
        return ""
    return f"modules are imported for `python SCRIPT ...` alone, not for {' '.join(command)!r}"


def validation_problems(
    error: ValidationError,
    *,
    root: str,
    valid: Callable[[tuple[int | str, ...]], Iterable[str]] | None = None,
) -> list[str]:
    """Return a line for each mistake that pydantic found: place, mistake, and what was given.

    Args:
        error: What pydantic raised.
        root: The place of a mistake that concerns the whole input, as ``"pack"``.
        valid: Maps the place of an unknown key to the keys that are valid there.
    """
    lines = []
    for item in error.errors(include_url=False, include_context=False):
        place = ".".join(str(part) for part in item["loc"]) or root
        text = str(item["msg"]).removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            keys = sorted(valid(item["loc"])) if valid else []
            text = "no such key" + (f"; valid: {', '.join(keys)}" if keys else "")
        elif item["type"] != "missing" and isinstance(item["input"], str | int | float | bool):
            text += f" (it is {reprlib.repr(item['input'])})"
        lines.append(f"{place}: {text}")
    return lines


REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?:\[[\w, .-]*\])?[ ]*"
    r"(?P<bounds>(?:(?:===|[=!<>~]=|<|>)[ ]*[\w.*+!-]+[ ]*,?[ ]*)*)(?:;.*)?"
)
"""A requirement that names a package of an index, as pip takes it."""


def requirement_problem(text: str) -> str | None:
    """Return why a text names no package; options, paths and addresses have no place in a pack."""
    if REQUIREMENT.fullmatch(text):
        return None
    return f"{text!r} is no requirement; valid: a package, as einops or einops>=0.8"
