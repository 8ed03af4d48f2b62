"""Turns functions into source that a sandbox can import and that JSON can hold."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterable
from typing import Any

from autogen_core.code_executor import (
    Alias,
    FunctionWithRequirements,
    FunctionWithRequirementsStr,
    Import,
)

from recipelab.executor.config import FunctionSource

Function = (
    FunctionSource
    | FunctionWithRequirementsStr
    | FunctionWithRequirements[Any, Any]
    | Callable[..., Any]
)
"""What an executor takes as a function."""


def function_source(function: Function) -> FunctionSource:
    """The source of a function with what it requires.

    Raises:
        ValueError: It has no source of its own, or uses variables of a function around it.
    """
    if isinstance(function, FunctionSource):
        return function
    if isinstance(function, FunctionWithRequirements | FunctionWithRequirementsStr):
        return FunctionSource(
            source=text if isinstance(text := function.func, str) else _source_of(text),
            python_packages=tuple(function.python_packages),
            global_imports=tuple(_import_statement(line) for line in function.global_imports),
        )
    return FunctionSource(source=_source_of(function))


def module_text(functions: Iterable[FunctionSource]) -> str:
    """The module that code blocks import the functions from."""
    functions = tuple(functions)
    imports = dict.fromkeys(line for each in functions for line in each.global_imports)
    return "\n\n\n".join(("\n".join(imports), *(each.source.strip() for each in functions))) + "\n"


def packages(functions: Iterable[FunctionSource]) -> tuple[str, ...]:
    """What must be installed for the functions, each once."""
    return tuple(dict.fromkeys(name for each in functions for name in each.python_packages))


def _source_of(function: Callable[..., Any]) -> str:
    """The ``def`` without decorators and indentation.

    AutoGen's own helper drops the first line only, so a decorator of several lines is left half
    there.
    """
    name = getattr(function, "__qualname__", repr(function))
    if not inspect.isfunction(function):
        raise ValueError(f"{name} is not a plain function; valid: a function, or its source")
    if function.__code__.co_freevars:
        used = ", ".join(function.__code__.co_freevars)
        raise ValueError(
            f"{name} uses variables of the function around it, which has no source: {used}"
        )
    try:
        text = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError) as error:
        raise ValueError(f"{name} has no source that can be read: {error}") from error
    node = ast.parse(text).body[0]
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        raise ValueError(f"{name} is not defined by `def`")
    return "\n".join(text.splitlines()[node.lineno - 1 : node.end_lineno]) + "\n"


def _import_statement(line: Import) -> str:
    if isinstance(line, str):
        return f"import {line}"
    if isinstance(line, Alias):
        return f"import {line.name} as {line.alias}"
    names = (f"{i.name} as {i.alias}" if isinstance(i, Alias) else i for i in line.imports)
    return f"from {line.module} import {', '.join(names)}"
