"""All cases, hostile and honest."""

from __future__ import annotations

from importlib import import_module

from ..case import Case

MODULES = (
    "lies",
    "tampering",
    "lookahead",
    "resources",
    "stubborn",
    "escapes",
    "escapes_kernel",
    "smuggling",
    "clocks",
    "outputs",
    "honest_processes",
    "honest_machine",
    "honest_files",
    "honest_words",
    "honest_models",
)


ALL: tuple[Case, ...] = tuple(
    case for name in MODULES for case in import_module(f"{__name__}.{name}").CASES
)
